#!/usr/bin/env python3
"""create with the real worker: a safetensors folder becomes a model whose vectors are those of sentence-transformers, every
quantization, servers that are killed in the middle, several servers on one folder, a folder that is only read."""
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fixtures"))
from server import ROOT, Server, corral_binary, in_parallel, wait_for  # noqa: E402

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_K_S", "Q4_K_M"]
KILLS = 12  # of each kind; the campaign by hand: CORRAL_KILLS=50


def minilm():
    return pathlib.Path(subprocess.run([str(ROOT / "scripts/fetch-minilm")], check=True, capture_output=True, text=True,
                                       timeout=900).stdout.strip())


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / (sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5)


def upload_folder(server, folder):
    """As the command line does: names on the wire to digests."""
    files = {}
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*/*.json")]):
        digest, answer = server.upload(path)
        assert answer.status in (200, 201), answer
        files[path.relative_to(folder).as_posix()] = digest
    return files


def create(server, name, **request):
    """The records of a create; the last is success or an error."""
    stream = server.stream("/api/create", {"model": name, **request})
    return stream.rest()


def assert_store_is_whole(test, models):
    """By a reader that shares no code with the server: every manifest reads, every layer is there and is what it says."""
    n = 0
    for manifest in (pathlib.Path(models) / "manifests").glob("*/*/*/*"):
        if manifest.name.startswith("."):
            continue
        parsed = json.loads(manifest.read_text())
        for layer in [*parsed["layers"], parsed["config"]]:
            blob = pathlib.Path(models) / "blobs" / layer["digest"].replace(":", "-")
            test.assertTrue(blob.exists(), f"{manifest}: {blob.name} is missing")
            test.assertEqual(layer["size"], blob.stat().st_size)
            test.assertEqual(layer["digest"], "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest())
        n += 1
    return n


class Conversion(unittest.TestCase):
    def test_minilm_gives_the_vectors_of_sentence_transformers(self):
        recorded = json.loads((HERE / "minilm_vectors.json").read_text())
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            modelfile = pathlib.Path(folder) / "Modelfile"
            modelfile.write_text(f"FROM {minilm()}\n")
            subprocess.run([corral_binary(), "create", "minilm", "-f", str(modelfile)], env=server.environment(), check=True,
                           timeout=300, capture_output=True)
            answer = server.ask("/api/embed", {"model": "minilm", "input": [entry["text"] for entry in recorded]})
            for entry, vector in zip(recorded, answer["embeddings"]):
                self.assertGreater(cosine(entry["vector"], vector), 0.999, entry["text"])
            details = server.ask("/api/show", {"model": "minilm"})["details"]
            self.assertEqual(("bert", "F16", "22.57M"), (details["family"], details["quantization_level"], details["parameter_size"]))
            blobs = list((server.models / "blobs").iterdir())
            self.assertLess(len(blobs), 5, f"what was uploaded for the conversion is still there: {blobs}")
            self.assertEqual(1, assert_store_is_whole(self, server.models))

    def test_every_quantization_makes_a_model_that_works_while_the_server_answers(self):
        recorded = json.loads((HERE / "minilm_vectors.json").read_text())[0]
        with Server() as server:
            self.assertEqual("success", create(server, "base", files=upload_folder(server, minilm()))[-1]["status"])
            for wanted in TYPES:
                stream = server.stream("/api/create", {"model": wanted.lower(), "from": "base", "quantize": wanted.lower()})
                self.assertEqual(200, server.get("/api/tags", timeout=5).status)
                records = stream.rest()
                self.assertEqual("success", records[-1].get("status"), records[-1])
                if wanted != "F16":
                    lines = [r for r in records if r["status"] == f"quantizing F16 model to {wanted}"]
                    self.assertTrue(lines and lines[-1]["completed"] == lines[-1]["total"], records)
                # A file type of 0 is F32 in GGUF, and "unknown" in Ollama's answers and ours.
                level = server.ask("/api/show", {"model": wanted.lower()})["details"]["quantization_level"]
                self.assertEqual("unknown" if wanted == "F32" else wanted, level)
                vector = server.ask("/api/embed", {"model": wanted.lower(), "input": recorded["text"]})["embeddings"][0]
                self.assertGreater(cosine(recorded["vector"], vector), 0.95 if wanted.startswith("Q4") else 0.999, wanted)
            refused = server.post("/api/create", {"model": "x", "from": "q8_0", "quantize": "q4_K_M", "stream": False})
            self.assertEqual(500, refused.status)
            self.assertIn("only supported for F16, BF16 and F32", refused.json["error"])

    def test_an_unknown_architecture_is_named(self):
        with Server() as server, tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "config.json").write_text('{"architectures": ["FalconForCausalLM"]}')
            (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
            refused = server.post("/api/create", {"model": "x", "files": upload_folder(server, folder), "stream": False})
            self.assertEqual((400, 'unsupported architecture "FalconForCausalLM"'), (refused.status, refused.json["error"]))

    def test_a_client_that_leaves_ends_the_worker_and_leaves_nothing(self):
        with Server() as server:
            files = upload_folder(server, minilm())
            stream = server.stream("/api/create", {"model": "x", "files": files, "quantize": "q4_K_M"})
            stream.next()
            wait_for(server.workers, "the conversion to start its worker")
            stream.close()
            wait_for(lambda: not server.workers(), "the worker to be ended")
            wait_for(lambda: not [b for b in (server.models / "blobs").iterdir() if "corral" in b.name], "scratch files to go")
            self.assertEqual([], server.model_names())


class Kills(unittest.TestCase):
    """kill -9 at random moments; a seed that failed is in the message."""

    def setUp(self):
        self.seed = int(os.environ.get("CORRAL_SEED") or time.time_ns() % 1_000_000)
        self.random = random.Random(self.seed)
        self.n = int(os.environ.get("CORRAL_KILLS") or KILLS)

    def test_a_create_that_is_killed_leaves_every_model_whole_and_the_next_ends_well(self):
        with Server() as server:
            files = upload_folder(server, minilm())
            began = time.monotonic()
            self.assertEqual("success", create(server, "kept", files=files)[-1]["status"])
            took = time.monotonic() - began
            for i in range(self.n):
                files = upload_folder(server, minilm())
                stream = server.stream("/api/create", {"model": "kept" if i % 2 else "new", "files": files, "quantize": "q8_0"})
                time.sleep(self.random.uniform(0, 1.5 * took))
                server.process.kill()
                server.process.wait(10)
                stream.close()
                with self.subTest(seed=self.seed, kill=i):
                    self.assertGreaterEqual(assert_store_is_whole(self, server.models), 1)
                server.start()
                self.assertIn("kept:latest", server.model_names())
            self.assertEqual("success", create(server, "new", files=upload_folder(server, minilm()))[-1]["status"])
            self.assertEqual(2, assert_store_is_whole(self, server.models))

    def test_a_prune_that_is_killed_takes_no_blob_of_a_model(self):
        with Server() as server:
            self.assertEqual("success", create(server, "kept", files=upload_folder(server, minilm()))[-1]["status"])
            server.stop()
            old = time.time() - 7200
            for i in range(self.n):
                for j in range(300):
                    blob = server.models / "blobs" / ("sha256-" + hashlib.sha256(f"{i} {j}".encode()).hexdigest())
                    blob.write_bytes(b"orphan")
                    os.utime(blob, (old, old))
                process = subprocess.Popen([corral_binary(), "serve"], env=server.environment(), stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
                time.sleep(self.random.uniform(0, 0.15))
                process.kill()
                process.wait(10)
                with self.subTest(seed=self.seed, kill=i):
                    self.assertEqual(1, assert_store_is_whole(self, server.models))
            server.start()
            self.assertEqual(["kept:latest"], server.model_names())
            left = [b for b in (server.models / "blobs").iterdir() if b.stat().st_size == 6]
            self.assertEqual([], left)


class SharedFolders(unittest.TestCase):
    def test_two_servers_on_one_folder_keep_each_others_models(self):
        for locks in ("flock", "leases"):
            with self.subTest(locks=locks), tempfile.TemporaryDirectory() as models, \
                    Server(models, {"CORRAL_STORE_LOCKS": locks}) as a, Server(models, {"CORRAL_STORE_LOCKS": locks}) as b:
                files = upload_folder(a, minilm())
                self.assertEqual("success", create(a, "base", files=files)[-1]["status"])

                def work(server, name):
                    for i in range(6):
                        self.assertEqual("success", create(server, f"{name}{i}", **{"from": "base"}, system=f"{name}{i}")[-1]["status"])
                        if i % 2:
                            self.assertEqual(200, server.request("DELETE", "/api/delete", json.dumps({"model": f"{name}{i}"})).status)
                in_parallel(lambda: work(a, "a"), lambda: work(b, "b"))
                expected = sorted(["base:latest", *(f"{s}{i}:latest" for s in "ab" for i in (0, 2, 4))])
                self.assertEqual(expected, sorted(a.model_names()))
                self.assertEqual(expected, sorted(b.model_names()))
                self.assertEqual(7, assert_store_is_whole(self, models))

    def test_a_server_that_is_killed_with_leases_does_not_stop_the_other(self):
        with tempfile.TemporaryDirectory() as models, Server(models, {"CORRAL_STORE_LOCKS": "leases"}) as b:
            self.assertEqual("success", create(b, "base", files=upload_folder(b, minilm()))[-1]["status"])
            leases = pathlib.Path(models) / ".corral" / "leases"
            lost = leases / "shared-0123456789abcdef"  # as a server leaves it that is killed
            lost.write_text("token")
            old = time.time() - 90
            os.utime(lost, (old, old))
            self.assertEqual(200, b.request("DELETE", "/api/delete", json.dumps({"model": "base"}), timeout=20).status)
            self.assertEqual([], list(leases.iterdir()))

    def test_a_folder_that_is_only_read_serves_and_answers_403_to_writers(self):
        with tempfile.TemporaryDirectory() as shared, tempfile.TemporaryDirectory() as own:
            with Server(shared) as server:
                self.assertEqual("success", create(server, "theirs", files=upload_folder(server, minilm()))[-1]["status"])
            before = sorted((p.as_posix(), p.lstat().st_mtime_ns) for p in pathlib.Path(shared).rglob("*") if p.is_file())
            with Server(env={"CORRAL_MODELS": f"{shared}:ro"}) as server:
                self.assertEqual(["theirs:latest"], server.model_names())
                self.assertEqual(384, len(server.ask("/api/embed", {"model": "theirs", "input": "x"})["embeddings"][0]))
                for method, path, body in (("DELETE", "/api/delete", {"model": "theirs"}),
                                           ("POST", "/api/copy", {"source": "theirs", "destination": "x"}),
                                           ("POST", "/api/create", {"model": "x", "from": "theirs", "stream": False})):
                    answer = server.request(method, path, json.dumps(body))
                    self.assertEqual(403, answer.status, path)
                    self.assertIn("read-only", answer.json["error"])
            with Server(env={"CORRAL_MODELS": f"{own}:{shared}:ro"}) as server:
                self.assertEqual("success", create(server, "ours", **{"from": "theirs"}, system="S")[-1]["status"])
                self.assertEqual({"ours:latest", "theirs:latest"}, set(server.model_names()))
                self.assertEqual(384, len(server.ask("/api/embed", {"model": "ours", "input": "x"})["embeddings"][0]))
                refused = server.request("DELETE", "/api/delete", json.dumps({"model": "theirs"}))
                self.assertEqual(403, refused.status)
                self.assertIn("only read", refused.json["error"])
            after = sorted((p.as_posix(), p.lstat().st_mtime_ns) for p in pathlib.Path(shared).rglob("*") if p.is_file())
            self.assertEqual(before, after)


if __name__ == "__main__":
    unittest.main(verbosity=2)
