#!/usr/bin/env python3
"""Structured output with a real model, in every combination of streaming, thinking, tools and kind of template: what comes
out parses and fits the schema, or is a whole call of a tool that was offered."""
import itertools
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import MODEL, Server  # noqa: E402

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "population": {"type": "integer"},
                   "capital": {"type": "boolean"}},
    "required": ["city", "population", "capital"],
}
TOOLS = [{"type": "function", "function": {"name": "population_of", "description": "How many people live in a city",
                                           "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                                                          "required": ["city"]}}}]
QUESTION = [{"role": "user", "content": "Tell me about Paris."}]
OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 80}
# ChatML with the marks of Qwen 3, as a Modelfile has them.
TEMPLATE = """{{- if .Tools }}<|im_start|>system
You may call: {{ .Tools }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>
{{ end }}{{ .Content }}{{ if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


class Structured(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        server = Server(with_model=True)
        cls.server = server.__enter__()
        cls.addClassCleanup(server.__exit__, None, None, None)
        cls.server.ask("/api/create", {"model": "marked", "from": MODEL, "template": TEMPLATE})

    def chat(self, model, is_streamed, **fields):
        body = {"model": model, "messages": QUESTION, "options": OPTIONS, "stream": is_streamed, **fields}
        records = self.server.stream("/api/chat", body).rest() if is_streamed else [self.server.ask("/api/chat", body)]
        self.assertTrue(records[-1]["done"])
        whole = {"content": "", "thinking": "", "calls": [], "done_reason": records[-1]["done_reason"]}
        for record in records:
            message = record["message"]
            whole["content"] += message["content"]
            whole["thinking"] += message.get("thinking", "")
            whole["calls"] += message.get("tool_calls", [])
        return whole

    def check(self, whole):
        for call in whole["calls"]:
            self.assertEqual("population_of", call["function"]["name"])
            self.assertIsInstance(call["function"]["arguments"], dict)
        if whole["done_reason"] == "length" or whole["calls"]:
            return
        value = json.loads(whole["content"])
        self.assertEqual({"city", "population", "capital"}, set(value))
        self.assertIsInstance(value["city"], str)
        self.assertIsInstance(value["population"], int)
        self.assertIsInstance(value["capital"], bool)

    def test_a_schema_holds_in_every_combination(self):
        for is_streamed, thinks, has_tools in itertools.product((False, True), repeat=3):
            with self.subTest(streamed=is_streamed, think=thinks, tools=has_tools):
                fields = {"format": SCHEMA, "think": thinks}
                if has_tools:
                    fields["tools"] = TOOLS
                self.check(self.chat("marked", is_streamed, **fields))

    def test_streamed_and_whole_answers_are_the_same(self):
        for fields in ({"format": SCHEMA}, {"format": SCHEMA, "think": True}, {"format": "json"}, {}):
            with self.subTest(**fields):
                self.assertEqual(self.chat("marked", False, **fields), self.chat("marked", True, **fields))

    def test_a_schema_holds_with_the_models_own_template(self):
        whole = self.chat(MODEL, True, format=SCHEMA)
        self.assertEqual("stop", whole["done_reason"])
        self.check(whole)

    def test_a_schema_holds_for_a_raw_prompt(self):
        answer = self.server.ask("/api/generate", {"model": MODEL, "prompt": "Paris as JSON: ", "raw": True,
                                                   "format": SCHEMA, "options": OPTIONS})
        self.assertEqual({"city", "population", "capital"}, set(json.loads(answer["response"])))


if __name__ == "__main__":
    unittest.main()
