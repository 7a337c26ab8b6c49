"""A folder in which a guide is followed: files are written, commands run as a reader would run them, and all is cleared away."""
import functools
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import lab

IMAGE = "corral:cpu"  # the image under test (lab.py)
MODEL = "llama3.2"  # one of those at the test's registry
PROJECT = "corraltest"  # compose's prefix of volume and network names


class Place:
    """with Place() as place: ...    Containers, volumes and networks that came up in it are gone at the end."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="corral-guide-"))
        config = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")  # of docker's own plugins
        self.environment = {**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "TERM": "xterm", "DOCKER_CLI_HINTS": "false",
                            "HOME": str(self.folder), "DOCKER_CONFIG": config}
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")  # a progress meter falls into the middle of answers
        self.texts = []  # what was written and run: names the volumes that may be removed

    def __enter__(self):
        lab.remove_containers(keep=("corral-test-registry",))
        self.volumes = set(lab.docker("volume", "ls", "-q").split())
        return self

    def __exit__(self, kind, value, traceback):
        if kind is not None and not issubclass(kind, unittest.SkipTest):
            self.show_logs()
        for file in sorted(self.folder.glob("*.y*ml")):
            lab.run("docker", "compose", "-f", file, "down", "-v", "--remove-orphans", "-t", "2", check=False, cwd=self.folder,
                    env=self.environment)
        lab.remove_containers(keep=("corral-test-registry",))
        words = set(re.findall(r"[\w.-]+", "\n".join(self.texts)))
        for volume in set(lab.docker("volume", "ls", "-q").split()) - self.volumes:
            if volume in words or volume.removeprefix(PROJECT + "_") in words:
                lab.docker("volume", "rm", volume, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def show_logs(self):
        for name in lab.docker("ps", "-a", "--filter", "label=corral.test=1", "--format", "{{.Names}}").split():
            if name != "corral-test-registry":
                print(f"---- last lines of {name}\n{logs(name, 25)}\n----", flush=True)

    def write(self, name, text):
        self.texts.append(text)
        (self.folder / name).write_text(text)

    def sh(self, text, typed=None, timeout=120):
        """Runs a block as in a shell that stops at the first error; with `typed`, in a terminal with these lines typed at its
        prompts. Returns what it printed."""
        self.texts.append(text)
        command = ["bash", "-euo", "pipefail", "-c", text]
        if typed is not None or re.search(r"docker (exec|run) (-\w*t|-i -t|--tty)", text):
            status, output = in_terminal(command, typed or [], self.folder, self.environment, timeout)
        else:
            status, output = in_background(command, self.folder, self.environment, timeout)
        if status != 0:
            raise AssertionError(f"exit status {status} of\n{text}\n---- output\n{output[-4000:]}")
        return output

    def compose(self, *words, file="docker-compose.yml", **options):
        return lab.run("docker", "compose", "-f", file, *words, cwd=self.folder, env=self.environment, **options).stdout


def in_place(test):
    """A test method that has a place of its own: self.place."""
    @functools.wraps(test)
    def wrapped(self):
        with Place() as self.place:
            test(self)
    return wrapped


def in_background(command, folder, environment, timeout):
    """(exit status, output) of a command without a terminal; at the deadline it ends with all that it started."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", cwd=folder, env=environment, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"not within {timeout} s:\n{command[-1]}\n---- output\n{output[-3000:]}") from None


def in_terminal(command, typed, folder, environment, timeout):
    """(exit status, output) of a command on a terminal of its own; a line of `typed` goes in at each prompt."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True)
    os.close(theirs)
    output, typed, seen = "", list(typed), 0
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                data = b""
            if not data:
                return process.wait(10), output
            output += data.decode(errors="replace")
            prompt = output.find("Send a message", seen)
            if prompt >= 0 and typed:
                seen = len(output)
                os.write(ours, typed.pop(0).encode() + b"\r")
        raise AssertionError(f"not within {timeout} s in a terminal: {command[-1]}\n{output[-3000:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


# ---- containers


def start(*words, name="corral"):
    lab.docker("run", "-d", "--name", name, "-p", f"127.0.0.1:{lab.PORT}:11434", *words, IMAGE)


def status(name="corral"):
    return inspect(name, "{{.State.Status}}")


def last_words(*words, name="corral"):
    """The exit status of a container that cannot start, and the end of its log."""
    lab.docker("run", "-d", "--name", name, *words, IMAGE)
    return int(lab.docker("wait", name, timeout=30)), logs(name, 4)


def logs(name, lines=200):
    return lab.docker("logs", "--tail", lines, name, check=False)


def inspect(name, template):
    return lab.docker("inspect", "--format", template, name)


def health(name):
    return inspect(name, "{{if .State.Health}}{{.State.Health.Status}}{{end}}")


def wait_healthy(name, seconds=75):
    lab.wait_for(lambda: health(name) == "healthy", f"{name} to be healthy", seconds)


def curl(path, *words, port=lab.PORT, timeout=120, check=True):
    return lab.run("curl", "-sS", "--fail-with-body", *words, f"http://127.0.0.1:{port}{path}", timeout=timeout, check=check).stdout


def ask(model=MODEL, prompt="Hello.", **fields):
    """The whole answer of the server at the guides' port."""
    return json.loads(curl("/api/generate", "-d", json.dumps({"model": model, "prompt": prompt, "stream": False, **fields})))


def wait_ready(seconds=60):
    lab.wait_for(lambda: curl("/readyz", check=False).startswith('{"status":"ready"'), "the models to be there", seconds)


def wait_answer(port=lab.PORT, seconds=30):
    lab.wait_for(lambda: "Ollama is running" in curl("/", port=port, check=False), f"an answer at port {port}", seconds, step_s=0.05)
