#!/usr/bin/env python3
"""Tests of the wire runner: its parser and matchers, and whole runs against a toy server in place of corral."""

import argparse
import contextlib
import io
import os
import stat
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import run  # noqa: E402  pylint: disable=wrong-import-position

TOY = r'''#!%(python)s
import http.server, os, signal, sys
class Toy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    n = 0
    def log_message(self, *args): pass
    def answer(self, status, kind, body):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)
    def do_GET(self):
        Toy.n += 1
        if self.path == "/": self.answer(200, "text/plain; charset=utf-8", "toy")
        elif self.path == "/count": self.answer(200, "application/json", '{"n":%%d}' %% Toy.n)
        elif self.path == "/stream": self.answer(200, "application/x-ndjson", '{"a":1}\n{"a":{"b":["x"]},"done":true}\n')
        elif self.path == "/host": self.answer(200, "text/plain", self.headers["Host"])
        else: self.answer(404, "application/json; charset=utf-8", '{"error":"no such thing"}')
    do_HEAD = do_GET
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(200, "application/json", '{"echo":%%s,"length":%%d}' %% (body or "null", len(body)))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
host, port = os.environ["OLLAMA_HOST"].rsplit(":", 1)
http.server.ThreadingHTTPServer((host, int(port)), Toy).serve_forever()
'''


class Toy:
    """Runs case text against the toy; returns (passed, failed, printed)."""

    def __init__(self, folder):
        self.program = Path(folder) / "toy"
        self.program.write_text(TOY % {"python": sys.executable})
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.folder = Path(folder)

    def run(self, text):
        path = self.folder / "cases.test"
        path.write_text(text)
        arguments = argparse.Namespace(corral=str(self.program), make_tiny_model=None, only=None, verbose=False)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            passed, failed, _ = run.run_file(path, arguments)
        return passed, failed, printed.getvalue()


class RunnerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.toy = Toy(self.folder.name)

    def assert_passes(self, text):
        passed, failed, printed = self.toy.run(text)
        self.assertEqual((passed > 0, failed), (True, 0), printed)

    def assert_fails(self, text, why):
        _, failed, printed = self.toy.run(text)
        self.assertEqual(failed, 1, printed)
        self.assertIn(why, printed)

    def test_every_expectation_can_hold(self):
        self.assert_passes("""
fixture: N
env: TOY=1
== text
GET /
--> 200
Content-Type: text/plain; charset=utf-8
Content-Type ~ plain
!X-Nothing
body = toy
body ^ t
body ~ oy
== head
HEAD /
--> 200
body empty
== error
GET /nope
--> 400 or 404
error = no such thing
error ~ such
== stream
GET /stream
--> 200
check len(lines) == 2 and last["done"]
json < {"a":{"b":["x"]}}
json = {"a":{"b":["x"]},"done":true}
has a.b[0]
!has a.c
== variables
POST /echo
{"x":"${host}",
 "y":"${repeat:3:ab}"}
--> 200
set x = echo.x
check x == vars["host"] and last["echo"]["y"] == "ababab"
then
POST /echo
${json:x}
--> 200
json < {"echo":"${x}"}
== headers are sent
GET /host
> Host: other.example
--> 200
body = other.example
== retries until it holds
GET /count
! within 5s
--> 200
check last["n"] > 12
""")

    def test_every_expectation_can_fail(self):
        cases = [("/", expectation, why) for expectation, why in [
            ("Content-Type: text/html", "header Content-Type"), ("!Content-Type", "is there"), ("X-Nothing: a", "None"),
            ("body = to", "body is not"), ("body ^ oy", "does not begin"), ("body ~ x", "does not contain"),
            ("body empty", "not empty"), ("error = x", "not JSON"), ("json = {}", "not JSON"), ("has a", "not JSON"),
            ("check 1 == 2", "is false"), ("check vars['nope']", "KeyError"), ("body = ${nope}", "unknown variable")]]
        cases += [("/stream", expectation, why) for expectation, why in [
            ('json = {"a":1}', "json is"), ('json < {"a":{"b":[]}}', "json is"), ("has a.c", "absent"),
            ("!has a.b", "there"), ("error = x", 'not {"error"'), ("set y = a.c", "absent")]]
        text = "".join(f"== {expectation}\nGET {path}\n--> 200\n{expectation}\n" for path, expectation, _ in cases)
        passed, failed, printed = self.toy.run(text)
        self.assertEqual((passed, failed), (0, len(cases)), printed)
        lines = [line for line in printed.split("\n") if line.startswith("     Failed: ")]
        self.assertEqual(len(lines), len(cases), printed)
        for line, (_, expectation, why) in zip(lines, cases):
            self.assertIn(why, line, expectation)

    def test_a_case_runs_for_every_combination_of_its_values(self):
        self.assert_passes("== case\neach a: 1 [2] \"x\"\neach b: 3 4\nPOST /\n[${a},${b}]\n--> 200\n"
                           "check last['echo'] == [json.loads(a), int(b)]\n")
        self.assert_fails("== case\neach a: 1 2 3\nPOST /\n${a}\n--> 200\ncheck last['echo'] != 2\n", "{'a': '2'}")
        for text in "== a\neach b\nGET /\n--> 200\n", "== a\neach b:\nGET /\n--> 200\n":
            with self.subTest(text), self.assertRaisesRegex(ValueError, "not `each"):
                self.toy.run(text)

    def test_a_wrong_status_fails(self):
        self.assert_fails("== case\nGET /nope\n--> 200\n", "status 404")

    def test_a_server_that_does_not_start_fails_all_cases(self):
        self.toy.program.write_text("#!/bin/sh\necho out of order\nexit 3\n")
        _, failed, printed = self.toy.run("== a\nGET /\n--> 200\n== b\nGET /\n--> 200\n")
        self.assertEqual(failed, 2)
        self.assertIn("out of order", printed)

    def test_a_server_that_ends_badly_fails(self):
        self.toy.program.write_text((TOY % {"python": sys.executable}).replace("os._exit(0)", "os._exit(4)"))
        self.assert_fails("== case\nGET /\n--> 200\n", "ended with 4")

    def test_mistakes_in_a_file_are_named(self):
        for text, why in [("== a\nGET /\n== b\n", "no `-->`"), ("nonsense\n", "unknown head line"),
                          ("== a\nget /\n--> 200\n", "not a request line"), ("== a\n--> 200\n", "no request")]:
            with self.subTest(text), self.assertRaisesRegex(ValueError, why):
                self.toy.run(text)
        with self.assertRaisesRegex(ValueError, "not an expectation"):
            self.toy.run("== a\nGET /\n--> 200\nnonsense\n")

    def test_times(self):
        self.assertGreater(run.seconds_from_now("2318-01-01T00:00:00.5Z"), 250 * 365 * 86400)
        one = run.seconds_from_now("2020-06-01T12:00:00Z")
        other = run.seconds_from_now("2020-06-01T14:00:00+02:00")
        self.assertLess(abs(one - other), 1)
        self.assertLess(abs(run.seconds_from_now("1970-01-01T00:00:00Z") + __import__("time").time()), 1)

    def test_all_cases_of_this_folder_parse(self):
        files = sorted(run.HERE.glob("*.test"))
        self.assertGreater(len(files), 5)
        for path in files:
            self.assertGreater(len(run.parse(path).cases), 0)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main()
