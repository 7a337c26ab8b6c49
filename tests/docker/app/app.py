"""A small application as guides mean it: asks a model, and keeps the answers in Redis.

OLLAMA_BASE_URL and OLLAMA_MODEL say whom to ask; GET /ask?q=... answers {"answer": ..., "cached": ...}.
"""
import http.server
import json
import os
import urllib.parse
import urllib.request

import redis

cache = redis.Redis(host="redis")


def ask(question):
    kept = cache.get(question)
    if kept is not None:
        return {"answer": kept.decode(), "cached": True}
    body = json.dumps({"model": os.environ["OLLAMA_MODEL"], "prompt": question, "stream": False}).encode()
    with urllib.request.urlopen(os.environ["OLLAMA_BASE_URL"] + "/api/generate", body, timeout=120) as response:
        answer = json.load(response)["response"]
    cache.set(question, answer)
    return {"answer": answer, "cached": False}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path == "/ask":
            body = json.dumps(ask(urllib.parse.parse_qs(url.query)["q"][0])).encode()
        else:
            body = b"ready\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
