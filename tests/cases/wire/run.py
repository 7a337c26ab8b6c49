#!/usr/bin/env python3
"""Runs wire cases (*.test) against a real `corral serve` on a free loopback port with a fresh store.

usage: run.py --corral BIN [--make-tiny-model BIN] [--only TEXT] [-v] [FILE.test ...]

Prints one line a failed case and `N passed, M failed`. Exits 0 if nothing failed, 77 if everything was skipped. The format is
in README.md beside this file. Python's standard library only.
"""

import argparse
import hashlib
import http.client
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUEST_SECONDS = 60
START_SECONDS = 20
STOP_SECONDS = 20


class Failed(Exception):
    """An expectation that does not hold."""


# ---- cases -----------------------------------------------------------------------------------------------------------------


class Exchange:
    """One request and what is expected of its answer."""

    def __init__(self, line):
        self.line = line  # for messages
        self.method = ""
        self.target = ""
        self.headers = []
        self.body = None
        self.statuses = []
        self.within = 0.0
        self.close_after = None
        self.expectations = []


class Case:
    def __init__(self, title, line):
        self.title = title
        self.line = line
        self.each = []  # (variable, its values)
        self.exchanges = []

    def rounds(self):
        """The variables of each run of the case: every combination."""
        names = [name for name, _ in self.each]
        return [dict(zip(names, values)) for values in itertools.product(*(values for _, values in self.each))]


FIXTURES = {
    "T": ("tiny-llama", "tiny", "--endless"),
    "E": ("tiny-bert", "emb"),
    "R": ("tiny-reranker", "rank"),
    "V": ("tiny-llama", "sees", "--endless"),
}


class CaseFile:
    def __init__(self, path):
        self.path = path
        self.fixture = "N"
        self.bind = "127.0.0.1"
        self.environment = {}
        self.cases = []


def parse(path):
    """Reads a .test file. A mistake in it is a ValueError with its line."""
    out = CaseFile(path)
    case = exchange = None
    state = "head"  # head, request, body, expect
    body = []
    for number, raw in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        line = raw.rstrip()

        def wrong(why):
            return ValueError(f"{path}:{number}: {why}: {line}")

        if line.startswith("== "):
            if state in ("request", "body"):
                raise wrong("the case before has no `-->`")
            case = Case(line[3:].strip(), number)
            out.cases.append(case)
            exchange, state = None, "request"
        elif state == "head":
            if not line or line.startswith("#"):
                continue
            key, _, value = line.partition(":")
            value = value.strip()
            if key == "fixture" and value in ("N", "A", *FIXTURES):
                out.fixture = value
            elif key == "bind":
                out.bind = value
            elif key == "env" and "=" in value:
                name, _, text = value.partition("=")
                out.environment[name] = text
            else:
                raise wrong("unknown head line")
        elif state == "body" and not line.startswith("-->"):
            body.append(raw)
        elif not line or line.startswith("#"):
            continue
        elif line.startswith("-->"):
            if exchange is None:
                raise wrong("no request before `-->`")
            exchange.statuses = [int(code) for code in re.split(r"\s+or\s+", line[3:].strip())]
            if body:
                exchange.body = "\n".join(body).rstrip("\n")
            body, state = [], "expect"
        elif state == "expect" and line == "then":
            exchange, state = None, "request"
        elif state == "expect":
            exchange.expectations.append((number, line))
        elif exchange is None and line.startswith("each "):
            name, colon, values = line[len("each "):].partition(":")
            if not colon or not values.split() or case.exchanges:
                raise wrong("not `each NAME: VALUE ...` in front of a case's first request")
            case.each.append((name.strip(), values.split()))
        elif exchange is None:
            exchange = Exchange(number)
            method, _, target = line.partition(" ")
            if not method.isupper() or not target.startswith("/"):
                raise wrong("not a request line")
            exchange.method, exchange.target = method, target
            case.exchanges.append(exchange)
        elif line.startswith("> "):
            name, colon, value = line[2:].partition(":")
            if not colon:
                raise wrong("not a header")
            exchange.headers.append((name.strip(), value.strip()))
        elif line.startswith("! within "):
            exchange.within = float(line[len("! within "):].rstrip("s"))
        elif line.startswith("! close after "):
            exchange.close_after = int(line[len("! close after "):].split()[0])
        else:
            state = "body"
            body.append(raw)
    if state in ("request", "body"):
        raise ValueError(f"{path}: the last case has no `-->`")
    return out


def fill(text, variables):
    """Puts variables in: ${name}, ${json:name} (a string with its quotes), ${words:N} (N words), ${repeat:N:text}."""

    def value(match):
        name = match.group(1)
        if name.startswith("words:"):
            return " ".join(["word"] * int(name[6:]))
        if name.startswith("repeat:"):
            _, count, what = name.split(":", 2)
            return what * int(count)
        as_json = name.startswith("json:")
        name = name[5:] if as_json else name
        if name not in variables:
            raise Failed(f"unknown variable ${{{name}}}")
        found = variables[name]
        return found if isinstance(found, str) and not as_json else json.dumps(found)

    return re.sub(r"\$\{([^}]+)\}", value, text)


# ---- answers ---------------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # list of pairs, in order
        self.body = body  # text

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def lines(self):
        """The records of an NDJSON body."""
        if not self.body.endswith("\n"):
            raise Failed("the last line of the stream has no line feed")
        records = []
        for line in self.body.split("\n")[:-1]:
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise Failed(f"a line is not JSON: {line!r} ({error})") from error
        return records

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failed(f"the body is not JSON: {self.body[:300]!r}") from error

    def last(self):
        """The JSON body, or the last record of a stream."""
        kind = self.header("content-type") or ""
        return self.lines()[-1] if kind.startswith("application/x-ndjson") else self.json()


def look_up(value, path):
    """a.b[0]["c.d"] in a JSON value; raises KeyError."""
    for match in re.finditer(r'\[(-?\d+)\]|\["([^"]*)"\]|([^.\[\]]+)', path):
        index, quoted, name = match.groups()
        try:
            value = value[int(index)] if index is not None else value[quoted if quoted is not None else name]
        except (IndexError, TypeError, KeyError):
            raise KeyError(path) from None
    return value


def is_part(expected, actual):
    """Every key of `expected` objects is in `actual` with such a value; lists have equal lengths."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(key in actual and is_part(value, actual[key])
                                                for key, value in expected.items())
    if isinstance(expected, list):
        return (isinstance(actual, list) and len(expected) == len(actual)
                and all(is_part(e, a) for e, a in zip(expected, actual)))
    return type(expected) is type(actual) and expected == actual


def norm(vector):
    return math.sqrt(sum(x * x for x in vector))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (norm(a) * norm(b))


def seconds_from_now(text):
    """Seconds from now to an RFC 3339 time of any year (proleptic, good to a day beyond 9999)."""
    match = re.fullmatch(r"(\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|([+-])(\d\d):(\d\d))", text)
    if not match:
        raise Failed(f"not an RFC 3339 time: {text}")
    year, month, day, hour, minute, second = (int(match.group(i)) for i in range(1, 7))
    y = year - (month <= 2)
    days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1 - 719468
    offset = 0
    if match.group(9):
        offset = (int(match.group(10)) * 3600 + int(match.group(11)) * 60) * (1 if match.group(9) == "+" else -1)
    return days * 86400 + hour * 3600 + minute * 60 + second - offset - time.time()


OPERATORS = {
    "=": (lambda actual, expected: actual == expected, "is not"),
    "^": (lambda actual, expected: actual.startswith(expected), "does not begin with"),
    "~": (lambda actual, expected: expected in actual, "does not contain"),
}


def compare(what, actual, operator, expected):
    holds, words = OPERATORS[operator]
    if actual is None or not holds(actual, expected):
        raise Failed(f"{what} {words} {expected!r}, but {actual[:500] if actual else actual!r}")


def check_one(line, answer, variables):
    """One expectation line."""
    if line == "body empty":
        if answer.body:
            raise Failed(f"the body is not empty: {answer.body[:200]!r}")
        return
    match = re.match(r"(body|error) ([=^~]) (.*)$", line)
    if match:
        what, operator, expected = match.groups()
        actual = answer.body
        if what == "error":
            value = answer.last()
            if not isinstance(value, dict) or set(value) != {"error"} or not isinstance(value["error"], str):
                raise Failed(f'not {{"error":"..."}}: {answer.body[:500]}')
            actual = value["error"]
        compare(what, actual, operator, fill(expected, variables))
        return
    match = re.match(r"json ([=<]) (.*)$", line)
    if match:
        operator, text = match.groups()
        expected = json.loads(fill(text, variables))
        actual = answer.last()
        if not (actual == expected if operator == "=" else is_part(expected, actual)):
            raise Failed(f"json is {json.dumps(actual)[:700]}, expected {operator} {json.dumps(expected)}")
        return
    match = re.match(r"(!?)has (.+)$", line)
    if match:
        is_absent, path = match.groups()
        try:
            look_up(answer.last(), path)
            is_there = True
        except KeyError:
            is_there = False
        if is_there == bool(is_absent):
            raise Failed(f"{path} is {'there' if is_there else 'absent'}: {answer.body[:500]}")
        return
    match = re.match(r"set (\w+) = (.+)$", line)
    if match:
        name, path = match.groups()
        try:
            variables[name] = answer.body if path == "body" else look_up(answer.last(), path)
        except KeyError:
            raise Failed(f"{path} is absent: {answer.body[:500]}") from None
        return
    if line.startswith("check "):
        names = {"body": answer.body, "answer": answer, "vars": variables, "norm": norm, "cosine": cosine, "re": re,
                 "json": json, "is_part": is_part, "seconds_from_now": seconds_from_now, "sha256": hashlib.sha256}
        kind = answer.header("content-type") or ""
        if kind.startswith("application/x-ndjson"):
            names["lines"] = answer.lines()
            names["last"] = names["lines"][-1]
        elif kind.startswith("application/json"):
            names["last"] = answer.json()
        names.update((name, value) for name, value in variables.items() if name not in names)
        expression = line[len("check "):]
        try:
            holds = eval(expression, names)  # pylint: disable=eval-used  # our own case files
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise Failed(f"{expression}: {type(error).__name__} {error}: {answer.body[:500]}") from error
        if not holds:
            raise Failed(f"{expression} is false: {answer.body[:700]}")
        return
    match = re.match(r"!([\w-]+)$", line)
    if match:
        if answer.header(match.group(1)) is not None:
            raise Failed(f"header {match.group(1)} is there: {answer.header(match.group(1))}")
        return
    match = re.match(r"([A-Z][\w-]*)(?::| ([=^~]))\s*(.*)$", line)
    if match:
        name, operator, expected = match.groups()
        compare(f"header {name}", answer.header(name), operator or "=", fill(expected, variables))
        return
    raise ValueError(f"not an expectation: {line}")


# ---- the server ------------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A corral serve of our own: fresh folder, free port, nothing of the caller's environment that could change it."""

    def __init__(self, program, case_file, make_tiny_model):
        self.folder = Path(tempfile.mkdtemp(prefix="corral-wire-"))
        self.port = free_port()
        self.log = self.folder / "log"
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("OLLAMA_") and (not key.startswith("CORRAL_") or key == "CORRAL_WORKER")}
        environment.update(HOME=str(self.folder), OLLAMA_MODELS=str(self.folder / "models"),
                           OLLAMA_HOST=f"{case_file.bind}:{self.port}", TZ="UTC")
        environment.update(case_file.environment)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([program, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT)
        try:
            self.wait_until_up()
            self.variables = {"host": f"127.0.0.1:{self.port}", "port": str(self.port)}
            if case_file.fixture != "N":
                self.add_models(case_file.fixture, make_tiny_model)
        except BaseException:
            self.stop()
            self.remove()
            raise

    def wait_until_up(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise Failed(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            try:
                if self.send("GET", "/", [], None).status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise Failed(f"the server does not answer:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").split("\n")[-25:])

    def add_models(self, fixture, make_tiny_model):
        if fixture == "A":
            self.add_model(make_tiny_model, "tiny", "files", "tiny-llama", "--endless")
            self.add_model(make_tiny_model, "merged", "files", "tiny-llama", "--endless", "--merged")
            for name, kind in ("one", "tiny-adapter-1"), ("two", "tiny-adapter-2"), ("unfit", "tiny-adapter-unfit"):
                self.add_model(make_tiny_model, name, "adapters", kind)
            return
        kind, name, *flags = FIXTURES[fixture]
        projectors = ["llava-projector"] if fixture == "V" else []
        self.add_model(make_tiny_model, name, "files", kind, *flags, projectors=projectors)

    def add_model(self, make_tiny_model, name, what, kind, *flags, projectors=()):
        """A model of a file and its projectors, or an adapter over `tiny`."""
        digests = {}
        for one, *flags_of_one in (kind, *flags), *((projector,) for projector in projectors):
            file = self.folder / f"{one}.gguf"
            subprocess.run([make_tiny_model, one, str(file), *flags_of_one], check=True, timeout=60)
            data = file.read_bytes()
            digest = digests[file.name] = "sha256:" + hashlib.sha256(data).hexdigest()
            answer = self.send("POST", f"/api/blobs/{digest}", [], data)
            if answer.status != 201:
                raise Failed(f"upload of the fixture: {answer.status} {answer.body}")
        # One thread: ggml's barriers spin, and a busy machine would make seconds of milliseconds.
        body = {"model": name, what: digests, "parameters": {"num_thread": 1}, "stream": False}
        if what == "adapters":
            body["from"] = "tiny"
        answer = self.send("POST", "/api/create", [], json.dumps(body).encode())
        if answer.status != 200:
            raise Failed(f"create of the fixture: {answer.status} {answer.body}")

    def send(self, method, target, headers, body, close_after=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            names = {name.lower() for name, _ in headers}
            connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None or method in ("POST", "PUT"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            response = connection.getresponse()
            if close_after is not None:
                text = b"".join(response.readline() for _ in range(close_after))
                # Close with unread data: the peer sees a reset or an end of file at once.
                return Answer(response.status, response.getheaders(), text.decode())
            return Answer(response.status, response.getheaders(), response.read().decode("utf-8"))
        finally:
            connection.close()

    def stop(self):
        """Ends the server by SIGTERM; returns its exit code, or None if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- running ---------------------------------------------------------------------------------------------------------------


def run_exchange(server, exchange, variables):
    body = None if exchange.body is None else fill(exchange.body, variables).encode("utf-8")
    headers = [(name, fill(value, variables)) for name, value in exchange.headers]
    target = fill(exchange.target, variables)
    deadline = time.monotonic() + exchange.within
    while True:
        try:
            answer = server.send(exchange.method, target, headers, body, exchange.close_after)
            if answer.status not in exchange.statuses:
                raise Failed(f"status {answer.status}, expected {exchange.statuses}: {answer.body[:500]}")
            for _, line in exchange.expectations:
                check_one(line, answer, variables)
            return
        except Failed:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def run_file(path, arguments):
    """Returns (passed, failed, skipped)."""
    case_file = parse(path)
    cases = [case for case in case_file.cases if not arguments.only or arguments.only in case.title]
    if not cases:
        return 0, 0, 0
    if case_file.fixture != "N" and not arguments.make_tiny_model:
        return 0, 0, len(cases)
    passed = failed = 0
    try:
        server = Server(arguments.corral, case_file, arguments.make_tiny_model)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAIL {Path(path).name}: {error}")
        return 0, len(cases), 0
    log = None
    try:
        for case in cases:
            exchange, chosen = None, {}
            try:
                for chosen in case.rounds():
                    variables = {**server.variables, **chosen}
                    for exchange in case.exchanges:
                        run_exchange(server, exchange, variables)
                passed += 1
                if arguments.verbose:
                    print(f"ok   {Path(path).name}:{case.line} {case.title}")
            except (Failed, OSError, http.client.HTTPException, UnicodeDecodeError) as error:
                failed += 1
                log = server.tail()
                where = f"{exchange.line} {case.title}" + (f" {chosen}" if chosen else "")
                print(f"FAIL {Path(path).name}:{where}\n     {type(error).__name__}: {error}")
    except BaseException:  # a mistake in the file
        server.stop()
        server.remove()
        raise
    code = server.stop()
    if code != 0:
        failed += 1
        print(f"FAIL {Path(path).name}: the server ended with {code}, not 0, on SIGTERM")
        log = server.tail()
    if log:
        print("     the server's last lines:\n" + log)
    server.remove()
    return passed, failed, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corral", required=True)
    parser.add_argument("--make-tiny-model")
    parser.add_argument("--only", help="only cases whose title contains this")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    files = arguments.files or sorted(HERE.glob("*.test"))
    totals = [0, 0, 0]
    for path in files:
        for i, n in enumerate(run_file(path, arguments)):
            totals[i] += n
    print(f"{totals[0]} passed, {totals[1]} failed" + (f", {totals[2]} skipped" if totals[2] else ""))
    if totals[1]:
        return 1
    return 0 if totals[0] else 77


if __name__ == "__main__":
    sys.exit(main())
