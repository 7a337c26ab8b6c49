#!/usr/bin/env python3
"""kill -9 in every phase of creates and prunes. After each, every model that is listed is whole; the next create ends well."""
import hashlib
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from creating import create, minilm, upload_folder  # noqa: E402
from kills import SEED, Campaign, chance, kill, n_random, stream_and_kill  # noqa: E402
from registry import assert_store_is_whole  # noqa: E402
from server import Server, corral_binary, digest_of, wait_for  # noqa: E402

N_RANDOM = n_random(6)  # of each kind
REQUEST = {"model": "kept", "quantize": "q8_0"}


class CreateKills(unittest.TestCase):
    """Creates that convert and quantize, and replace a model that is there."""

    def have_a_model(self, server):
        began = time.monotonic()
        self.assertEqual("success", create(server, "kept", files=upload_folder(server, minilm()))[-1]["status"])
        return time.monotonic() - began

    def after_the_kill(self, server):
        with self.subTest(seed=SEED):
            self.assertGreaterEqual(assert_store_is_whole(self, server.models), 1)
        server.start()
        self.assertIn("kept:latest", server.model_names())

    def test_a_create_killed_at_each_of_its_steps(self):
        def says(status):
            return lambda record: record.get("status", "").startswith(status)
        with Server() as server:
            self.have_a_model(server)
            steps = {
                "the conversion begins": says("converting model"),
                "its worker runs": lambda record: says("converting model")(record) and wait_for(server.workers, "the worker"),
                "half of it is converted": lambda record: says("converting model")(record) and
                2 * record.get("completed", 0) > record.get("total", 1 << 60),
                "it is converted": says("parsing GGUF"),
                "it is quantized": says("quantizing F16 model to Q8_0"),
                "the result is looked at": says("verifying conversion"),
                "its layers are there": says("creating new layer"),
                "the manifest is written": says("writing manifest"),
                "it is done": says("success"),
            }
            campaign = Campaign("creates at named points")
            for step, is_there in steps.items():
                with self.subTest(step):
                    request = {**REQUEST, "files": upload_folder(server, minilm()), "system": step}
                    _, was_killed = stream_and_kill(server, "/api/create", request, campaign, at=is_there)
                    self.assertTrue(was_killed, "the step was never seen")
                    self.after_the_kill(server)
            self.assertEqual("success", create(server, "new", files=upload_folder(server, minilm()))[-1]["status"])
            self.assertEqual(2, assert_store_is_whole(self, server.models))
        campaign.report()

    def test_an_upload_killed_in_its_middle_leaves_no_blob(self):
        with Server() as server:
            weights = next(minilm().glob("*.safetensors"))
            digest = digest_of(weights)
            connection = server.connect()
            connection.putrequest("POST", f"/api/blobs/{digest}")
            connection.putheader("Content-Length", str(weights.stat().st_size))
            connection.endheaders()
            connection.send(weights.read_bytes()[:20 << 20])
            blobs = server.models / "blobs"
            wait_for(lambda: any(blob.stat().st_size > 10 << 20 for blob in blobs.iterdir()), "half of the upload")
            kill(server)
            connection.close()
            self.assertFalse((blobs / digest.replace(":", "-")).exists())
            server.start()
            self.assertEqual(404, server.request("HEAD", f"/api/blobs/{digest}").status)
            self.assertEqual("success", create(server, "new", files=upload_folder(server, minilm()))[-1]["status"])
            self.assertEqual(1, assert_store_is_whole(self, server.models))

    def test_a_create_killed_at_random_and_the_next_ends_well(self):
        campaign = Campaign("creates at random")
        n_complete = 0
        with Server() as server:
            took_s = self.have_a_model(server)
            for i in range(5 * N_RANDOM):
                if campaign.n == N_RANDOM:
                    break
                request = {**REQUEST, "files": upload_folder(server, minilm()), "system": f"{i}"}
                records, _ = stream_and_kill(server, "/api/create", request, campaign, after_s=chance.uniform(0, 1.2 * took_s))
                if server.is_alive():
                    self.assertEqual("success", records[-1].get("status"), records[-1])
                    n_complete += 1
                    kill(server)
                self.after_the_kill(server)
            self.assertEqual(N_RANDOM, campaign.n)
            self.assertEqual("success", create(server, "new", files=upload_folder(server, minilm()))[-1]["status"])
            self.assertEqual(2, assert_store_is_whole(self, server.models))
        campaign.report()
        print(f"{n_complete} of those creates came to their end meanwhile", flush=True)


class PruneKills(unittest.TestCase):
    """The start that removes what no model uses. So many orphans that it can be hit."""

    N_ORPHANS = 2000

    def add_orphans(self, server):
        """Blobs of no model, downloads that nobody goes on with and what an earlier kill left, all two hours old. Those that the last kill
        has left stay."""
        old = time.time() - 7200
        blobs = server.models / "blobs"
        for i in range(self.N_ORPHANS):
            data = f"orphan {i}".encode()
            name = "sha256-" + hashlib.sha256(data).hexdigest()
            files = [name] if i % 10 else [f"{name}-partial", f"{name}-partial-0", f"sha256-corral-{name[7:23]}"]
            for file in files:
                if (blobs / file).exists():
                    continue
                (blobs / file).write_bytes(data)
                os.utime(blobs / file, (old, old))

    def orphans(self, server):
        return len(os.listdir(server.models / "blobs")) - self.n_kept

    def start_and_kill(self, server, is_there):
        """Starts a server that prunes and kills it as soon as is_there(); what was left of the orphans then."""
        process = subprocess.Popen([corral_binary(), "serve"], env=server.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not is_there() and time.monotonic() < deadline:
            pass
        process.kill()
        process.wait(10)
        return self.orphans(server)

    def kills(self, campaign, conditions):
        with Server() as server:
            self.assertEqual("success", create(server, "kept", files=upload_folder(server, minilm()))[-1]["status"])
            server.stop()
            self.n_kept = len(os.listdir(server.models / "blobs"))
            for i, condition in enumerate(conditions):
                self.add_orphans(server)
                n_before = self.orphans(server)
                n_left = self.start_and_kill(server, condition(server, n_before))
                campaign.add("before it" if n_left == n_before else "after it" if n_left == 0 else "in its middle")
                with self.subTest(seed=SEED, kill=i):
                    self.assertEqual(1, assert_store_is_whole(self, server.models))
            server.start()
            self.assertEqual(["kept:latest"], server.model_names())
            self.assertEqual(0, self.orphans(server), "the next start ends what was begun")
        campaign.report()

    def test_a_prune_killed_at_each_of_its_steps(self):
        campaign = Campaign("prunes at named points")

        def when_left(part):
            return lambda server, n_before: lambda: self.orphans(server) < part * n_before
        self.kills(campaign, [when_left(part) for part in (1, 0.9, 0.75, 0.5, 0.25, 0.1)])
        self.assertGreater(campaign.hits["in its middle"], 0)

    def test_a_prune_killed_at_random_takes_no_blob_of_a_model(self):
        campaign = Campaign("prunes at random")

        def after_some_time(_server, _n_before):
            until = time.monotonic() + chance.uniform(0, 0.3)
            return lambda: time.monotonic() >= until
        self.kills(campaign, [after_some_time] * N_RANDOM)


if __name__ == "__main__":
    unittest.main(verbosity=2)
