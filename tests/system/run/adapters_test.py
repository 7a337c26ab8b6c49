#!/usr/bin/env python3
"""LoRA adapters over the starter model: of the model, and named by requests that run at once."""
import hashlib
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from lora import make_adapter  # noqa: E402
from server import MODEL, Server, in_parallel, words  # noqa: E402

GREEDY = {"temperature": 0, "num_predict": 16}
PROMPT = "The old lighthouse keeper looked at the sea and"
REUSED = "corral_prompt_tokens_reused_total"


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "4"}).__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        for name, data in ("one", make_adapter(1)), ("two", make_adapter(2)), ("narrow", make_adapter(3, width=96)):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            assert cls.server.request("POST", f"/api/blobs/{digest}", body=data).status == 201
            cls.server.ask("/api/create", {"model": name, "from": MODEL, "adapters": {"lora.gguf": digest}})

    def text(self, model, prompt=PROMPT, **fields):
        return self.server.ask("/api/generate", {"model": model, "prompt": prompt, "raw": True, "options": GREEDY, **fields})["response"]

    def test_models_that_differ_in_adapters_answer_differently_from_one_worker(self):
        plain, one, two = self.text(MODEL), self.text("one"), self.text("two")
        self.assertEqual(3, len({plain, one, two}), (plain, one, two))
        self.assertEqual(1, len(self.server.workers()))
        self.assertEqual(plain, self.text(MODEL))
        self.assertEqual(plain, self.text("one", adapters=[]))
        self.assertEqual(one, self.text(MODEL, adapters=["one"]))
        self.assertEqual(two, self.text("one", adapters=[{"name": "one", "scale": 0}, {"name": "two", "scale": 1.0}]))
        self.assertNotEqual(one, self.text("one", adapters=[{"name": "one", "scale": 0.3}]))
        self.assertEqual(1, len(self.server.workers()))

    def assert_same_answer(self, a, b):
        """The same tokens, up to where the best two were about equal: sums depend on where a sequence's cells are."""
        for left, right in zip(a["logprobs"], b["logprobs"]):
            self.assertAlmostEqual(left["logprob"], right["logprob"], delta=0.3)
            if left["token"] != right["token"]:
                best, second = (token["logprob"] for token in left["top_logprobs"])
                self.assertLess(best - second, 0.3, (a["response"], b["response"]))
                return
        self.assertEqual(a["response"], b["response"])

    def test_requests_at_once_answer_as_alone(self):
        def ask(model, adapters):
            return self.server.ask("/api/generate", {"model": model, "prompt": PROMPT, "raw": True, "options": GREEDY, "adapters": adapters,
                                                     "logprobs": True, "top_logprobs": 2})

        asked = [("one", None), (MODEL, None), ("two", None), (MODEL, [{"name": "one", "scale": 0.5}])]
        calls = [lambda model=model, adapters=adapters: ask(model, adapters) for model, adapters in asked]
        alone = [call() for call in calls]
        for _ in range(3):
            for one, other in zip(alone, in_parallel(*calls)):
                self.assert_same_answer(one, other)

    def test_a_prompt_evaluated_with_one_adapter_is_not_reused_with_another(self):
        prompt = words(200, seed=5)
        self.text("one", prompt)
        before = self.server.metrics()[REUSED]
        self.text("two", prompt)
        self.text(MODEL, prompt)
        self.assertEqual(before, self.server.metrics()[REUSED])
        self.text("one", prompt)
        self.assertGreater(self.server.metrics()[REUSED], before + 150)

    def test_an_adapter_for_another_model_is_an_error_and_the_worker_lives(self):
        self.text(MODEL)
        workers = self.server.workers()
        for body in {"model": "narrow", "prompt": ""}, {"model": MODEL, "prompt": "x", "adapters": ["narrow"], "stream": False}:
            answer = self.server.post("/api/generate", body)
            self.assertEqual(500, answer.status, answer)
            self.assertIn("unable to load adapter", answer.json["error"])
        self.text("one")
        self.assertEqual(workers, self.server.workers())


if __name__ == "__main__":
    unittest.main()
