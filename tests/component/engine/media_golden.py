#!/usr/bin/env python3
"""Records what llama-server answers about images and sounds on the tiny models: media_golden.json, which media_test.cc compares.

    media_golden.py LLAMA_SERVER MAKE_TINY_MODEL

Of the same llama.cpp as Corral's (cmake --build build --target llama-server). By hand, when the pin or a tiny model changes.
"""
import base64
import json
import math
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

OUT = pathlib.Path(__file__).with_name("media_golden.json")
N_PREDICT = 12
# model, projector, context, flags of its own
FAMILIES = {
    "llava": ("tiny-llama", "llava-projector", 1024, ["--endless"], []),
    "gemma3": ("tiny-window", "gemma-projector", 1024, [], []),
    "qwen2vl": ("tiny-2d", "qwen-projector", 2048, [], ["--image-min-tokens", "1024"]),
    "sound": ("tiny-llama", "sound-projector", 1024, ["--endless"], []),
}


def png(width, height, seed):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes((x * seed * 9 + y * 31 + channel * 70) % 256 for x in range(width) for channel in range(3))
        for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def wav(n_samples):
    data = b"".join(struct.pack("<h", int(9000 * math.sin(i * 0.05))) for i in range(n_samples))
    head = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data


def ask(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def record(server, make_tiny_model, folder, family):
    model, projector, n_ctx, model_flags, server_flags = FAMILIES[family]
    for kind, flags in ((model, model_flags), (projector, [])):
        subprocess.run([make_tiny_model, kind, f"{folder}/{kind}.gguf", *flags], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [server, "-m", f"{folder}/{model}.gguf", "--mmproj", f"{folder}/{projector}.gguf", "-c", str(n_ctx), "-np", "1",
               "-t", "1", "--port", str(port), "--no-warmup", *server_flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                if ask(port, "/health")["status"] == "ok":
                    break
            except OSError:
                time.sleep(0.1)
        marker = ask(port, "/props")["media_marker"]
        media = [wav(1600)] if family == "sound" else [png(40, 30, 3)]
        prompts = [("look [img] hello world", media)]
        if family in ("llava", "gemma3"):
            prompts.append(("one [img] and other [img] about", [png(20, 50, 5), png(9, 9, 7)]))
        for prompt, files in prompts:
            data = [base64.b64encode(file).decode() for file in files]
            answer = ask(port, "/completion", {
                "prompt": {"prompt_string": prompt.replace("[img]", marker), "multimodal_data": data},
                "n_predict": N_PREDICT, "temperature": 0, "n_probs": 2, "cache_prompt": False})
            yield {
                "family": family, "prompt": prompt, "media": data, "prompt_tokens": answer["tokens_evaluated"],
                "answer": [{"token": token["token"],
                            "top": [round(top["logprob"], 4) for top in token["top_logprobs"]]}
                           for token in answer["completion_probabilities"]]}
    finally:
        process.kill()
        process.wait()


def main():
    server, make_tiny_model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        records = [one for family in FAMILIES for one in record(server, make_tiny_model, folder, family)]
    OUT.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
