#!/usr/bin/env python3
"""Things that break: a worker that is killed, a full disk, a port in use, a store that cannot be written, bad files, huge
bodies. Each ends with a clear error; the server lives and no file is lost or half written."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import (MODEL, WORKER_DIED, Server, corral_binary, digest_of, in_parallel, starter_model, wait_for)  # noqa: E402

ENDLESS = {"model": MODEL, "prompt": "one two three four five six seven eight one two three four five six seven eight", "raw": True,
           "options": {"temperature": 0, "num_predict": 4000, "num_ctx": 8192, "stop": []}}


@contextlib.contextmanager
def small_disk(size_bytes, test):
    """A file system of its own of this size, or the test is skipped."""
    with tempfile.TemporaryDirectory(prefix="corral-disk-") as folder:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder], capture_output=True, text=True)
        if mount.returncode != 0:
            test.skipTest(f"cannot mount a tmpfs here: {mount.stderr.strip()}")
        try:
            yield pathlib.Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def assert_blobs_are_whole(test, models):
    for blob in (pathlib.Path(models) / "blobs").glob("sha256-*"):
        if "partial" not in blob.name:
            with open(blob, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            test.assertEqual("sha256-" + digest, blob.name, "a blob under its final name is not whole")


class Worker(unittest.TestCase):
    def test_killing_the_worker_ends_its_requests_with_an_error_and_the_next_gets_a_new_one(self):
        with Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "4"}) as server:
            whole = []
            asking = threading.Thread(target=lambda: whole.append(server.post("/api/generate", {**ENDLESS, "stream": False})), daemon=True)
            asking.start()
            (worker,) = wait_for(server.workers, "the request to start a worker")  # so this request is in
            streams = in_parallel(*[lambda: server.stream("/api/generate", ENDLESS)] * 3)
            for stream in streams:
                self.assertEqual(200, stream.status)
                self.assertIn("response", stream.next())
            os.kill(worker, signal.SIGKILL)
            for records in in_parallel(*[stream.rest for stream in streams]):
                self.assertIn(WORKER_DIED, records[-1].get("error", ""), records[-1])
                self.assertFalse(any(record.get("done") for record in records))
            asking.join(30)
            self.assertEqual(500, whole[0].status, whole[0])
            self.assertIn(WORKER_DIED, whole[0].json["error"])

            answer = server.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 4}})
            self.assertTrue(answer["done"])
            self.assertTrue(server.is_alive())
            self.assertNotIn(worker, server.workers())

    def test_a_worker_that_is_killed_while_idle_is_replaced(self):
        with Server(with_model=True) as server:
            request = {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 2}}
            server.ask("/api/generate", request)
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: server.get("/api/ps").json["models"] == [], "the dead worker to leave /api/ps", 10)
            self.assertTrue(server.ask("/api/generate", request)["done"])

    def test_killed_processes_that_format_prompts_are_replaced(self):
        request = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "format": "json",
                   "options": {"num_predict": 2}}
        with Server(with_model=True) as server:
            server.ask("/api/chat", request)
            (worker,) = server.workers()
            # One nursery of two, and all formatters: nobody sees it.
            family = family_of({worker})
            first_nursery = min(pid for pid, name in family.items() if name == "corral-nursery")
            kill_all({first_nursery} | {pid for pid, name in family.items() if name == "corral-format"})
            self.assertTrue(server.ask("/api/chat", request)["done"])
            self.assertEqual([worker], server.workers())
            # All of them: the request that finds out may fail; the next one is served by another worker.
            kill_all(set(family_of(set(family))) - {worker})
            first = server.post("/api/chat", {**request, "stream": False})
            self.assertIn(first.status, (200, 500), first)
            self.assertTrue(server.ask("/api/chat", request)["done"])
            self.assertNotIn(worker, server.workers())

    def test_workers_die_with_their_server(self):
        with Server(with_model=True) as server:
            server.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 2}})
            (worker,) = server.workers()
            server.process.kill()
            server.process.wait(10)
            wait_for(lambda: not pathlib.Path(f"/proc/{worker}/exe").exists() or is_zombie(worker), "the orphan to end", 10)

    def test_a_client_that_leaves_frees_its_place_at_once(self):
        with Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "1"}) as server:
            stream = server.stream("/api/generate", ENDLESS)
            self.assertIn("response", stream.next())
            stream.close()
            # 4,000 tokens take half a minute; the next request must not wait for them.
            answer = server.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 4}}, timeout=15)
            self.assertTrue(answer["done"])


def family_of(roots):
    """{process id: name} of these processes and all that descend from them, without zombies. Orphans lead to no parent:
    remember them as roots."""
    found, parents = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.read_text().split(" (", 1)
            name, fields = rest.rsplit(") ", 1)
            state, parent = fields.split()[:2]
            if state not in "ZX":
                found[int(pid)], parents[int(pid)] = name, int(parent)
    members = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return {pid: name for pid, name in found.items() if pid in members}


def kill_all(processes):
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(is_zombie(pid) for pid in processes), "the killed processes to end", 10)


def is_zombie(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    return True


class Disk(unittest.TestCase):
    def test_an_upload_that_does_not_fit_is_refused_and_leaves_no_blob(self):
        with small_disk(20 << 20, self) as disk, Server(models=disk / "models") as server:
            digest, answer = upload_leniently(server, starter_model())
            if answer is not None:  # the server may close while the client still sends
                self.assertEqual(500, answer.status, answer)
                self.assertRegex(answer.json["error"], "(?i)no space left on device")
            self.assertEqual(404, server.request("HEAD", f"/api/blobs/{digest}").status)
            assert_blobs_are_whole(self, disk / "models")
            small = b"a blob that fits"
            digest = "sha256:" + hashlib.sha256(small).hexdigest()
            self.assertEqual(201, server.request("POST", f"/api/blobs/{digest}", body=small).status)

    def test_a_create_that_does_not_fit_leaves_the_old_model_as_it_was(self):
        size = os.path.getsize(starter_model())
        with small_disk(size + (8 << 20), self) as disk, Server(models=disk / "models", with_model=True) as server:
            before = server.get("/api/tags").json
            with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
            answer = server.post("/api/create", {"model": MODEL, "from": MODEL, "system": "y" * 100_000, "stream": False})
            self.assertEqual(500, answer.status, answer)
            self.assertRegex(answer.json["error"], "(?i)no space left on device")
            self.assertEqual(before, server.get("/api/tags").json)
            (disk / "filler").unlink()
            assert_blobs_are_whole(self, disk / "models")
            server.ask("/api/create", {"model": MODEL, "from": MODEL, "system": "y" * 100_000})
            self.assertEqual("y" * 100_000, server.ask("/api/show", {"model": MODEL})["system"])

    def test_a_read_only_store_serves_and_refuses_changes(self):
        size = os.path.getsize(starter_model())
        with small_disk(size + (8 << 20), self) as disk:
            with Server(models=disk / "models", with_model=True) as server:
                server.stop()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            with Server(models=disk / "models") as server:
                self.assertEqual([MODEL], server.model_names())
                answer = server.ask("/api/generate", {"model": MODEL, "prompt": "Hello", "options": {"num_predict": 2}})
                self.assertTrue(answer["done"])
                for method, path, value in [("POST", "/api/copy", {"source": MODEL, "destination": "other"}),
                                            ("DELETE", "/api/delete", {"model": MODEL}),
                                            ("POST", "/api/create", {"model": "other", "from": MODEL, "system": "x", "stream": False})]:
                    answer = server.request(method, path, body=json.dumps(value))
                    self.assertGreaterEqual(answer.status, 400, f"{path}: {answer}")
                    self.assertRegex(answer.json["error"], "(?i)read-only|permission|not permitted", path)
                self.assertEqual([MODEL], server.model_names())

    def test_a_store_that_cannot_be_made_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "file").write_text("in the way")
            server = Server(models=pathlib.Path(folder, "file", "models"))
            try:
                server.start()
            except AssertionError:
                self.assertIsNotNone(server.process.poll(), "it neither serves nor ends")
                self.assertNotEqual(0, server.process.returncode)
                self.assertRegex(server.log(), "(?i)cannot create|not a directory")
            else:  # serving an empty store is fine too, as long as a change says why it fails
                blob = b"x"
                answer = server.request("POST", "/api/blobs/sha256:" + hashlib.sha256(blob).hexdigest(), body=blob)
                self.assertGreaterEqual(answer.status, 400)
                self.assertRegex(answer.json["error"], "(?i)not a directory")
            finally:
                server.__exit__(None, None, None)


def upload_leniently(server, path):
    """(digest, answer); the answer is None where the server closed before it could be read."""
    digest = digest_of(path)
    try:
        return server.upload(path)
    except (ConnectionError, OSError):
        return digest, None


class Start(unittest.TestCase):
    """A server that cannot start says in its last lines what is wrong and what to do, and ends with 1."""

    def last_words(self, beside, **variables):
        done = subprocess.run([corral_binary(), "serve"], env={**beside.environment(), **variables}, capture_output=True, text=True,
                              timeout=20, stdin=subprocess.DEVNULL)
        self.assertEqual(1, done.returncode, done)
        return done.stderr.splitlines()[-2:]

    def test_what_is_wrong_is_in_the_last_lines_and_the_other_server_goes_on(self):
        with Server() as first:
            for variables, error, advice in (
                    ({}, f"listen tcp 127.0.0.1:{first.port}: bind: address already in use", f"Another program has port {first.port}: stop it"),
                    ({"OLLAMA_HOST": "192.0.2.1"}, "listen tcp 192.0.2.1:11434: bind: cannot assign requested address",
                     "192.0.2.1 is no address of this machine: set OLLAMA_HOST"),
                    ({"OLLAMA_HOST": "no-such-host.invalid"}, "listen tcp: lookup no-such-host.invalid: no such host",
                     "no-such-host.invalid is no address of this machine"),
                    ({"OLLAMA_MODELS": "/etc/passwd"}, "cannot create the model store in /etc/passwd", "/etc/passwd is not a folder: set OLLAMA_MODELS"),
                    ({"OLLAMA_MODELS": "/proc/models"}, "the model store in /proc/models", "The models folder is /proc/models")):
                with self.subTest(variables):
                    words = self.last_words(first, **variables)
                    self.assertRegex(words[0], "^Error: .*" + re.escape(error))
                    self.assertIn(advice, words[1])
                    self.assertNotIn("disk is full", words[1])
            self.assertEqual("Ollama is running", first.get("/").text)

    def test_a_worker_that_is_not_there_is_a_warning(self):
        with Server(env={"CORRAL_WORKER": "/no/worker"}) as server:
            self.assertIn("set CORRAL_WORKER to its path", server.log())


class Log(unittest.TestCase):
    def test_probes_do_not_bury_what_matters(self):
        with Server() as server:
            for path in ("/healthz", "/readyz", "/metrics", "/api/version"):
                self.assertEqual(200, server.get(path).status)
            server.stop()
            self.assertIn("path=/api/version", server.log())
            for path in ("/healthz", "/readyz", "/metrics"):
                self.assertNotIn(path, server.log())


class BadFiles(unittest.TestCase):
    def create_from(self, server, content):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            digest, answer = server.upload(file.name)
        self.assertEqual(201, answer.status)
        return server.post("/api/create", {"model": "bad", "files": {"model.gguf": digest}, "stream": False})

    def test_a_truncated_gguf_is_refused(self):
        with open(starter_model(), "rb") as file:
            whole = file.read()
        with Server() as server:
            for size in (3, 4, 8, 24, 100, 5_000, 1_000_000, len(whole) // 2, len(whole) - 1):
                with self.subTest(size=size):
                    answer = self.create_from(server, whole[:size])
                    self.assertIn(answer.status, (400, 500), answer)
                    self.assertTrue(answer.json["error"])
                    self.assertEqual([], server.model_names())
            self.assertTrue(server.is_alive())

    def test_a_gguf_with_hostile_numbers_is_refused_or_does_not_load_and_the_server_lives(self):
        with open(starter_model(), "rb") as file:
            whole = file.read()
        n_kv = 16  # offset of the number of keys: magic 4, version 4, tensors 8
        with Server() as server:
            for name, offset, value in [("tensors", 8, 2**63), ("keys", n_kv, 2**62), ("first key's length", 24, 2**60)]:
                with self.subTest(name):
                    answer = self.create_from(server, whole[:offset] + value.to_bytes(8, "little") + whole[offset + 8 :])
                    self.assertIn(answer.status, (400, 500), answer)
                    self.assertEqual([], server.model_names())

    def test_a_model_that_the_engine_refuses_ends_with_an_error(self):
        # Well formed for a reader, useless for llama.cpp: the name of the architecture is changed in place.
        with open(starter_model(), "rb") as file:
            whole = file.read()
        key = b"general.architecture"
        at = whole.index(key) + len(key) + 4 + 8
        self.assertEqual(b"llama", whole[at : at + 5])
        with Server() as server:
            answer = self.create_from(server, whole[:at] + b"lhama" + whole[at + 5 :])
            if answer.status == 200:
                answer = server.post("/api/generate", {"model": "bad", "prompt": "Hello", "stream": False})
            self.assertIn(answer.status, (400, 500), answer)
            self.assertTrue(answer.json["error"])
            self.assertTrue(server.is_alive())
            self.assertEqual(200, server.get("/api/version").status)

    def test_a_blob_whose_bytes_do_not_match_its_digest_is_refused(self):
        with Server() as server:
            digest = "sha256:" + hashlib.sha256(b"right").hexdigest()
            self.assertEqual(400, server.request("POST", f"/api/blobs/{digest}", body=b"wrong").status)
            self.assertEqual(404, server.request("HEAD", f"/api/blobs/{digest}").status)


class Bodies(unittest.TestCase):
    LIMIT = 1 << 20

    def test_a_json_body_over_the_limit_is_413_and_the_server_lives(self):
        with Server(env={"CORRAL_MAX_BODY": str(self.LIMIT)}) as server:
            body = json.dumps({"model": "x", "prompt": "y" * (2 * self.LIMIT)}).encode()
            for name, send in [("with a length", body), ("chunked", iter([body[i : i + 65536] for i in range(0, len(body), 65536)]))]:
                with self.subTest(name):
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        answer = server.request("POST", "/api/generate", body=send)
                        self.assertEqual(413, answer.status, answer)
                        self.assertTrue(answer.json["error"])
            self.assertEqual(200, server.get("/api/version").status)

    def test_a_blob_may_be_larger_than_the_limit(self):
        with Server(env={"CORRAL_MAX_BODY": str(self.LIMIT)}) as server:
            blob = os.urandom(3 * self.LIMIT)
            digest = "sha256:" + hashlib.sha256(blob).hexdigest()
            self.assertEqual(201, server.request("POST", f"/api/blobs/{digest}", body=blob).status)
            assert_blobs_are_whole(self, server.models)


if __name__ == "__main__":
    unittest.main(verbosity=2)
