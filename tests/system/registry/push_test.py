#!/usr/bin/env python3
"""Push to a registry: what the client is told, what the registry has afterwards, and what a broken connection costs."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server, corral_binary  # noqa: E402

MIB = 1 << 20


class Push(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.source = reg.DockerRegistry()
        cls.source.__enter__()
        cls.addClassCleanup(cls.source.__exit__, None, None, None)
        cls.layers, cls.config = reg.model_blobs(20 * MIB, 11)
        cls.manifest = cls.source.put_model("library/m", "latest", cls.layers, cls.config)

    def have_model(self, server, name):
        server.ask("/api/pull", {"model": f"{self.source.host}/library/m", "insecure": True})
        server.copy(f"{self.source.host}/library/m", name)

    def push(self, server, name):
        return server.stream("/api/push", {"model": name, "insecure": True}).rest()

    def expect_whole(self, target, repository):
        manifest = target.request("GET", f"/v2/{repository}/manifests/latest", headers={"Accept": reg.MANIFEST_TYPE})
        self.assertEqual(self.manifest, manifest.body)
        for _, data in [*self.layers, ("", self.config)]:
            self.assertEqual(data, target.request("GET", f"/v2/{repository}/blobs/{reg.digest(data)}").body)

    def test_a_model_goes_out_with_ollamas_lines(self):
        with reg.DockerRegistry() as target, Server() as server:
            name = f"{target.host}/team/m"
            self.have_model(server, name)
            records = self.push(server, name)
            lines = [record.get("status", record.get("error")) for record in records]
            parts = [reg.digest(data)[7:19] for _, data in self.layers] + [reg.digest(self.config)[7:19]]
            self.assertEqual(["retrieving manifest", *[f"pushing {part}" for part in parts], "pushing manifest", "success"],
                             list(dict.fromkeys(lines)))
            for _, data in self.layers:
                last = [record for record in records if record.get("digest") == reg.digest(data)][-1]
                self.assertEqual((len(data), len(data)), (last["total"], last["completed"]))
            self.expect_whole(target, "team/m")
            again = self.push(server, name)  # all is there
            self.assertEqual(list(dict.fromkeys(lines)), [record["status"] for record in again])
            once = server.post("/api/push", {"model": name, "insecure": True, "stream": False})
            self.assertEqual((200, {"status": "success"}), (once.status, once.json))

    def test_a_made_model_goes_out_compact(self):
        with reg.DockerRegistry() as target, Server() as server:
            name = f"{target.host}/team/m"
            self.have_model(server, f"{self.source.host}/library/base")
            made = server.post("/api/create", {"model": name, "from": f"{self.source.host}/library/base", "system": "Be brief.",
                                               "stream": False})
            self.assertEqual(200, made.status, made)
            self.assertEqual("success", self.push(server, name)[-1].get("status"))
            local = reg.stored_manifest(server.models, f"{target.host}/team/m/latest")
            remote = target.request("GET", "/v2/team/m/manifests/latest", headers={"Accept": reg.MANIFEST_TYPE}).body
            self.assertEqual(local.rstrip(b"\n"), remote)

    def test_connections_that_are_cut_cost_no_more_than_time(self):
        with reg.DockerRegistry() as target, Gate(target.port) as gate, Server() as server:
            gate.rules = lambda _: {"cut_up_at": 5 * MIB} if gate.n_cuts < 2 else {}
            name = f"{gate.host}/team/m"
            self.have_model(server, name)
            records = self.push(server, name)
            self.assertGreaterEqual(gate.n_cuts, 2)
            self.assertEqual("success", records[-1].get("status"), records[-1])
            self.expect_whole(target, "team/m")

    def test_errors(self):
        with reg.DockerRegistry() as target, Server() as server:
            self.have_model(server, f"{target.host}/team/m")
            target.stop()
            records = self.push(server, f"{target.host}/team/m")
            self.assertEqual("retrieving manifest", records[0]["status"])
            self.assertIn("connection refused", records[-1]["error"])

    def test_the_command_line_says_where_the_model_is(self):
        with reg.DockerRegistry() as target, Server() as server:
            name = f"{target.host}/team/m"
            self.have_model(server, name)
            done = subprocess.run([corral_binary(), "push", "--insecure", name], env=server.environment(), capture_output=True, text=True,
                                  timeout=120, stdin=subprocess.DEVNULL)
            self.assertEqual((0, f"\nYou can find your model at:\n\n\t{name}:latest\n"), (done.returncode, done.stdout), done)
            self.assertIn("pushing manifest", done.stderr)


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
