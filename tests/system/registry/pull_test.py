#!/usr/bin/env python3
"""Pull from a plain registry: what the client is told, what lies in the store afterwards, and what happens when either leaves."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server, corral_binary, free_port, in_parallel, starter_model, wait_for  # noqa: E402

MIB = 1 << 20


def pull(server, name, **more):
    return server.stream("/api/pull", {"model": name, "insecure": True, **more}).rest()


def statuses(records):
    """The lines without repetitions."""
    found = []
    for record in records:
        line = record.get("status", "error: " + record.get("error", ""))
        if not found or found[-1] != line:
            found.append(line)
    return found


class Pull(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.registry = reg.DockerRegistry()
        cls.registry.__enter__()
        cls.addClassCleanup(cls.registry.__exit__, None, None, None)

    def test_a_model_comes_with_ollamas_lines_and_lies_in_the_store_byte_for_byte(self):
        layers, config = reg.model_blobs(40 * MIB, 1)
        manifest = self.registry.put_model("library/one", "latest", layers, config)
        with Server() as server:
            name = f"{self.registry.host}/library/one"
            records = pull(server, name)
            parts = [reg.digest(data)[7:19] for _, data in layers] + [reg.digest(config)[7:19]]
            self.assertEqual(["pulling manifest", *[f"pulling {part}" for part in parts], "verifying sha256 digest",
                              "writing manifest", "success"], statuses(records))
            blobs = [record for record in records if "digest" in record]
            for _, data in layers:
                last = [record for record in blobs if record["digest"] == reg.digest(data)][-1]
                self.assertEqual((len(data), len(data)), (last["total"], last["completed"]))
            self.assertEqual(manifest, reg.stored_manifest(server.models, f"{self.registry.host}/library/one/latest"))
            reg.assert_store_is_whole(self, server.models)
            self.assertEqual(4, len(list((server.models / "blobs").iterdir())), "nothing else is left in blobs")

            again = pull(server, name)
            self.assertEqual(statuses(records), statuses(again))
            self.assertEqual(7, len(again) - 1, again)
            once = server.post("/api/pull", {"model": name, "insecure": True, "stream": False})
            self.assertEqual((200, {"status": "success"}), (once.status, once.json))
            self.assertEqual("application/json", once.headers["Content-Type"])

    def test_errors_have_ollamas_texts(self):
        with Server() as server:
            name = f"{self.registry.host}/library/nope"
            self.assertEqual(["pulling manifest", "error: pull model manifest: file does not exist"], statuses(pull(server, name)))
            once = server.post("/api/pull", {"model": name, "insecure": True, "stream": False})
            self.assertEqual((500, {"error": "pull model manifest: file does not exist"}), (once.status, once.json))
            (_, error) = pull(server, "127.0.0.1:1/a/b")
            self.assertEqual('pull model manifest: Get "http://127.0.0.1:1/v2/a/b/manifests/latest": dial tcp 127.0.0.1:1: connect: '
                             "connection refused", error["error"])

    def test_a_new_version_removes_what_only_the_old_one_used(self):
        shared, config = reg.model_blobs(MIB, 2)
        self.registry.put_model("library/two", "latest", shared + [(reg.LAYER_TYPE + "system", b"old")], config)
        with Server() as server:
            name = f"{self.registry.host}/library/two"
            pull(server, name)
            self.registry.put_model("library/two", "latest", shared, config)
            self.assertIn("removing unused layers", statuses(pull(server, name)))
            self.assertFalse((server.models / "blobs" / reg.digest(b"old").replace(":", "-")).exists())
            reg.assert_store_is_whole(self, server.models)

    def test_two_servers_on_one_store_and_two_pulls_in_each_bring_a_blob_once(self):
        layers, config = reg.model_blobs(64 * MIB, 3)
        self.registry.put_model("library/three", "latest", layers, config)
        name = f"{self.registry.host}/library/three"
        with Server() as first, Server(models=first.models) as second:
            for records in in_parallel(*[lambda server=server: pull(server, name) for server in (first, second) * 2]):
                self.assertEqual("success", records[-1].get("status"), records[-1])
            reg.assert_store_is_whole(self, first.models)
            self.assertEqual([], [path.name for path in (first.models / "blobs").iterdir() if "partial" in path.name])

    def test_a_read_only_store_refuses_with_the_reason(self):
        with Server() as server:
            (server.models / "blobs").chmod(0o555)
            subprocess.run(["chattr", "+i", str(server.models / "blobs")], check=False, capture_output=True)
            answer = server.post("/api/pull", {"model": f"{self.registry.host}/library/one", "insecure": True})
            subprocess.run(["chattr", "-i", str(server.models / "blobs")], check=False, capture_output=True)
            (server.models / "blobs").chmod(0o755)
            if answer.status == 200:
                self.skipTest("this user writes read-only folders, and the file system has no immutable ones")
            self.assertEqual(403, answer.status)
            self.assertIn("cannot be written", answer.json["error"])

    def test_the_mirror_is_asked_for_models_of_the_default_registry(self):
        layers, config = reg.model_blobs(MIB, 5)
        manifest = self.registry.put_model("library/five", "small", layers, config)
        with Server(env={"CORRAL_REGISTRY_MIRROR": f"http://{self.registry.host}"}) as server:
            records = server.stream("/api/pull", {"model": "five:small"}).rest()
            self.assertEqual("success", records[-1].get("status"), records[-1])
            self.assertEqual(manifest, reg.stored_manifest(server.models, "registry.ollama.ai/library/five/small"))


class CommandLine(unittest.TestCase):
    def test_pull_works_without_a_server(self):
        layers, config = reg.model_blobs(2 * MIB, 9)
        with reg.DockerRegistry() as registry, tempfile.TemporaryDirectory(prefix="corral-alone-") as home:
            registry.put_model("library/m", "latest", layers, config)
            env = {**os.environ, "HOME": home, "OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
            env.pop("OLLAMA_MODELS", None)

            def corral(*words):
                return subprocess.run([corral_binary(), *words], env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            done = corral("pull", "--insecure", f"{registry.host}/library/m")
            self.assertEqual((0, ""), (done.returncode, done.stdout), done)
            self.assertIn(f"working on the models in {home}/.ollama/models", done.stderr)
            self.assertIn("success", done.stderr)
            self.assertNotIn("level=", done.stderr)
            reg.assert_store_is_whole(self, f"{home}/.ollama/models")
            again = corral("pull", "--insecure", f"{registry.host}/library/nope")
            self.assertEqual((1, True), (again.returncode, "Error: pull model manifest: file does not exist" in again.stderr), again)
            # Whoever waits for a server by listing still does.
            listed = corral("list")
            self.assertEqual((1, True), (listed.returncode, "could not connect to ollama server" in listed.stderr), listed)

    def test_a_pull_without_a_server_that_is_interrupted_leaves_what_came_and_nothing_else(self):
        layers, config = reg.model_blobs(16 * MIB, 10)
        with reg.DockerRegistry() as registry, Gate(registry.port) as gate, tempfile.TemporaryDirectory(prefix="corral-alone-") as home:
            registry.put_model("library/m", "latest", layers, config)
            temporary = pathlib.Path(home) / "tmp"
            temporary.mkdir()
            env = {**os.environ, "HOME": home, "TMPDIR": str(temporary), "OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
            env.pop("OLLAMA_MODELS", None)
            blobs = pathlib.Path(home) / ".ollama/models/blobs"
            words = [corral_binary(), "pull", "--insecure", f"{gate.host}/library/m"]
            for number in (signal.SIGINT, signal.SIGKILL):
                gate.rules = lambda n: {"bytes_per_second": MIB}
                process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wait_for(lambda: any(blobs.glob("*-partial-0")), "the state of a download")
                process.send_signal(number)
                self.assertNotEqual(0, process.wait(20))
                self.assertEqual([], list(temporary.iterdir()))
                reg.assert_store_is_whole(self, blobs.parent)
            gate.rules = lambda n: {}
            self.assertEqual(0, subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode)
            self.assertEqual(1, reg.assert_store_is_whole(self, blobs.parent))

    def test_pull_and_run_of_a_missing_model_show_progress_and_end_well(self):
        model = pathlib.Path(starter_model()).read_bytes()
        with reg.DockerRegistry() as registry, Server() as server:
            layers = [(reg.LAYER_TYPE + "model", model)]
            config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_families": ["llama"]}).encode()
            registry.put_model("library/smol", "latest", layers, config)
            name = f"{registry.host}/library/smol"

            def corral(*words):
                return subprocess.run([corral_binary(), *words], env=server.environment(), capture_output=True, text=True, timeout=240,
                                      stdin=subprocess.DEVNULL)
            pulled = corral("pull", "--insecure", name)
            self.assertEqual((0, ""), (pulled.returncode, pulled.stdout), pulled)
            for line in ("pulling manifest", f"pulling {reg.digest(model)[7:19]}: 100%", "verifying sha256 digest", "writing manifest",
                         "success"):
                self.assertIn(line, pulled.stderr)
            self.assertEqual(0, corral("rm", name).returncode)
            missing = corral("pull", "--insecure", f"{registry.host}/library/nope")
            self.assertEqual((1, True), (missing.returncode, "Error: pull model manifest: file does not exist" in missing.stderr), missing)
            ran = corral("run", "--insecure", name, "Say hi")
            self.assertEqual(0, ran.returncode, ran)
            self.assertIn("success", ran.stderr)
            self.assertTrue(ran.stdout.strip(), ran)


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
