#!/usr/bin/env python3
"""`make run` itself: an answer, exit status 0, nothing left running, nothing touched that it did not make."""
import http.server
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import ROOT, corral_binary, free_port  # noqa: E402


def make_run(folder, port):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA_", "MAKE", "MFLAGS"))}
    env.update(OLLAMA_HOST=f"127.0.0.1:{port}", CORRAL_RUN_DIR=str(folder), CORRAL_QUESTION="Say hello.")
    return subprocess.run(["make", "--no-print-directory", "-C", str(ROOT), "run"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)


@unittest.skipUnless(pathlib.Path(corral_binary()) == ROOT / "build/bin/corral", "make run uses build/, these tests another folder")
class MakeRun(unittest.TestCase):
    def assert_nothing_runs_at(self, folder):
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                self.assertNotIn(os.fsencode(f"OLLAMA_MODELS={folder}/models"), path.read_bytes(), f"{path} was left running")
            except OSError:
                pass

    def test_answers_twice_and_stops_what_it_started(self):
        with tempfile.TemporaryDirectory(prefix="corral-run-") as folder:
            port = free_port()
            first = make_run(folder, port)
            self.assertEqual(0, first.returncode, first.stdout)
            self.assertIn(f"http://127.0.0.1:{port}", first.stdout)
            self.assertIn(f"{folder}/models", first.stdout)
            self.assertIn("Creating smollm2:135m", first.stdout)
            answer = first.stdout.split("Say hello.\n", 1)[1].split("==> Stopping")[0]
            self.assertRegex(answer, r"\w", "no answer was printed")
            self.assert_nothing_runs_at(folder)

            begin = time.monotonic()
            second = make_run(folder, port)
            self.assertEqual(0, second.returncode, second.stdout)
            self.assertNotIn("Creating", second.stdout)
            self.assertLess(time.monotonic() - begin, 60)
            self.assert_nothing_runs_at(folder)

    def test_takes_the_next_port_where_something_else_answers(self):
        class Other(http.server.BaseHTTPRequestHandler):
            requests = []

            def do_GET(self):
                self.requests.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"Ollama is running")

            do_POST = do_GET

            def log_message(self, *_):
                pass

        other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
        threading.Thread(target=other.serve_forever, daemon=True).start()
        try:
            with tempfile.TemporaryDirectory(prefix="corral-run-") as folder:
                port = other.server_address[1]
                run = make_run(folder, port)
                self.assertEqual(0, run.returncode, run.stdout)
                taken = int(re.search(r"address: http://127\.0\.0\.1:(\d+)", run.stdout).group(1))
                self.assertGreater(taken, port)
                self.assertEqual([], [path for path in Other.requests if path != "/"], "it spoke to a server that it did not start")
        finally:
            other.shutdown()
            other.server_close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
