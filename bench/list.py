#!/usr/bin/env python3
"""The first list of 1,000 models after a start: bench/list.py <corral>. Target: 50 ms.

The models are unlike each other: a thousand small GGUF files with a vocabulary of 2,000 tokens each. The server has listed them
once in an earlier life, as any that has run before has."""
import hashlib
import http.client
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time

N = 1000


def text(value):
    return struct.pack("<Q", len(value)) + value


def gguf(number):
    def key(name, kind, value):
        return text(name) + struct.pack("<I", kind) + value
    tokens = b"".join(text(b"token%d" % i) for i in range(2000))
    keys = [key(b"general.architecture", 8, text(b"llama")), key(b"general.name", 8, text(b"m%d" % number)),
            key(b"llama.context_length", 4, struct.pack("<I", 4096)), key(b"llama.embedding_length", 4, struct.pack("<I", 64)),
            key(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2000) + tokens)]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys)


def put(models, data):
    digest = hashlib.sha256(data).hexdigest()
    (models / "blobs" / f"sha256-{digest}").write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def main():
    corral = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="corral-list-") as name:
        models = pathlib.Path(name) / "models"
        (models / "blobs").mkdir(parents=True)
        prefix = "application/vnd.ollama.image."
        for i in range(N):
            config = {"mediaType": "application/vnd.docker.container.image.v1+json", **put(models, json.dumps(
                {"model_format": "gguf", "model_family": "llama", "model_type": f"{i}M"}).encode())}
            manifest = models / "manifests" / "registry.ollama.ai" / "library" / f"m{i}" / "latest"
            manifest.parent.mkdir(parents=True)
            manifest.write_text(json.dumps({"schemaVersion": 2, "config": config,
                                            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                                            "layers": [{"mediaType": prefix + "model", **put(models, gguf(i))}]}))
        times = []
        for run in range(4):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            server = subprocess.Popen([corral, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={
                **os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(models), "HOME": name})
            try:
                while True:
                    try:
                        connection = http.client.HTTPConnection("127.0.0.1", port)
                        connection.request("GET", "/api/version")
                        connection.getresponse().read()
                        break
                    except OSError:
                        time.sleep(0.01)
                began = time.perf_counter()
                connection.request("GET", "/api/tags")
                listed = json.loads(connection.getresponse().read())["models"]
                times.append((time.perf_counter() - began) * 1000)
                assert len(listed) == N, len(listed)
            finally:
                server.terminate()
                server.wait(30)
        print(f"first list of {N} models: {times[0]:.0f} ms the first time ever; after a start "
              f"{', '.join(f'{t:.0f}' for t in times[1:])} ms (target 50)")


if __name__ == "__main__":
    main()
