#!/usr/bin/env python3
"""kill -9 of workers, and of the processes that format prompts for them, while requests of every kind are under way: pictures,
sounds, adapters, structured output, tools, embeddings, ranking, tokens. Each request ends with a result or an error, the next
one of each kind has a result, and the server is no larger than before. The kills: fixtures/kills.py."""
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from kills import SEED, Campaign, chance, n_random  # noqa: E402
from server import Server, in_parallel, wait_for, words  # noqa: E402
from tiny import make_tiny_model, picture, sound  # noqa: E402

TEMPLATE = ("{{ if .Tools }}You may call: {{ .Tools }}\n{{ end }}{{ range .Messages }}{{ .Role }}: {{ .Content }}"
            "{{ range .ToolCalls }}<tool_call>{\"name\": \"{{ .Function.Name }}\", \"arguments\": {{ .Function.Arguments }}}</tool_call>"
            "{{ end }}\n{{ end }}assistant: ")
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
SCHEMA = {"type": "object", "properties": {"words": {"type": "array", "items": {"type": "boolean"}, "minItems": 60}}, "required": ["words"]}
OPTIONS = {"num_predict": 150, "num_ctx": 1024, "num_thread": 1}


def message(content, *images):
    return {"role": "user", "content": content, **({"images": list(images)} if images else {})}


# What is asked, by name: path and body. Streamed where `stream` does not say otherwise.
REQUESTS = {
    "a picture": ("/api/generate", {"model": "sees", "prompt": "look [img] hello", "images": [picture(1)], "options": OPTIONS}),
    "a picture in the middle": ("/api/chat", {"model": "sees", "options": OPTIONS, "messages": [
        message(words(40) + " [img] the sky", picture(2)), {"role": "assistant", "content": "word"}, message("other [img]", picture(3))]}),
    "a sound": ("/api/chat", {"model": "hears", "messages": [message("listen", sound(1))], "options": OPTIONS}),
    "an adapter": ("/api/generate", {"model": "sees", "prompt": words(30, 1), "adapters": ["one"], "options": OPTIONS}),
    "two adapters and a picture": ("/api/generate", {"model": "sees", "prompt": "look [img] hello", "images": [picture(1)], "adapters": [
        {"name": "one", "scale": 0.5}, {"name": "two", "scale": 1}], "options": OPTIONS}),
    "a schema": ("/api/chat", {"model": "sees", "messages": [message("a list")], "format": SCHEMA, "options": OPTIONS}),
    "tools": ("/api/chat", {"model": "sees", "messages": [message("the weather")], "tools": TOOLS, "options": OPTIONS}),
    "embeddings": ("/api/embed", {"model": "vectors", "input": [words(20, seed) for seed in range(60)], "stream": False}),
    "a model's embeddings": ("/api/embed", {"model": "sees", "input": [words(60, seed) for seed in range(30)], "stream": False}),
    "a ranking": ("/api/rerank", {"model": "judge", "query": "the sky", "documents": [words(20, seed) for seed in range(60)], "stream": False}),
    "tokens": ("/api/tokenize", {"model": "sees", "content": words(3000), "stream": False}),
    "a long prompt": ("/api/generate", {"model": "sees", "prompt": words(600, 7), "raw": True, "options": OPTIONS}),
}


def children_of(pid):
    """(process id, name) of each, zombies apart."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            own, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        name, fields = rest.rsplit(") ", 1)
        state, parent = fields.split()[:2]
        if int(parent) == pid and state not in "ZX":
            found.append((int(own), name))
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


class WorkerKill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server = Server(env={"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_MAX_LOADED_MODELS": "8"}).__enter__()
        cls.addClassCleanup(server.__exit__, None, None, None)
        llama = make_tiny_model(server, "tiny-llama", "--endless")
        for name, files, fields in (("sees", (llama, make_tiny_model(server, "llava-projector")), {"template": TEMPLATE}),
                                    ("hears", (llama, make_tiny_model(server, "sound-projector")), {}),
                                    ("vectors", (make_tiny_model(server, "tiny-bert"),), {}),
                                    ("judge", (make_tiny_model(server, "tiny-reranker"),), {})):
            server.ask("/api/create", {"model": name, "files": {f"{i}.gguf": digest for i, digest in enumerate(files)}, **fields})
        for name, kind in (("one", "tiny-adapter-1"), ("two", "tiny-adapter-2")):
            server.ask("/api/create", {"model": name, "from": "sees", "adapters": {"a.gguf": make_tiny_model(server, kind)}})
        cls.campaign = Campaign("workers and their helpers")

    # ---- what is asked

    def ask(self, name, on_record=lambda name: None):
        """None, or the error with which it ended; anything else fails."""
        path, body = REQUESTS[name]
        if body.get("stream") is False:
            answer = self.server.post(path, body)
            return None if answer.status == 200 else self.error_of(name, answer.status, answer.text)
        stream = self.server.stream(path, body)
        if stream.status != 200:
            text = stream.response.read().decode()
            stream.close()
            return self.error_of(name, stream.status, text)
        while stream.next() is not None:
            on_record(name)
        stream.close()
        last = stream.records[-1] if stream.records else {}
        if last.get("done"):
            return None
        self.assertTrue(last.get("error"), f"{name} ended with {last}")
        return last["error"]

    def error_of(self, name, status, text):
        # 400: whoever decodes a picture, or formats a prompt, was killed, as its limits would.
        self.assertIn(status, (400, 500, 503), f"{name}: {status} {text}")
        error = json.loads(text)["error"]
        self.assertTrue(error, name)
        return error

    def assert_all_work(self):
        for name, error in zip(REQUESTS, in_parallel(*[lambda name=name: self.ask(name) for name in REQUESTS])):
            self.assertIsNone(error, f"{name}, after a kill (CORRAL_SEED={SEED})")

    # ---- who is killed

    def helpers(self, name):
        """Process ids: the nursery of each worker, or its formatters."""
        nurseries = [pid for worker in self.server.workers() for pid, _ in children_of(worker)]
        if name == "nursery":
            return nurseries
        return [pid for nursery in nurseries for pid, _ in children_of(nursery)]

    def round(self, phase, victims, at=None, after_s=0.0):
        """All requests at once, each twice, and a kill of what victims() finds: at the first record of the one named `at`, or after
        so many seconds. Returns how many ended with an error."""
        is_time = threading.Event()
        names = [*REQUESTS, *REQUESTS]

        def strike():
            if at:
                is_time.wait(60)
            else:
                time.sleep(after_s)  # the moment of the kill, not a wait for something
            for pid in victims():
                kill(pid)
        striking = threading.Thread(target=strike, daemon=True)
        striking.start()
        errors = in_parallel(*[lambda name=name: self.ask(name, lambda name: is_time.set() if name == at else None) for name in names])
        is_time.set()
        striking.join(60)
        self.assertFalse(striking.is_alive())
        self.assertTrue(self.server.is_alive())
        n_errors = sum(error is not None for error in errors)
        self.campaign.add(f"{phase}, {'some' if n_errors else 'no'} requests hit")
        self.assert_all_work()
        return n_errors

    # ---- how large the server is

    def end_all_workers(self):
        for pid in self.server.workers():
            kill(pid)
        wait_for(lambda: not self.server.workers() and not self.server.get("/api/ps").json["models"], "all workers to end")

    def n_descriptors(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def memory_mib(self):
        status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def n_zombies(self):
        n = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rsplit(") ", 1)[1].split()[:2]
            except OSError:
                continue
            n += state == "Z" and int(parent) == self.server.process.pid
        return n

    def test_every_request_ends_and_the_next_one_works(self):
        self.assert_all_work()
        workers = self.server.workers
        n_hit = 0
        for name in ("a picture", "a picture in the middle", "a sound", "two adapters and a picture", "a schema", "tools"):
            n_hit += self.round(f"the first piece of {name}", workers, at=name)
        # From nothing: each worker is killed as soon as it is there, while it loads.
        self.end_all_workers()
        n_hit += self.round("a load", lambda: wait_for(workers, "a worker to be started"))
        self.assertGreater(n_hit, 6, "too few requests were under way")
        self.round("formatting", lambda: self.helpers("formatter"))
        self.round("formatting", lambda: self.helpers("formatter"), after_s=0.05)

        self.end_all_workers()
        n_descriptors, memory_mib = self.n_descriptors(), self.memory_mib()
        for _ in range(n_random(4)):
            self.round("random", lambda: [chance.choice(workers())] if workers() else [], after_s=chance.uniform(0, 0.3))
        self.campaign.report()
        self.end_all_workers()
        wait_for(lambda: self.n_descriptors() <= n_descriptors, f"the server to have {n_descriptors} descriptors again")
        wait_for(lambda: self.n_zombies() == 0, "the workers' ends to be noticed")
        print(f"memory: {memory_mib:.0f} MiB before the random kills, {self.memory_mib():.0f} MiB after", flush=True)
        self.assertLess(self.memory_mib(), memory_mib + 32)

    def test_a_worker_whose_formatters_are_gone_for_good_is_replaced(self):
        self.assert_all_work()
        for _ in range(2):
            for pid in self.helpers("formatter") + self.helpers("nursery"):
                kill(pid)
            for name in ("a picture", "tools", "a sound"):
                # The one that finds it out may end with an error; the worker ends with it.
                self.ask(name)
                wait_for(lambda: self.ask(name) is None, f"{name} to work again")
        self.assert_all_work()


if __name__ == "__main__":
    unittest.main()
