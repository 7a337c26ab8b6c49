"""The servers that are measured, behind one face: start, a streamed completion with the time of every token, counters, memory."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from server import Server, free_port, wait_for

EVALUATED = "corral_prompt_tokens_evaluated_total"
DEADLINE_S = 600


class Timeline:
    """One streamed answer: seconds since it was asked for, of the head and of every line with text."""

    def __init__(self):
        self.begin, self.times = time.monotonic(), []
        self.tokens = self.prompt_tokens = self.evaluated = 0
        self.text = ""

    def note(self, text):
        if text:
            self.times.append(time.monotonic() - self.begin)
            self.text += text

    def end(self):
        self.wall = time.monotonic() - self.begin
        if not self.times:
            raise SystemExit("an answer without text")

    @property
    def first(self):
        return self.times[0]

    @property
    def step(self):
        """Seconds from one token to the next, on the average."""
        return (self.times[-1] - self.times[0]) / max(self.tokens - 1, 1)

    @property
    def longest_gap(self):
        return max((later - earlier for earlier, later in zip(self.times, self.times[1:])), default=0.0)

    def expect(self, tokens):
        if self.tokens < tokens * 0.7:
            raise SystemExit(f"an answer ended after {self.tokens} of {tokens} tokens: too few to measure")
        return self


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def family(pid):
    """The process and all that descend from it."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, rest = stat.read_text().split(" (", 1)
            children.setdefault(int(rest.rsplit(") ", 1)[1].split()[1]), []).append(int(child))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


class Corral:
    """Ours; or Ollama's own server, which speaks the same."""

    name = "corral"

    def __init__(self, options, models, env=None):
        """models: {name: path of a GGUF}"""
        self.options, self.models, self.env = options, models, env or {}

    def __enter__(self):
        self.server = Server(env=self.env).__enter__()
        for name, path in self.models.items():
            digest, answer = self.server.upload(path)
            if answer.status not in (200, 201):
                raise SystemExit(f"upload: {answer}")
            self.server.ask("/api/create", {"model": name, "files": {"model.gguf": digest}}, timeout=DEADLINE_S)
        return self

    def __exit__(self, *exception):
        self.server.__exit__(*exception)

    def complete(self, prompt, tokens, model=None, on_text=None, **options):
        line = Timeline()
        stream = self.server.stream("/api/generate", {
            "model": model or next(iter(self.models)), "prompt": prompt, "raw": True, "keep_alive": -1,
            "options": {"temperature": 0, "num_predict": tokens, **options}}, timeout=DEADLINE_S)
        if stream.status != 200:
            raise SystemExit(f"{self.name}: {stream.status} {stream.next()}")
        while (record := stream.next()) is not None:
            if "error" in record or "broken" in record:
                raise SystemExit(f"{self.name}: {record}")
            line.note(record.get("response"))
            if on_text and line.times:
                on_text(line)
            if record.get("done"):
                line.tokens, line.prompt_tokens = record["eval_count"], record["prompt_eval_count"]
                line.rate = record["eval_count"] / max(record["eval_duration"], 1) * 1e9
        stream.close()
        line.end()
        return line

    def embed(self, texts):
        return self.server.ask("/api/embed", {"model": next(iter(self.models)), "input": texts, "keep_alive": -1}, timeout=DEADLINE_S)["embeddings"]

    def evaluated(self):
        return int(self.server.metrics().get(EVALUATED, 0))

    def resident(self):
        return sum(resident_bytes(pid) for pid in family(self.server.process.pid))

    def binary(self):
        return os.environ["CORRAL_BIN"]


class Ollama(Corral):
    """An Ollama binary, where one is found (OLLAMA_BIN, or `ollama` on the PATH that is not ours)."""

    name = "ollama"

    @staticmethod
    def find():
        binary = os.environ.get("OLLAMA_BIN") or shutil.which("ollama")
        if not binary:
            return None
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30)
        return None if "corral" in (version.stdout + version.stderr).lower() else binary

    def __enter__(self):
        ours = os.environ["CORRAL_BIN"]
        os.environ["CORRAL_BIN"] = self.binary()
        try:
            return super().__enter__()
        finally:
            os.environ["CORRAL_BIN"] = ours

    def evaluated(self):
        return None  # it does not tell

    def binary(self):
        return self.options.ollama


class LlamaServer:
    """llama-server of the same llama.cpp and flags, with its own defaults and -c 32768."""

    name = "llama-server"

    def __init__(self, options, models, arguments=()):
        self.options, self.models, self.arguments = options, models, list(arguments)
        self.n_evaluated = 0

    def __enter__(self):
        self.processes, self.ports, self.logs = [], {}, []
        try:
            for name, path in self.models.items():
                log = tempfile.NamedTemporaryFile(prefix="llama-server-")
                port = free_port()
                self.logs.append(log)
                self.ports[name] = port
                self.processes.append(subprocess.Popen(
                    [f"{self.options.bin}/llama-server", "-m", path, "-c", "32768", "-t", str(self.options.threads), "--host", "127.0.0.1",
                     "--port", str(port), "--no-webui", *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log))
                wait_for(lambda: self.is_ready(name), "llama-server to be ready", 120, 0.02)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for log in self.logs:
            log.close()

    def is_ready(self, name):
        if self.processes[-1].poll() is not None:
            raise SystemExit("llama-server ended: " + pathlib.Path(self.logs[-1].name).read_text(errors="replace")[-3000:])
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def post(self, model, path, value):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[model or next(iter(self.models))], timeout=DEADLINE_S)
        connection.request("POST", path, body=json.dumps(value), headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"llama-server: {response.status} {response.read()[:500]}")
        return connection, response

    def complete(self, prompt, tokens, model=None, on_text=None):
        line = Timeline()
        connection, response = self.post(model, "/completion", {
            "prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": True, "stream": True})
        while raw := response.readline():
            if not raw.startswith(b"data: "):
                continue
            record = json.loads(raw[6:])
            line.note(record.get("content"))
            if on_text and line.times:
                on_text(line)
            if record.get("stop"):
                line.tokens, line.prompt_tokens = record["tokens_predicted"], record["tokens_evaluated"]
                line.evaluated = record["timings"]["prompt_n"]
                line.rate = record["timings"]["predicted_per_second"]
                if record["truncated"]:
                    raise SystemExit("llama-server cut a prompt or an answer: nothing to compare with")
        connection.close()
        line.end()
        self.n_evaluated += line.evaluated
        return line

    def embed(self, texts):
        connection, response = self.post(None, "/v1/embeddings", {"input": texts, "model": "any"})
        data = json.loads(response.read())["data"]
        connection.close()
        return [item["embedding"] for item in data]

    def evaluated(self):
        return self.n_evaluated

    def resident(self):
        return sum(resident_bytes(process.pid) for process in self.processes)
