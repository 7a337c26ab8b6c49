#!/usr/bin/env python3
"""Measures corral beside llama-bench and llama-server of the same build. See bench/README.md."""
import argparse
import http.client
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/system/fixtures"))
from server import MODEL, Server, free_port, in_parallel, starter_model, wait_for, words  # noqa: E402

EVALUATED = "corral_prompt_tokens_evaluated_total"
REUSED = "corral_prompt_tokens_reused_total"


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def median_and_spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values}


def cores():
    """Physical cores that this process may use: what both sides get as threads."""
    allowed = os.sched_getaffinity(0)
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add(pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, len(siblings))


# ---- one stream


def llama_bench(options, depth):
    output = subprocess.run(
        [f"{options.bin}/llama-bench", "-m", options.model, "-p", "0", "-n", str(options.tokens), "-d", str(depth), "-t", str(options.threads),
         "-fa", "1", "-r", "1", "-o", "json"], check=True, capture_output=True, text=True, timeout=300).stdout
    (result,) = json.loads(output)
    return result["avg_ts"]


def one_stream(options):
    say(f"one stream: {options.runs} interleaved runs of corral and llama-bench, {options.tokens} tokens, {options.threads} threads")
    ours, peers, depth = [], [], None
    request = {"model": MODEL, "prompt": words(options.depth, seed=11), "raw": True, "keep_alive": -1,
               "options": {"temperature": 0, "num_predict": options.tokens, "num_thread": options.threads, "num_ctx": 4096}}
    with Server(with_model=True) as server:
        server.ask("/api/generate", request)  # loaded and warm
        for _ in range(options.runs):
            answer = server.ask("/api/generate", request)
            if answer["eval_count"] < options.tokens * 0.7:
                raise SystemExit(f"the answer ended after {answer['eval_count']} tokens: too few to measure")
            depth = answer["prompt_eval_count"]
            ours.append(answer["eval_count"] / answer["eval_duration"] * 1e9)
            peers.append(llama_bench(options, depth))
    ratios = [ours_run / peer_run for ours_run, peer_run in zip(ours, peers)]
    return {"depth": depth, "tokens": options.tokens, "threads": options.threads, "corral_tokens_per_s": median_and_spread(ours),
            "llama_bench_tokens_per_s": median_and_spread(peers), "ratio": median_and_spread(ratios)}


# ---- eight clients with one prefix


class LlamaServer:
    def __init__(self, options):
        self.options, self.port = options, free_port()

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile(prefix="llama-server-")
        self.process = subprocess.Popen(
            [f"{self.options.bin}/llama-server", "-m", self.options.model, "-c", "32768", "--parallel", "4", "--kv-unified", "-fa", "on",
             "-t", str(self.options.threads), "--host", "127.0.0.1", "--port", str(self.port), "--no-webui"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_for(self.is_ready, "llama-server to be ready", 60, 0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit("llama-server ended: " + pathlib.Path(self.log.name).read_text(errors="replace")[-3000:])
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False

    def request(self, method, path, value=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body=json.dumps(value) if value is not None else None)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def complete(self, prompt, tokens):
        status, answer = self.request("POST", "/completion", {"prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": True})
        if status != 200:
            raise SystemExit(f"llama-server: {status} {answer}")
        return answer["timings"]["prompt_n"], answer["tokens_evaluated"]

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()


def together(calls):
    """Starts all calls at the same moment: (wall seconds, results)."""
    gate = threading.Barrier(len(calls) + 1)

    def gated(call):
        def run():
            gate.wait(30)
            return call()
        return run

    begin = []
    opener = threading.Thread(target=lambda: (gate.wait(30), begin.append(time.monotonic())), daemon=True)
    opener.start()
    results = in_parallel(*[gated(call) for call in calls], seconds=300)
    return time.monotonic() - begin[0], results


def shared_prefix(options):
    say(f"{options.clients} clients with one {options.prefix}-token prefix: {options.shared_runs} interleaved runs of corral and llama-server")
    ours_wall, ours_evaluated, ours_reused, peer_wall, peer_evaluated, prompts_tokens = [], [], [], [], [], []
    with Server(with_model=True) as server, LlamaServer(options) as peer:
        def ask(prompt):
            return server.ask("/api/generate", {"model": MODEL, "prompt": prompt, "raw": True, "keep_alive": -1, "options": {
                "temperature": 0, "num_predict": options.shared_tokens, "num_thread": options.threads}})

        ask("Hello")
        peer.complete("Hello", 4)
        for run in range(options.shared_runs):
            prefix = words(options.prefix, seed=20 + run)
            prompts = [f"{prefix} Now client number {client}: tell us about item {client * 7}." for client in range(1, options.clients + 1)]
            before = server.metrics()
            wall, answers = together([lambda prompt=prompt: ask(prompt) for prompt in prompts])
            after = server.metrics()
            ours_wall.append(wall)
            ours_evaluated.append(int(after[EVALUATED] - before[EVALUATED]))
            ours_reused.append(int(after[REUSED] - before[REUSED]))
            prompts_tokens.append(sum(answer["prompt_eval_count"] for answer in answers))
            wall, answers = together([lambda prompt=prompt: peer.complete(prompt, options.shared_tokens) for prompt in prompts])
            peer_wall.append(wall)
            peer_evaluated.append(sum(evaluated for evaluated, _ in answers))
    return {"clients": options.clients, "prompt_tokens_in_all": prompts_tokens, "corral_wall_s": median_and_spread(ours_wall),
            "corral_evaluated": ours_evaluated, "corral_reused": ours_reused, "llama_server_wall_s": median_and_spread(peer_wall),
            "llama_server_evaluated": peer_evaluated,
            "ratio": median_and_spread([a / b for a, b in zip(ours_wall, peer_wall)])}


# ---- idle


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmRSS")


def idle(options):
    say(f"idle memory and start-up: {options.starts} starts")
    start_s, rss = [], []
    for _ in range(options.starts):
        server = Server()
        server.port = free_port()
        environment = server.environment()
        try:
            with open(server.log_path, "wb") as log:
                begin = time.perf_counter()
                server.process = subprocess.Popen([f"{options.bin}/corral", "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            while time.perf_counter() - begin < 20:
                try:
                    if server.get("/").status == 200:
                        break
                except OSError:
                    time.sleep(0.0005)
            start_s.append(time.perf_counter() - begin)
            server.get("/api/tags")
            server.get("/api/version")
            time.sleep(0.5)  # idle means idle
            rss.append(resident_bytes(server.process.pid))
        finally:
            server.__exit__(None, None, None)
    return {"rss_bytes": median_and_spread(rss), "start_s": median_and_spread(start_s)}


# ---- report


def report(results):
    rows = [("measure", "corral", "peer", "ratio", "spread")]
    if "one" in results:
        one = results["one"]
        rows.append((f"one stream, {one['tokens']} tokens at depth {one['depth']} (tokens/s; llama-bench)",
                     f"{one['corral_tokens_per_s']['median']:.1f}", f"{one['llama_bench_tokens_per_s']['median']:.1f}",
                     f"{one['ratio']['median']:.3f}", f"{one['ratio']['min']:.3f}-{one['ratio']['max']:.3f}"))
    if "shared" in results:
        shared = results["shared"]
        rows.append((f"{shared['clients']} clients, one prefix: wall (s; llama-server)", f"{shared['corral_wall_s']['median']:.2f}",
                     f"{shared['llama_server_wall_s']['median']:.2f}", f"{shared['ratio']['median']:.3f}",
                     f"{shared['ratio']['min']:.3f}-{shared['ratio']['max']:.3f}"))
        ours, peer = statistics.median(shared["corral_evaluated"]), statistics.median(shared["llama_server_evaluated"])
        rows.append((f"  of {statistics.median(shared['prompt_tokens_in_all']):.0f} prompt tokens evaluated", f"{ours:.0f}", f"{peer:.0f}",
                     f"{ours / peer:.3f}", f"{min(shared['corral_evaluated'])}-{max(shared['corral_evaluated'])}"))
    if "idle" in results:
        rss, start = results["idle"]["rss_bytes"], results["idle"]["start_s"]
        rows.append(("idle memory without a model (MB; target 25)", f"{rss['median'] / 1e6:.1f}", "", f"{rss['median'] / 25e6:.3f}",
                     f"{rss['min'] / 1e6:.1f}-{rss['max'] / 1e6:.1f}"))
        rows.append(("start to first answer on / (ms; target 100)", f"{start['median'] * 1e3:.1f}", "", f"{start['median'] / 0.1:.3f}",
                     f"{start['min'] * 1e3:.1f}-{start['max'] * 1e3:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="one|shared|idle", help="which parts (default: all)")
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of corral, llama-bench and llama-server")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--runs", type=int, default=5, help="of `one`")
    parser.add_argument("--tokens", type=int, default=128, help="decoded in `one`")
    parser.add_argument("--depth", type=int, default=410, help="prompt tokens before them, about")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--prefix", type=int, default=1300)
    parser.add_argument("--shared-tokens", type=int, default=32)
    parser.add_argument("--shared-runs", type=int, default=3)
    parser.add_argument("--starts", type=int, default=10)
    options = parser.parse_args()
    parts = options.parts or ["one", "shared", "idle"]
    if set(parts) - {"one", "shared", "idle"}:
        parser.error(f"unknown part in {parts}")
    os.environ["CORRAL_BIN"] = f"{options.bin}/corral"
    options.model = starter_model()
    results = {"machine": {"processor": processor(), "cores": cores(), "system": platform.platform()}, "model": os.path.basename(options.model)}
    for part, measure in (("one", one_stream), ("shared", shared_prefix), ("idle", idle)):
        if part in parts:
            results[part] = measure(options)
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(results, indent=2) + "\n")
    report(results)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
