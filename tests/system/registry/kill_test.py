#!/usr/bin/env python3
"""kill -9 in every phase of pulls and pushes. After each, what the store lists is whole; in the end the transfer ends well.

CORRAL_KILLS: how many kills at random times (default 10)."""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server  # noqa: E402

MIB = 1 << 20
N_RANDOM = int(os.environ.get("CORRAL_KILLS", "10"))


class Kills(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.registry = reg.DockerRegistry()
        cls.registry.__enter__()
        cls.addClassCleanup(cls.registry.__exit__, None, None, None)
        cls.layers, cls.config = reg.model_blobs(24 * MIB, 42)
        cls.layers.insert(1, (reg.LAYER_TYPE + "projector", reg.some_bytes(8 * MIB, 43)))
        cls.manifest = cls.registry.put_model("library/m", "latest", cls.layers, cls.config)

    def setUp(self):
        self.models = pathlib.Path(tempfile.mkdtemp(prefix="corral-kill-")) / "models"
        self.addCleanup(shutil.rmtree, self.models.parent, ignore_errors=True)

    def pull(self, server, host, on_record=lambda record: None):
        stream = server.stream("/api/pull", {"model": f"{host}/library/m", "insecure": True})
        with contextlib.suppress(OSError):
            while (record := stream.next()) is not None:
                on_record(record)
        stream.close()
        return stream.records

    def kill(self, server):
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)

    def ends_well(self, host):
        """The next pull brings what is missing, and nothing is left over."""
        with Server(models=self.models) as server:
            records = self.pull(server, host)
            self.assertEqual("success", records[-1].get("status"), records[-1])
            self.assertEqual(self.manifest, reg.stored_manifest(self.models, f"{host}/library/m/latest"))
            reg.assert_store_is_whole(self, self.models)
            self.assertEqual([], [path.name for path in (self.models / "blobs").iterdir() if len(path.name) != 71])
            self.assertEqual(200, server.request("DELETE", "/api/delete", body='{"model":"%s/library/m"}' % host).status)

    def test_a_pull_killed_at_each_of_its_steps(self):
        big = reg.digest(self.layers[0][1])
        second = reg.digest(self.layers[1][1])
        blobs = self.models / "blobs"
        steps = {
            "the manifest is asked for": lambda record: record.get("status") == "pulling manifest",
            "the first bytes are there": lambda record: record.get("completed", 0) > 0,
            "the state of a download is written": lambda record: any(blobs.glob("*-partial-0")),
            "half of a blob is there": lambda record: record.get("digest") == big and record.get("completed", 0) > 12 * MIB,
            "the first blob has its name": lambda record: (blobs / big.replace(":", "-")).exists(),
            "the second blob is on its way": lambda record: record.get("digest") == second and record.get("completed", 0) > 0,
            "all blobs are there": lambda record: record.get("status") == "verifying sha256 digest",
            "the manifest is written": lambda record: record.get("status") == "writing manifest",
        }
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 8 * MIB}) as gate:
            for step, is_there in steps.items():
                with self.subTest(step):
                    hits = []
                    with Server(models=self.models) as server:

                        def look(record):
                            if not hits and is_there(record):
                                hits.append(record)
                                self.kill(server)
                        self.pull(server, gate.host, look)
                        self.assertTrue(hits, "the step was never seen")
                    reg.assert_store_is_whole(self, self.models)
                    gate.rules = lambda n: {}
                    self.ends_well(gate.host)
                    gate.rules = lambda n: {"bytes_per_second": 8 * MIB}

    def test_a_pull_killed_at_random_goes_on_each_time(self):
        chance = random.Random(2026)
        n_kills = 0
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 8 * MIB}) as gate:
            while n_kills < N_RANDOM:
                with Server(models=self.models) as server:
                    until = time.monotonic() + chance.uniform(0.01, 1.0)
                    killed = []

                    def look(record, server=server, until=until, killed=killed):
                        if not killed and time.monotonic() >= until:
                            killed.append(True)
                            self.kill(server)
                    records = self.pull(server, gate.host, look)
                    if not killed:
                        self.kill(server)
                    n_kills += 1
                    if records and records[-1].get("status") == "success":  # begin again
                        shutil.rmtree(self.models)
                        continue
                reg.assert_store_is_whole(self, self.models)
            gate.rules = lambda n: {}
            if not (self.models / "manifests").exists() or not list((self.models / "manifests").glob("*/*/*/*")):
                self.ends_well(gate.host)

    def test_what_came_before_a_kill_is_not_fetched_again(self):
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 4 * MIB}) as gate:
            with Server(models=self.models) as server:
                seen = []

                def look(record):
                    if not seen and record.get("completed", 0) > 16 * MIB and any((self.models / "blobs").glob("*-partial-0")):
                        seen.append(record)
                        time.sleep(2.5)  # the state is saved every two seconds
                        self.kill(server)
                gate.rules = lambda n: {"bytes_per_second": MIB}
                self.pull(server, gate.host, look)
                self.assertTrue(seen)
            gate.rules = lambda n: {}
            with Server(models=self.models) as server:
                records = self.pull(server, gate.host)
                first = next(record for record in records if record.get("digest") == reg.digest(self.layers[0][1]))
                self.assertGreater(first["completed"], 12 * MIB)
                self.assertEqual("success", records[-1].get("status"), records[-1])

    def test_a_push_killed_at_random_ends_well_the_next_time(self):
        chance = random.Random(7)
        with Server(models=self.models) as server:
            self.pull(server, self.registry.host)
        with reg.DockerRegistry() as target:
            name = f"{target.host}/library/copy"

            def push(server, on_record=lambda record: None):
                stream = server.stream("/api/push", {"model": name, "insecure": True})
                with contextlib.suppress(OSError):
                    while (record := stream.next()) is not None:
                        on_record(record)
                stream.close()
                return stream.records
            for _ in range(max(3, N_RANDOM // 3)):
                with Server(models=self.models) as server:
                    server.copy(f"{self.registry.host}/library/m", name)
                    until = time.monotonic() + chance.uniform(0.0, 0.4)
                    killed = []

                    def look(record, server=server, until=until, killed=killed):
                        if not killed and time.monotonic() >= until:
                            killed.append(True)
                            self.kill(server)
                    push(server, look)
                    if not killed:
                        self.kill(server)
                reg.assert_store_is_whole(self, self.models)
            with Server(models=self.models) as server:
                records = push(server)
                self.assertEqual("success", records[-1].get("status"), records[-1])
            self.assertEqual(self.manifest, target.request("GET", "/v2/library/copy/manifests/latest",
                                                           headers={"Accept": reg.MANIFEST_TYPE}).body)
            for _, data in self.layers:
                self.assertEqual(data, target.request("GET", f"/v2/library/copy/blobs/{reg.digest(data)}").body)


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
