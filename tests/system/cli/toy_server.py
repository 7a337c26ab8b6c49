"""A toy server that speaks just enough of the API for the command line to be tried without a model.

One model, `toy:latest`, is there; `gone:latest` can be pulled; `slow` answers until the client leaves. Everything that it was asked is
kept in `requests` as (method, path, body).
"""

import http.server
import json
import threading
import time

CHAT_INFO = {
    "license": "MIT\nmore\nand more",
    "modelfile": "FROM toy\nSYSTEM hi",
    "parameters": 'stop                           "<end>"\ntemperature                    0.7',
    "template": "{{ .Prompt }}",
    "system": "You are a toy.",
    "details": {"parent_model": "", "format": "gguf", "family": "toy", "families": ["toy"],
                "parameter_size": "1M", "quantization_level": "F16"},
    "messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A toy."}],
    "model_info": {"general.architecture": "toy", "general.parameter_count": 1000000, "toy.context_length": 131072,
                   "toy.embedding_length": 64, "tokenizer.ggml.tokens": None},
    "capabilities": ["completion"],
    "modified_at": "2026-01-01T00:00:00Z",
}


class ToyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.models = {"toy:latest"}
        self.blobs = set()
        self.left = threading.Event()  # a client went away in the middle of an answer
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.server_port

    def bodies(self, path):
        with self.lock:
            return [body for method, where, body in self.requests if where == path]

    def handle_error(self, request, client_address):
        pass  # clients may leave


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def read_body(self):
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/api/blobs/"):
            return data
        return json.loads(data) if data else None

    def reply(self, status, value=None):
        data = b"" if value is None else (value if isinstance(value, bytes) else json.dumps(value).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def stream(self, records):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for record in records:
                line = json.dumps(record).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.server.left.set()
            self.close_connection = True

    def missing(self, name):
        self.reply(404, {"error": "model '%s' not found" % name})

    def do_HEAD(self):
        if self.path.startswith("/api/blobs/"):
            return self.reply(200 if self.path[len("/api/blobs/"):] in self.server.blobs else 404)
        return self.reply(200)

    def do_GET(self):
        if self.path == "/api/version":
            return self.reply(200, {"version": "0.31.0"})
        if self.path == "/api/tags":
            rows = [{"name": name, "model": name, "digest": "abcdef0123456789", "size": 98362432,
                     "modified_at": "2020-01-01T00:00:00Z", "details": {}} for name in sorted(self.server.models)]
            return self.reply(200, {"models": rows})
        if self.path == "/api/ps":
            return self.reply(200, {"models": [
                {"name": "toy:latest", "digest": "abcdef0123456789", "size": 100, "size_vram": 52,
                 "expires_at": "2318-01-01T00:00:00Z", "context_length": 4096}]})
        if self.path == "/healthz":
            return self.reply(200, {"status": "ok"})
        if self.path == "/readyz":
            return self.reply(503, {"error": "not ready"})
        return self.reply(404, b"404 page not found")

    def do_DELETE(self):
        body = self.read_body()
        name = self.full(body["model"])
        if name not in self.server.models:
            return self.missing(body["model"])
        self.server.models.discard(name)
        return self.reply(200)

    def full(self, name):
        return name if ":" in name else name + ":latest"

    def do_POST(self):
        body = self.read_body()
        with self.server.lock:
            self.server.requests.append((self.command, self.path, body))
        if self.path.startswith("/api/blobs/"):
            self.server.blobs.add(self.path[len("/api/blobs/"):])
            return self.reply(201)
        name = (body or {}).get("model", "")
        known = self.full(name) in self.server.models or name == "slow"
        if self.path == "/api/show":
            return self.reply(200, CHAT_INFO) if known else self.missing(name)
        if self.path == "/api/pull":
            return self.pull(name)
        if self.path == "/api/create":
            self.server.models.add(self.full(name))
            return self.stream([{"status": "parsing GGUF"}, {"status": "writing manifest"}, {"status": "success"}])
        if self.path == "/api/copy":
            self.server.models.add(self.full(body["destination"]))
            return self.reply(200)
        if self.path in ("/api/generate", "/api/chat"):
            return self.answer(name, body) if known else self.missing(name)
        return self.reply(404, b"404 page not found")

    def pull(self, name):
        if name != "gone":
            return self.stream([{"status": "pulling manifest"},
                                {"error": "pull model manifest: file does not exist"}])
        self.server.models.add("gone:latest")
        digest = "sha256:" + "ab" * 32
        steps = [{"status": "pulling manifest"}]
        steps += [{"status": "pulling abababababab", "digest": digest, "total": 1000, "completed": n}
                  for n in (0, 250, 500, 1000)]
        steps += [{"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"}]
        return self.stream(steps)

    def answer(self, name, body):
        is_chat = self.path == "/api/chat"
        question = body["messages"][-1]["content"] if is_chat else body["prompt"]

        def record(text, **more):
            out = {"model": name, "created_at": "2026-01-01T00:00:00Z", "done": False}
            out.update({"message": {"role": "assistant", "content": text}} if is_chat else {"response": text})
            out.update(more)
            return out

        def endless():
            while True:
                yield record("more ")
                time.sleep(0.01)

        last = record("", done=True, done_reason="stop", total_duration=1500000000, load_duration=1000000,
                      prompt_eval_count=3, prompt_eval_duration=100000000, eval_count=2, eval_duration=50000000)
        if question == "":
            return self.stream([last])
        if name == "slow" or question == "endless":
            return self.stream(endless())
        return self.stream([record("You said: "), record(question), last])
