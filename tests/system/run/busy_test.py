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

    def generate(self, model, path="/api/generate", **more):
        return self.server.post(path, {"model": model, "stream": False, "options": {"num_predict": 60}, **more})

    def test_what_finds_no_place_is_told_so_and_the_rest_is_answered(self):
        calls = [lambda model=model: self.generate(model, prompt="hello world") for _ in range(8) for model in MODELS]
        answers = in_parallel(*calls)
        statuses = [answer.status for answer in answers]
        self.assertEqual(set(statuses), {200, 503}, statuses)
        for answer in answers:
            if answer.status == 503:
                self.assertEqual(answer.json, {"error": BUSY})
            else:
                self.assertTrue(answer.json["done"])
        for model in MODELS:  # nobody is left in the queue, and no place is lost
            self.assertEqual(self.generate(model, prompt="hello").status, 200)

    def test_other_dialects_say_the_same_in_their_shape(self):
        calls = [lambda model=model: self.generate(model, "/v1/chat/completions", messages=[{"role": "user", "content": "hello"}], max_tokens=60)
                 for _ in range(8) for model in MODELS]
        busy = [answer for answer in in_parallel(*calls) if answer.status != 200]
        self.assertTrue(busy, "all found a place: the test tests nothing")
        for answer in busy:
            self.assertEqual((answer.status, answer.json["error"]["message"]), (503, BUSY))


if __name__ == "__main__":
    unittest.main()
