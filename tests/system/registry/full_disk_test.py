#!/usr/bin/env python3
"""A full disk: a clear error, nothing lost, nothing left, and the next try ends well. On a small tmpfs, which takes root to mount."""
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from creating import create, minilm, upload_folder  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server, corral_binary  # noqa: E402

MIB = 1 << 20
NO_SPACE = "(?i)no space left on device"


class SmallDisk:
    """with SmallDisk(megabytes) as folder: ...    raises SkipTest where nothing can be mounted."""

    def __init__(self, megabytes):
        self.folder, self.megabytes = pathlib.Path(tempfile.mkdtemp(prefix="corral-disk-")), megabytes

    def mount(self, options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], capture_output=True, text=True)

    def __enter__(self):
        mounted = self.mount(f"size={self.megabytes}m")
        if mounted.returncode != 0:
            self.folder.rmdir()
            raise unittest.SkipTest(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)
        self.folder.rmdir()

    def grow(self, megabytes):
        grown = self.mount(f"remount,size={megabytes}m")
        assert grown.returncode == 0, grown

    def fill(self):
        """With a file of its own, to the last block."""
        with open(self.folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self):
        (self.folder / "filler").unlink()


class FullDisk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.registry = reg.DockerRegistry()
        cls.registry.__enter__()
        cls.addClassCleanup(cls.registry.__exit__, None, None, None)
        cls.layers, cls.config = reg.model_blobs(24 * MIB, 61)
        cls.registry.put_model("library/big", "latest", cls.layers, cls.config)
        small, config = reg.model_blobs(MIB, 62)
        cls.registry.put_model("library/small", "latest", small, config)

    def setUp(self):
        self.disk = SmallDisk(20)
        self.disk.__enter__()
        self.addCleanup(self.disk.__exit__)
        self.models = self.disk.folder / "models"

    def pull(self, server, model, host=None):
        return server.stream("/api/pull", {"model": f"{host or self.registry.host}/library/{model}", "insecure": True}).rest()

    def have_small(self, server):
        self.assertEqual("success", self.pull(server, "small")[-1].get("status"))

    def expect_small_alone(self, server):
        """The model that was there is whole, and there is nothing else."""
        self.assertEqual([f"{self.registry.host}/library/small:latest"], server.model_names())
        self.assertEqual(1, reg.assert_store_is_whole(self, self.models))
        self.assertEqual(4, len(list((self.models / "blobs").iterdir())))

    def test_a_pull_that_does_not_fit_is_refused_before_it_begins(self):
        with Server(models=self.models) as server:
            self.have_small(server)
            last = self.pull(server, "big")[-1]
            self.assertRegex(last["error"], f"{NO_SPACE}: the download needs 25 MB")
            self.expect_small_alone(server)
            self.disk.grow(100)
            self.assertEqual("success", self.pull(server, "big")[-1].get("status"))
            self.assertEqual(2, reg.assert_store_is_whole(self, self.models))

    def test_a_pull_whose_disk_fills_goes_on_when_there_is_room(self):
        with Gate(self.registry.port) as gate, Server(models=self.models) as server:
            self.have_small(server)
            self.disk.grow(40)
            gate.rules = lambda n: {"bytes_per_second": 2 * MIB}
            stream = server.stream("/api/pull", {"model": f"{gate.host}/library/big", "insecure": True})
            while stream.next() is not None:
                states = list((self.models / "blobs").glob("*-partial-0"))
                is_saved = states and json.loads(states[0].read_text())["Completed"] > 2 * MIB
                if is_saved and not (self.disk.folder / "filler").exists():
                    self.disk.fill()
            self.assertRegex(stream.records[-1]["error"], NO_SPACE)
            self.assertEqual([f"{self.registry.host}/library/small:latest"], server.model_names())
            self.assertEqual(1, reg.assert_store_is_whole(self, self.models))
            self.disk.empty()
            gate.rules = lambda n: {}
            records = self.pull(server, "big", gate.host)
            self.assertEqual("success", records[-1].get("status"), records[-1])
            first = next(record for record in records if "total" in record)
            self.assertGreater(first.get("completed", 0), 2 * MIB, "what had come is not fetched again")
            self.assertEqual(2, reg.assert_store_is_whole(self, self.models))
            self.assertEqual([], [path.name for path in (self.models / "blobs").iterdir() if len(path.name) != 71])

    def test_an_upload_that_does_not_fit_leaves_nothing(self):
        with Server(models=self.models) as server:
            self.have_small(server)
            data = self.layers[0][1]
            answer = server.request("POST", f"/api/blobs/{reg.digest(data)}", body=data)
            self.assertEqual(500, answer.status)
            self.assertRegex(answer.json["error"], NO_SPACE)
            self.expect_small_alone(server)
            self.disk.grow(100)
            self.assertEqual(201, server.request("POST", f"/api/blobs/{reg.digest(data)}", body=data).status)

    def test_a_conversion_that_does_not_fit_leaves_nothing(self):
        self.disk.grow(120)
        with Server(models=self.models) as server:
            self.have_small(server)
            files = upload_folder(server, minilm())  # some 90 MB, and as F16 half of that
            before = sorted((self.models / "blobs").iterdir())
            for more in ({}, {"quantize": "q8_0"}):
                last = create(server, "made", files=files, **more)[-1]
                self.assertRegex(last["error"], NO_SPACE)
                self.assertEqual(before, sorted((self.models / "blobs").iterdir()))
                self.assertEqual([f"{self.registry.host}/library/small:latest"], server.model_names())
            self.disk.grow(300)
            self.assertEqual("success", create(server, "made", files=files)[-1].get("status"))
            self.assertEqual(2, reg.assert_store_is_whole(self, self.models))

    def test_on_a_full_disk_models_are_served_and_deleted_and_not_made(self):
        with Server(models=self.models) as server:
            self.have_small(server)
            name = f"{self.registry.host}/library/small"
            self.disk.fill()
            for path, body in (("/api/copy", {"source": name, "destination": "copy"}),
                               ("/api/create", {"model": "made", "from": name, "system": "S" * 100_000, "stream": False})):
                answer = server.post(path, body)
                self.assertEqual(500, answer.status, answer)
                self.assertRegex(answer.json["error"], NO_SPACE)
            self.assertEqual(200, server.post("/api/show", {"model": name}).status)
            self.expect_small_alone(server)
            server.stop()
            server.start()  # a start needs no room either
            self.expect_small_alone(server)
            self.assertEqual(200, server.request("DELETE", "/api/delete", body=json.dumps({"model": name})).status)
            self.assertEqual([], list((self.models / "blobs").iterdir()))

    def test_a_load_that_does_not_fit_leaves_what_is_whole(self):
        with Server() as other, Server(models=self.models) as server:
            self.assertEqual("success", self.pull(other, "big")[-1].get("status"))
            self.have_small(server)

            def corral(*words, of, **more):
                return subprocess.run([corral_binary(), *words], env=of.environment(), capture_output=True, timeout=60, **more)
            saved = corral("save", f"{self.registry.host}/library/big", of=other)
            self.assertEqual(0, saved.returncode, saved.stderr)
            loaded = corral("load", of=server, input=saved.stdout)
            self.assertEqual(1, loaded.returncode)
            self.assertRegex(loaded.stderr.decode(), NO_SPACE)
            self.expect_small_alone(server)
            self.disk.grow(100)
            self.assertEqual(0, corral("load", of=server, input=saved.stdout).returncode)
            self.assertEqual(2, reg.assert_store_is_whole(self, self.models))


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
