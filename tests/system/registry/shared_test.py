#!/usr/bin/env python3
"""Two and three servers on one store, with locks and with leases: pulls at once, deletes and prunes beside them, models that are served."""
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from creating import create  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server, in_parallel, starter_model, wait_for  # noqa: E402

MIB = 1 << 20
OLD_S = 2 * 3600  # over the hour that files of nobody stay


def is_finished(records):
    return bool(records) and records[-1].get("status") == "success"


class Shared:
    """Run with flock and with leases, below."""

    LOCKS = "flock"

    @classmethod
    def setUpClass(cls):
        cls.registry = reg.DockerRegistry()
        cls.registry.__enter__()
        cls.addClassCleanup(cls.registry.__exit__, None, None, None)

    def setUp(self):
        self.models = pathlib.Path(tempfile.mkdtemp(prefix="corral-shared-")) / "models"
        self.addCleanup(shutil.rmtree, self.models.parent, ignore_errors=True)
        self.blobs = self.models / "blobs"

    def server(self):
        server = Server(models=self.models, env={"CORRAL_STORE_LOCKS": self.LOCKS})
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def put_model(self, name, size, seed):
        layers, config = reg.model_blobs(size, seed)
        self.registry.put_model(f"library/{name}", "latest", layers, config)
        return layers, config

    def pull(self, server, name, host=None):
        return server.stream("/api/pull", {"model": f"{host or self.registry.host}/library/{name}", "insecure": True}).rest()

    def delete(self, server, name):
        return server.request("DELETE", "/api/delete", body=json.dumps({"model": name})).status

    def whole(self):
        return reg.assert_store_is_whole(self, self.models)

    def make_old(self, *names):
        old = time.time() - OLD_S
        for name in names:
            os.utime(self.blobs / name, (old, old))

    def test_three_servers_pull_a_model_at_once_and_bring_it_once(self):
        size = 24 * MIB
        layers, _ = self.put_model("at-once", size, 71)
        servers = [self.server() for _ in range(3)]
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 2 * MIB}) as gate:  # of each of many connections
            for records in in_parallel(*[lambda server=server: self.pull(server, "at-once", gate.host) for server in servers]):
                self.assertTrue(is_finished(records), records[-1])
                seen = {record.get("completed", 0) for record in records if record.get("digest") == reg.digest(layers[0][1])}
                self.assertTrue(any(0 < n < size for n in seen), "who waits sees how far it is")
            gate.cut_all()
            wait_for(lambda: gate.n_bytes > size, "the gate to count")
            self.assertLess(gate.n_bytes, 1.5 * size, "each byte came once")
        self.assertEqual(1, self.whole())
        self.assertEqual(4, len(list(self.blobs.iterdir())))

    def test_when_the_server_that_downloads_dies_the_next_goes_on(self):
        layers, _ = self.put_model("heir", 24 * MIB, 72)
        first, second = self.server(), self.server()
        big = reg.digest(layers[0][1])
        with Gate(self.registry.port, lambda n: {"bytes_per_second": MIB}) as gate:
            stream = first.stream("/api/pull", {"model": f"{gate.host}/library/heir", "insecure": True})
            while not (record := stream.next()).get("completed"):
                self.assertNotIn("error", record)
            waiting = []
            thread = threading.Thread(target=lambda: waiting.extend(self.pull(second, "heir", gate.host)))
            thread.start()
            wait_for(lambda: any(self.blobs.glob("*-partial-0")), "its state")
            gate.rules = lambda n: {}
            first.process.kill()
            first.process.wait(10)
            thread.join(110)  # a lease is a dead server's after a minute
            self.assertTrue(is_finished(waiting), waiting[-1:])
        self.assertTrue((self.blobs / big.replace(":", "-")).exists())
        self.assertEqual(1, self.whole())

    def test_a_start_prunes_nothing_that_another_server_pulls(self):
        layers, _ = self.put_model("long", 16 * MIB, 73)
        small = (reg.LAYER_TYPE + "projector", reg.some_bytes(MIB, 74))
        self.registry.put_model("library/long", "latest", [small, *layers], b'{"model_format":"gguf"}')
        first = self.server()
        with Gate(self.registry.port, lambda n: {"bytes_per_second": MIB}) as gate:
            stream = first.stream("/api/pull", {"model": f"{gate.host}/library/long", "insecure": True})
            while not (record := stream.next()).get("digest") == reg.digest(layers[0][1]):
                self.assertNotIn("error", record)
            wait_for(lambda: any(self.blobs.glob("*-partial-0")), "its state")
            names = [path.name for path in self.blobs.iterdir()]
            self.assertIn(reg.digest(small[1]).replace(":", "-"), names)
            self.make_old(*names)  # as in a pull of some hours
            orphan = self.blobs / ("sha256-" + "0" * 64)
            orphan.write_bytes(b"")
            self.make_old(orphan.name)
            self.server()
            self.assertFalse(orphan.exists(), "it does prune")
            for name in names:
                self.assertTrue((self.blobs / name).exists(), name)
            gate.rules = lambda n: {}
            gate.cut_all()
            self.assertTrue(is_finished(stream.rest()), stream.records[-1])
        self.assertEqual(1, self.whole())

    def test_a_start_prunes_nothing_that_another_server_was_given_for_a_create(self):
        first = self.server()
        path = starter_model()
        digest, answer = first.upload(path)
        self.assertEqual(201, answer.status)
        self.make_old(digest.replace(":", "-"))
        self.server()
        self.assertTrue(is_finished(create(first, "made", files={"m.gguf": digest})))
        self.assertEqual(1, self.whole())

    def test_a_model_that_is_served_may_be_deleted_by_another_server(self):
        first, second, third = [self.server() for _ in range(3)]
        first.create_starter_model("m")
        stream = first.stream("/api/generate", {"model": "m", "prompt": "Count to a thousand.", "options": {"num_predict": 200}})
        self.assertIn("response", stream.next())
        third_copy = create(third, "copy", **{"from": "m"}, system="S")
        self.assertTrue(is_finished(third_copy), third_copy[-1])
        for server, name in ((second, "m"), (second, "copy")):
            self.assertEqual(200, self.delete(server, name))
        self.assertEqual([], list(self.blobs.iterdir()))
        self.assertTrue(stream.rest()[-1].get("done"), stream.records[-1])
        for server in (first, second, third):
            self.assertEqual([], server.model_names())
            self.assertEqual(404, server.post("/api/generate", {"model": "m", "prompt": "x"}).status)

    def test_pulls_deletes_and_starts_at_once_leave_every_model_whole(self):
        for i in range(3):
            self.put_model(f"busy{i}", MIB, 75)  # the same weights in all
        puller, deleter, starter = [self.server() for _ in range(3)]
        is_over = threading.Event()

        def pulls():
            try:
                for i in range(15):
                    records = self.pull(puller, f"busy{i % 3}")
                    self.assertTrue(is_finished(records), records[-1])
            finally:
                is_over.set()

        def deletes():
            n = 0
            while not is_over.is_set():
                n += self.delete(deleter, f"{self.registry.host}/library/busy{n % 3}") == 200
                for blob in self.blobs.iterdir():  # and everything looks old to the next start
                    try:
                        self.make_old(blob.name)
                    except FileNotFoundError:
                        pass
            return n

        def starts():
            while not is_over.is_set():
                starter.stop()
                starter.start()
        _, n_deleted, _ = in_parallel(pulls, deletes, starts)
        self.assertGreater(n_deleted, 0)
        self.whole()
        for i in range(3):
            self.assertTrue(is_finished(self.pull(starter, f"busy{i}")))
        self.assertEqual(3, self.whole())


class WithLocks(Shared, unittest.TestCase):
    pass


class WithLeases(Shared, unittest.TestCase):
    LOCKS = "leases"


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
