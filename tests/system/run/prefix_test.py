#!/usr/bin/env python3
"""A request that shares a prefix with another does not evaluate it again: counted by the engine's own counters."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import MODEL, Server, in_parallel, starter_model, wait_for, words  # noqa: E402

EVALUATED = "corral_prompt_tokens_evaluated_total"
REUSED = "corral_prompt_tokens_reused_total"
PARKED = "corral_prefix_cache_bytes"
GREEDY = {"temperature": 0, "num_predict": 8, "seed": 1}
# What may be evaluated besides the prefix and the suffixes: the last token of a prompt is always evaluated for its logits,
# and a prefix may be shared in blocks.
SLACK = 64


def ask(server, prompt, **options):
    return server.ask("/api/generate", {"model": MODEL, "prompt": prompt, "raw": True, "options": {**GREEDY, **options}})


class SharedPrefix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        server = Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "4"})
        cls.server = server.__enter__()
        cls.addClassCleanup(server.__exit__, None, None, None)
        ask(cls.server, "Hello")  # loaded, and no load time in what follows

    def counted(self, *calls):
        """Runs the calls at once: (answers, tokens evaluated, tokens reused)."""
        before = self.server.metrics()
        answers = in_parallel(*calls)
        after = self.server.metrics()
        return answers, after[EVALUATED] - before[EVALUATED], after[REUSED] - before[REUSED]

    def test_a_prompt_asked_again_is_not_evaluated_again(self):
        prompt = words(900, seed=1)
        (first,), evaluated, _ = self.counted(lambda: ask(self.server, prompt))
        self.assertAlmostEqual(first["prompt_eval_count"], evaluated, delta=8)
        (again,), evaluated, reused = self.counted(lambda: ask(self.server, prompt))
        self.assertEqual(first["prompt_eval_count"], again["prompt_eval_count"], "the count on the wire is the whole prompt")
        self.assertLessEqual(evaluated, SLACK)
        self.assertGreaterEqual(reused, first["prompt_eval_count"] - SLACK)
        self.assertEqual(first["response"], again["response"])

    def test_another_suffix_evaluates_the_suffix_only(self):
        prefix = words(900, seed=2)
        (first,), _, _ = self.counted(lambda: ask(self.server, prefix + " What came first?"))
        (second,), evaluated, reused = self.counted(lambda: ask(self.server, prefix + " Who was the last one, and why?"))
        suffix = second["prompt_eval_count"] - first["prompt_eval_count"]
        self.assertLessEqual(evaluated, max(suffix, 0) + SLACK)
        self.assertGreaterEqual(reused, first["prompt_eval_count"] - SLACK)

    def test_two_clients_at_once_evaluate_their_prefix_once(self):
        prefix = words(1300, seed=3)
        answers, evaluated, reused = self.counted(
            lambda: ask(self.server, prefix + " The first client asks about the boat."),
            lambda: ask(self.server, prefix + " The second client asks about the lamps."))
        counts = [answer["prompt_eval_count"] for answer in answers]
        self.assertGreater(min(counts), 1000)
        self.assertLessEqual(evaluated, max(counts) + 2 * SLACK, "the prefix was evaluated twice")
        self.assertGreaterEqual(reused, min(counts) - 2 * SLACK)
        self.assertAlmostEqual(evaluated + reused, sum(counts), delta=8)

    def test_unlike_prompts_share_nothing(self):
        answers, evaluated, _ = self.counted(
            lambda: ask(self.server, words(300, seed=4)), lambda: ask(self.server, "Dear all, " + words(300, seed=5)))
        self.assertGreaterEqual(evaluated, sum(answer["prompt_eval_count"] for answer in answers) - 2 * SLACK)

    def test_a_shared_prefix_does_not_change_the_answer(self):
        # Batches of another size may flip a near tie, so the check is the first words, not the whole text.
        prefix, suffix = words(600, seed=6), " In short, the baker"
        alone = ask(self.server, prefix + suffix)["response"]
        ask(self.server, words(1500, seed=7))
        in_parallel(lambda: ask(self.server, prefix + " Something else"), lambda: ask(self.server, prefix + " And then"))
        shared = ask(self.server, prefix + suffix)["response"]
        self.assertEqual(alone.split()[:2], shared.split()[:2])


class PrefixOfAKey(unittest.TestCase):
    def test_with_a_salt_per_key_two_users_share_nothing(self):
        paths = {"/api/generate": {"prompt": words(300, 8), "raw": True},
                 "/api/chat": {"messages": [{"role": "user", "content": words(300, 9)}]}}
        with Server(with_model=True, env={"CORRAL_PREFIX_SALT": "per-key"}) as server:
            def reused(path, key):
                before = server.metrics().get(REUSED, 0)
                server.ask(path, {"model": MODEL, "options": {**GREEDY, "num_predict": 2}, **paths[path]},
                           headers={"Authorization": f"Bearer {key}"} if key else {})
                return server.metrics()[REUSED] - before

            for path in paths:
                with self.subTest(path):
                    # A template's own beginning is a user's prefix too, once they have asked.
                    first = [reused(path, key) for key in ("alice", "bob", None)]
                    self.assertLess(max(first), 100, "found what another user asked")
                    for key in ("alice", "bob", None):
                        self.assertGreater(reused(path, key), 250)


class Budget(unittest.TestCase):
    def test_models_divide_one_budget(self):
        budget = 24_000_000  # about 1,000 tokens of this model
        with Server(with_model=True, env={"CORRAL_PREFIX_CACHE": str(budget), "OLLAMA_NUM_PARALLEL": "1"}) as server:
            # Another GGUF is another worker; this one has the same weights.
            data = bytearray(pathlib.Path(starter_model()).read_bytes())
            data[data.index(b"general.name") + len(b"general.name") + 4 + 8] ^= 1
            path = server.folder / "second.gguf"
            path.write_bytes(data)
            digest, _ = server.upload(path)
            server.ask("/api/create", {"model": "second", "files": {"second.gguf": digest}})
            for seed in range(1, 5):
                ask(server, words(300, seed=seed))
            parked = server.metrics()[PARKED]
            self.assertGreater(parked, budget / 2, "one model has all of it")
            self.assertLessEqual(parked, budget)
            server.ask("/api/generate", {"model": "second", "prompt": "Hello", "raw": True, "options": GREEDY})
            self.assertEqual(2, len(server.workers()))
            wait_for(lambda: server.metrics()[PARKED] <= budget / 2, "the idle model to give up the other's part")


if __name__ == "__main__":
    unittest.main(verbosity=2)
