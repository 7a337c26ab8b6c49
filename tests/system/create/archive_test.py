#!/usr/bin/env python3
"""verify, save and load: the commands that work on the store without a server, and beside one."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from gate import Gate  # noqa: E402
from server import MODEL, Server, corral_binary, wait_for  # noqa: E402

MIB = 1 << 20


def corral(server, *words, models=None, **options):
    environment = server.environment()
    if models:
        environment["OLLAMA_MODELS"] = str(models)
    return subprocess.run([corral_binary(), *words], env=environment, capture_output=True, timeout=120, **options)


class Archive(unittest.TestCase):
    def test_a_model_goes_to_another_machine_as_a_tar_file(self):
        with Server(with_model=True) as server, tempfile.TemporaryDirectory() as other:
            answer = server.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 4, "temperature": 0}})
            server.stop()  # neither needs a server
            saved = corral(server, "save", MODEL)
            self.assertEqual(0, saved.returncode, saved.stderr)
            loaded = corral(server, "load", models=other, input=saved.stdout)
            self.assertEqual((0, f"loaded {MODEL}\n".encode()), (loaded.returncode, loaded.stdout), loaded.stderr)
            listed = subprocess.run(["tar", "-t"], input=saved.stdout, capture_output=True, check=True).stdout.decode().split()
            self.assertTrue(all(name.startswith(("blobs/sha256-", "manifests/")) for name in listed), listed)
            with Server(other) as second:
                again = second.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 4, "temperature": 0}})
                self.assertEqual(answer["response"], again["response"])

    def test_a_tar_of_a_live_store_loads_and_a_broken_archive_does_not(self):
        with Server(with_model=True) as server, tempfile.TemporaryDirectory() as other:
            tar = subprocess.run(["tar", "-C", str(server.models), "-c", "."], capture_output=True, check=True).stdout
            loaded = corral(server, "load", models=other, input=tar)
            self.assertEqual(0, loaded.returncode, loaded.stderr)
            self.assertEqual(0, corral(server, "verify", models=other).returncode)
        with Server() as server, tempfile.TemporaryDirectory() as other:
            broken = corral(server, "load", models=other, input=tar[:len(tar) // 2])
            self.assertEqual(1, broken.returncode)
            self.assertIn(b"Error: the archive ends in the middle", broken.stderr)
            evil = subprocess.run(["tar", "-c", "-P", "/etc/hostname"], capture_output=True, check=True).stdout
            refused = corral(server, "load", models=other, input=evil)
            self.assertEqual(1, refused.returncode)
            self.assertIn(b"is absolute", refused.stderr)

    def test_a_tar_of_the_folder_made_during_a_pull_restores_to_a_store_that_works(self):
        if not reg.is_installed():
            self.skipTest("docker-registry is not installed: scripts/setup-debian test")
        layers, config = reg.model_blobs(24 * MIB, 8)
        with reg.DockerRegistry() as registry, Gate(registry.port) as gate, Server(with_model=True) as server, \
                tempfile.TemporaryDirectory() as other, tempfile.TemporaryDirectory() as third:
            manifest = registry.put_model("library/late", "latest", layers, config)
            name = f"{gate.host}/library/late"
            request = {"model": name, "insecure": True}
            gate.rules = lambda n: {"bytes_per_second": 2 * MIB}
            stream = server.stream("/api/pull", request)
            wait_for(lambda: any((server.models / "blobs").glob("*-partial-0")), "the state of the download")
            tar = subprocess.run(["tar", "-C", str(server.models), "-c", "."], capture_output=True)  # 1: files changed meanwhile
            self.assertIn(tar.returncode, (0, 1), tar.stderr)
            stream.close()
            gate.rules = lambda n: {}
            subprocess.run(["tar", "-C", other, "-x"], input=tar.stdout, check=True)
            with Server(other) as restored:
                self.assertEqual([MODEL], restored.model_names())
                self.assertEqual(1, reg.assert_store_is_whole(self, other))
                self.assertTrue(restored.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 2}})["response"])
                records = restored.stream("/api/pull", request).rest()  # goes on with what the tar has of it
                self.assertEqual("success", records[-1].get("status"), records[-1])
                self.assertEqual(manifest, reg.stored_manifest(other, f"{name}/latest"))
                self.assertEqual(2, reg.assert_store_is_whole(self, other))
            loaded = corral(server, "load", models=third, input=tar.stdout)
            self.assertEqual((0, f"loaded {MODEL}\n".encode()), (loaded.returncode, loaded.stdout), loaded.stderr)
            self.assertEqual(1, reg.assert_store_is_whole(self, third))

    def test_saving_what_is_not_there_says_so(self):
        with Server() as server:
            saved = corral(server, "save", "nope")
            self.assertEqual(1, saved.returncode)
            self.assertIn(b"Error: model 'nope:latest' not found", saved.stderr)


class Verify(unittest.TestCase):
    def test_a_damaged_layer_is_found_and_fetched_again(self):
        if not reg.is_installed():
            self.skipTest("docker-registry is not installed: scripts/setup-debian test")
        layers, config = reg.model_blobs(1 << 20, 7)
        with reg.DockerRegistry() as registry, Server(env={}) as server:
            server.stop()
            server.extra = {"CORRAL_REGISTRY_MIRROR": f"http://{registry.host}"}
            server.start()
            registry.put_model("library/seven", "latest", layers, config)
            self.assertEqual("success", server.stream("/api/pull", {"model": "seven"}).rest()[-1].get("status"))
            whole = corral(server, "verify")
            self.assertEqual(0, whole.returncode, whole.stdout + whole.stderr)
            self.assertIn(b"verified 1 model: ", whole.stdout)
            damaged = server.models / "blobs" / reg.digest(layers[0][1]).replace(":", "-")
            data = bytearray(damaged.read_bytes())
            data[1000] ^= 1
            damaged.write_bytes(data)
            found = corral(server, "verify")
            self.assertEqual(1, found.returncode)
            self.assertIn(f"layer {reg.digest(layers[0][1])} has other bytes: seven:latest".encode(), found.stdout)
            repaired = corral(server, "verify", "--repair")
            self.assertEqual(0, repaired.returncode, repaired.stdout + repaired.stderr)
            self.assertEqual(layers[0][1], damaged.read_bytes())
            self.assertEqual(0, corral(server, "verify").returncode)


if __name__ == "__main__":
    unittest.main(verbosity=2)
