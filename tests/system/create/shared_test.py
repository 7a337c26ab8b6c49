#!/usr/bin/env python3
"""Several servers on one folder, and folders that are only read."""
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from creating import create, minilm, upload_folder  # noqa: E402
from registry import assert_store_is_whole  # noqa: E402
from server import Server, in_parallel  # noqa: E402


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
