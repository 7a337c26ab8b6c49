#!/usr/bin/env python3
"""kill -9 in every phase of pulls and pushes. After each, what the store lists is whole; the next transfer ends well."""
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from gate import Gate  # noqa: E402
from kills import SEED, Campaign, chance, kill, n_random, stream_and_kill  # noqa: E402
from server import Server  # noqa: E402

MIB = 1 << 20
N_RANDOM = n_random(10)  # of each kind


class KillTest(unittest.TestCase):
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

    def request(self, host):
        return {"model": f"{host}/library/m", "insecure": True}

    def whole(self):
        with self.subTest(seed=SEED):
            reg.assert_store_is_whole(self, self.models)

    def ends_well(self, host):
        """The next pull brings what is missing, and nothing is left over."""
        with Server(models=self.models) as server:
            records = server.stream("/api/pull", self.request(host)).rest()
            self.assertEqual("success", records[-1].get("status"), records[-1])
            self.assertEqual(self.manifest, reg.stored_manifest(self.models, f"{host}/library/m/latest"))
            self.whole()
            self.assertEqual([], [path.name for path in (self.models / "blobs").iterdir() if len(path.name) != 71])
            self.assertEqual(200, server.request("DELETE", "/api/delete", body='{"model":"%s/library/m"}' % host).status)


class PullKills(KillTest):
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
        campaign = Campaign("pulls at named points")
        with Gate(self.registry.port) as gate:
            for step, is_there in steps.items():
                with self.subTest(step):
                    gate.rules = lambda n: {"bytes_per_second": 8 * MIB}
                    with Server(models=self.models) as server:
                        _, was_killed = stream_and_kill(server, "/api/pull", self.request(gate.host), campaign, at=is_there)
                        self.assertTrue(was_killed, "the step was never seen")
                    self.whole()
                    gate.rules = lambda n: {}
                    self.ends_well(gate.host)
        campaign.report()

    def test_a_pull_of_a_new_version_killed_while_the_old_one_goes(self):
        registry_name = "library/versions"
        shared, config = reg.model_blobs(MIB, 5)
        with reg.DockerRegistry() as registry:
            request = {"model": f"{registry.host}/{registry_name}", "insecure": True}
            registry.put_model(registry_name, "latest", shared + [(reg.LAYER_TYPE + "system", b"old")], config)
            with Server(models=self.models) as server:
                self.assertEqual("success", server.stream("/api/pull", request).rest()[-1].get("status"))
                manifest = registry.put_model(registry_name, "latest", shared, config)
                campaign = Campaign("pulls that replace")
                _, was_killed = stream_and_kill(server, "/api/pull", request, campaign,
                                                at=lambda record: record.get("status") == "removing unused layers")
                self.assertTrue(was_killed)
                campaign.report()
            self.whole()
            with Server(models=self.models) as server:
                self.assertEqual("success", server.stream("/api/pull", request).rest()[-1].get("status"))
                self.assertEqual(manifest, reg.stored_manifest(self.models, f"{registry.host}/{registry_name}/latest"))

    def test_a_pull_killed_at_random_goes_on_each_time(self):
        campaign = Campaign("pulls at random")
        n_complete = 0
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 8 * MIB}) as gate:
            for _ in range(5 * N_RANDOM):
                if campaign.n == N_RANDOM:
                    break
                with Server(models=self.models) as server:
                    _, was_killed = stream_and_kill(server, "/api/pull", self.request(gate.host), campaign, after_s=chance.uniform(0, 4))
                    kill(server)
                self.whole()
                if not was_killed:  # it is there: begin again
                    n_complete += 1
                    shutil.rmtree(self.models)
            self.assertEqual(N_RANDOM, campaign.n)
            gate.rules = lambda n: {}
            self.ends_well(gate.host)
        campaign.report()
        print(f"{n_complete} of those pulls came to their end meanwhile", flush=True)

    def test_what_came_before_a_kill_is_not_fetched_again(self):
        with Gate(self.registry.port, lambda n: {"bytes_per_second": 2 * MIB}) as gate:
            with Server(models=self.models) as server:

                def is_saved(_):
                    states = list((self.models / "blobs").glob("*-partial-0"))
                    return states and json.loads(states[0].read_text())["Completed"] > 4 * MIB
                self.assertTrue(stream_and_kill(server, "/api/pull", self.request(gate.host), Campaign("pulls"), at=is_saved)[1])
            gate.rules = lambda n: {}
            with Server(models=self.models) as server:
                records = server.stream("/api/pull", self.request(gate.host)).rest()
                first = next(record for record in records if record.get("digest") == reg.digest(self.layers[0][1]))
                self.assertGreater(first["completed"], 4 * MIB)
                self.assertEqual("success", records[-1].get("status"), records[-1])


class PushKills(KillTest):
    """Pushes of the same model; the registry must have all of it in the end, and our store too."""

    def setUp(self):
        super().setUp()
        self.target = reg.DockerRegistry()
        self.target.__enter__()
        self.addCleanup(self.target.__exit__, None, None, None)
        with Server(models=self.models) as server:
            self.assertEqual("success", server.stream("/api/pull", self.request(self.registry.host)).rest()[-1].get("status"))

    def is_there(self, repository):
        manifest = self.target.request("GET", f"/v2/library/{repository}/manifests/latest", headers={"Accept": reg.MANIFEST_TYPE})
        self.assertEqual(self.manifest, manifest.body)
        for data in [*(data for _, data in self.layers), self.config]:
            self.assertEqual(data, self.target.request("GET", f"/v2/library/{repository}/blobs/{reg.digest(data)}").body)

    def test_a_push_killed_at_each_of_its_steps(self):
        big = reg.digest(self.layers[0][1])
        second = reg.digest(self.layers[1][1])
        steps = {
            "the manifest is read": lambda record: record.get("status") == "retrieving manifest",
            "an upload has begun": lambda record: record.get("digest") == big,
            "half of a blob is there": lambda record: record.get("digest") == big and record.get("completed", 0) > 12 * MIB,
            "the second blob is on its way": lambda record: record.get("digest") == second and record.get("completed", 0) > 0,
            "the manifest goes out": lambda record: record.get("status") == "pushing manifest",
        }
        campaign = Campaign("pushes at named points")
        with Gate(self.target.port) as gate:
            for i, (step, is_there) in enumerate(steps.items()):
                name = f"{gate.host}/library/step{i}"
                request = {"model": name, "insecure": True}
                with self.subTest(step):
                    gate.rules = lambda n: {"up_bytes_per_second": 16 * MIB}
                    with Server(models=self.models) as server:
                        server.copy(f"{self.registry.host}/library/m", name)
                        _, was_killed = stream_and_kill(server, "/api/push", request, campaign, at=is_there)
                        self.assertTrue(was_killed, "the step was never seen")
                    self.whole()
                    gate.rules = lambda n: {}
                    with Server(models=self.models) as server:
                        records = server.stream("/api/push", request).rest()
                        self.assertEqual("success", records[-1].get("status"), records[-1])
                    self.is_there(f"step{i}")
        campaign.report()

    def test_a_push_killed_at_random_ends_well_the_next_time(self):
        campaign = Campaign("pushes at random")
        n_complete = 0
        with Gate(self.target.port, lambda n: {"up_bytes_per_second": 24 * MIB}) as gate:
            for _ in range(5 * N_RANDOM):
                if campaign.n == N_RANDOM:
                    break
                name = f"{gate.host}/library/copy{n_complete}"
                with Server(models=self.models) as server:
                    server.copy(f"{self.registry.host}/library/m", name)
                    _, was_killed = stream_and_kill(server, "/api/push", {"model": name, "insecure": True}, campaign,
                                                    after_s=chance.uniform(0, 1.6))
                    kill(server)
                self.whole()
                if not was_killed:
                    self.is_there(f"copy{n_complete}")
                    n_complete += 1
            self.assertEqual(N_RANDOM, campaign.n)
            gate.rules = lambda n: {}
            with Server(models=self.models) as server:
                records = server.stream("/api/push", {"model": name, "insecure": True}).rest()
                self.assertEqual("success", records[-1].get("status"), records[-1])
            self.is_there(name.rsplit("/", 1)[1])
        campaign.report()
        print(f"{n_complete} of those pushes came to their end meanwhile", flush=True)


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
