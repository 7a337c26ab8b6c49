#!/usr/bin/env python3
"""Many requests at once for several models that all need loading, with a queue of one: Ollama's text, and nothing hangs."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import Server, in_parallel  # noqa: E402
from tiny import make_tiny_model  # noqa: E402

BUSY = "server busy, please try again.  maximum pending requests exceeded"
MODELS = ["first", "second", "third"]


class Busy(unittest.TestCase):
    def setUp(self):
        server = Server(env={"OLLAMA_MAX_QUEUE": "1", "OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_NUM_PARALLEL": "1"})
        self.server = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        digest = make_tiny_model(self.server, "tiny-llama", "--endless")
        for name in MODELS:
            self.server.ask("/api/create", {"model": name, "files": {"tiny.gguf": digest}})

    def generate(self, model, prompt):
        return self.server.post("/api/generate", {"model": model, "prompt": prompt, "stream": False, "options": {"num_predict": 60}})

    def test_what_finds_no_place_is_told_so_and_the_rest_is_answered(self):
        calls = [lambda model=model: self.generate(model, "hello world") for _ in range(8) for model in MODELS]
        answers = in_parallel(*calls)
        statuses = [answer.status for answer in answers]
        self.assertEqual(set(statuses), {200, 503}, statuses)
        for answer in answers:
            if answer.status == 503:
                self.assertEqual(answer.json, {"error": BUSY})
            else:
                self.assertTrue(answer.json["done"])
        for model in MODELS:  # nobody is left in the queue, and no place is lost
            self.assertEqual(self.generate(model, "hello").status, 200)


if __name__ == "__main__":
    unittest.main()
