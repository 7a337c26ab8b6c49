#!/usr/bin/env python3
"""create with the real worker: a safetensors folder becomes a model whose vectors are those of sentence-transformers, every
quantization, clients that leave."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fixtures"))
from creating import create, minilm, upload_folder  # noqa: E402
from registry import assert_store_is_whole  # noqa: E402
from server import Server, corral_binary, wait_for  # noqa: E402

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_K_S", "Q4_K_M"]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / (sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5)


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


if __name__ == "__main__":
    unittest.main(verbosity=2)
