#!/usr/bin/env python3
"""Measures corral beside llama-server and llama-bench of the same llama.cpp build. See bench/README.md."""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/system/fixtures"), str(ROOT / "bench")]
import pull  # noqa: E402
import works  # noqa: E402
from peers import Corral, LlamaServer, Ollama, resident_bytes  # noqa: E402
from server import Server, free_port, starter_model, words  # noqa: E402


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def cores():
    """Physical cores that this process may use: what all get as threads."""
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        try:
            siblings.add(pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, len(siblings))


# ---- the rows of the table: what is computed from a run of ours and a run of the peer's, and what is wanted

def over(ours, peer, figure):
    return ours[figure] / peer[figure]


# work: [(label, figure of (ours, peer), "<=" or ">=", wanted or None)]
ROWS = {
    "one": [("one stream: tokens/s over llama-bench's", lambda o, p: over(o, p, "tokens_per_s"), ">=", 0.95)],
    "shared": [("8 clients, one prefix, cold: wall over llama-server's", lambda o, p: over(o, p, "wall_s"), "<=", 0.35),
               ("  tokens evaluated of all prompts' tokens", lambda o, p: o["evaluated"] / o["prompt_tokens"], "<=", None)],
    "disjoint": [("8 disjoint prompts: wall over llama-server's", lambda o, p: over(o, p, "wall_s"), "<=", 1.0)],
    "repeat": [("the same prompt again: first token over a step", lambda o, p: o["first_over_step"], "<=", 1.8)],
    "beside": [("a stream beside a new prompt: its time over alone", lambda o, p: o["slower"], "<=", 2.5),
               ("  longest gap between its tokens (s)", lambda o, p: o["longest_gap_s"], "<=", 0.3),
               ("  the prompt's first token over llama-server's", lambda o, p: over(o, p, "prompt_first_s"), "<=", 1.4)],
    "idle": [("a lone stream after 8 idle conversations: tokens/s over fresh", lambda o, p: o["kept"], ">=", 0.95)],
    "turns": [("4 conversations of 4 turns: wall over llama-server's", lambda o, p: over(o, p, "wall_s"), "<=", None),
              ("  tokens evaluated over llama-server's", lambda o, p: o["evaluated"] / max(p["evaluated"], 1), "<=", None)],
    "embed": [("256 short texts: texts/s over llama-server's", lambda o, p: over(o, p, "texts_per_s"), ">=", 1.2)],
    "two": [("two models at once: tokens/s over the mean of each alone", lambda o, p: o["total_over_alone"], ">=", 0.9)],
    "cold": [("start to first token, model not loaded: over llama-server's", lambda o, p: over(o, p, "first_token_s"), "<=", None),
             ("start to the first answer on / (s)", lambda o, p: o["answers_s"], "<=", 0.1)],
    "pull": [("pull of 1 GiB, hashed and stored: time over curl + sha256sum", lambda o, p: over(o, p, "wall_s"), "<=", 0.9)],
    "memory": [("resident, no model (MB)", lambda o, p: o["idle_bytes"] / 1e6, "<=", 25),
               ("resident, one model: over llama-server's", lambda o, p: over(o, p, "loaded_bytes"), "<=", None)],
}
# How often the peer's own figure is shown: rows that are ratios of ours to itself.
OF_ITSELF = {"repeat": "first_over_step", "beside": "slower", "idle": "kept", "two": "total_over_alone"}


# ---- works that are not of the shape "a running server and a run's number"

def llama_bench(options, depth):
    output = subprocess.run(
        [f"{options.bin}/llama-bench", "-m", options.model, "-p", "0", "-n", "128", "-d", str(depth), "-t", str(options.threads), "-fa", "1",
         "-r", "1", "-o", "json"], check=True, capture_output=True, text=True, timeout=300).stdout
    (result,) = json.loads(output)
    return {"tokens_per_s": result["avg_ts"]}


def measure_one(options):
    ours, peers = [], []
    with Corral(options, {"model": options.model}) as corral:
        corral.complete("Hello", 4)
        for run in range(options.runs):
            ours.append(works.one(corral, run))
            peers.append(llama_bench(options, int(ours[-1]["prompt_tokens"])))
    return {"corral": ours, "llama-bench": peers}


def until_first_token(options, peer):
    begin = time.monotonic()
    with peer:
        line = peer.complete("Hello", 1)
        return {"first_token_s": time.monotonic() - begin - (line.wall - line.first)}


def measure_cold(options):
    """A fresh server on a store that has the model; the file itself is in the page cache for both."""
    ours, peers = [], []
    with Server() as maker:
        digest, _ = maker.upload(options.model)
        maker.ask("/api/create", {"model": "model", "files": {"model.gguf": digest}})
        maker.stop()
        for _ in range(options.runs):
            figures = {}
            server = Server(models=maker.models)
            server.port = free_port()
            begin = time.monotonic()
            with open(server.log_path, "wb") as log:
                server.process = subprocess.Popen([f"{options.bin}/corral", "serve"], env=server.environment(), stdin=subprocess.DEVNULL, stdout=log,
                                                  stderr=log)
            try:
                while time.monotonic() - begin < 20:
                    try:
                        if server.get("/").status == 200:
                            break
                    except OSError:
                        time.sleep(0.0005)
                figures["answers_s"] = time.monotonic() - begin
                stream = server.stream("/api/generate", {"model": "model", "prompt": "Hello", "raw": True, "options": {"num_predict": 1, "temperature": 0}})
                stream.next()
                figures["first_token_s"] = time.monotonic() - begin
                stream.close()
            finally:
                server.__exit__(None, None, None)
            ours.append(figures)
            peers.append(until_first_token(options, LlamaServer(options, {"model": options.model})))
    return {"corral": ours, "llama-server": peers}


def measure_memory(options):
    ours, peers = [], []
    for _ in range(options.runs):
        with Corral(options, {"model": options.model}) as corral, LlamaServer(options, {"model": options.model}) as peer:
            corral.server.get("/api/tags")
            time.sleep(0.5)  # idle means idle
            figures = {"idle_bytes": resident_bytes(corral.server.process.pid)}
            for server in (corral, peer):
                server.complete(words(400, seed=1), 16)
            figures["loaded_bytes"] = corral.resident()
            ours.append(figures)
            peers.append({"loaded_bytes": peer.resident()})
    return {"corral": ours, "llama-server": peers}


def in_turns(options, work, servers):
    """Every run of all servers in turn: what slows the machine down for a while slows all."""
    figures = {server.name: [] for server in servers}
    for server in servers:
        if work is not works.embed:
            for model in server.models:
                server.complete("Hello", 4, model=model)  # loaded and warm
        else:
            server.embed(["Hello"])
    for run in range(options.runs):
        for server in servers:
            figures[server.name].append(work(server, run))
    return figures


def second_model(options):
    """The same weights under another digest: another model, as far as any server can tell."""
    path = pathlib.Path(options.results).resolve().parent / "second.gguf"
    data = pathlib.Path(options.model).read_bytes()
    at = data.find(b"general.name")
    if at < 0:
        raise SystemExit("the model's header has no name to change")
    at += len(b"general.name") + 4 + 8  # type and length come before the text
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
    return str(path)


def measure(options, name):
    special = {"one": measure_one, "cold": measure_cold, "memory": measure_memory, "pull": pull.measure}
    if name in special:
        return special[name](options)
    models, arguments, env = {"model": options.model}, [], {}
    if name == "two":
        models["second"] = second_model(options)
    if name == "embed":
        models, arguments = {"model": options.embedding_model}, ["--embedding", "-ub", "2048"]
    with Corral(options, models, env) as corral, LlamaServer(options, models, arguments) as peer:
        servers = [corral, peer]
        if options.ollama and Ollama.find():
            with Ollama(options, models) as ollama:
                return in_turns(options, getattr(works, name), [*servers, ollama])
        return in_turns(options, getattr(works, name), servers)


# ---- report

def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values}


def judge(name, figures):
    peer_name = next(peer for peer in figures if peer != "corral")
    rows = []
    for label, figure, relation, wanted in ROWS[name]:
        row = {"label": label, **summary([figure(ours, peer) for ours, peer in zip(figures["corral"], figures[peer_name])]), "relation": relation,
               "wanted": wanted}
        if wanted is not None:
            row["met"] = row["median"] <= wanted if relation == "<=" else row["median"] >= wanted
        rows.append(row)
    if name in OF_ITSELF:
        rows[0]["peer"] = statistics.median(peer[OF_ITSELF[name]] for peer in figures[peer_name])
    return rows


def report(results):
    lines = [("figure", "wanted", "median", "spread", "llama-server's", "")]
    for work in results["works"].values():
        for row in work["rows"]:
            wanted = "" if row["wanted"] is None else f"{row['relation']} {row['wanted']}"
            verdict = {True: "ok", False: "MISSED"}.get(row.get("met"), "")
            peer = f"{row['peer']:.3f}" if "peer" in row else ""
            lines.append((row["label"], wanted, f"{row['median']:.3f}", f"{row['min']:.3f}-{row['max']:.3f}", peer, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    print(f"{results['model']}, {results['machine']['threads']} threads, {results['machine']['processor']}, load {results['machine']['load']}")
    for line in lines:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", metavar="|".join(ROWS), help="which works (default: all; embed needs --embedding-model)")
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of corral, llama-bench and llama-server")
    parser.add_argument("--model", help="GGUF (default: the starter model)")
    parser.add_argument("--embedding-model", help="GGUF of a BERT for `embed`")
    parser.add_argument("--threads", type=int, default=cores(), help="of the peers; corral finds its own")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ollama", action="store_true", help="measure an Ollama binary, too, if one is found (OLLAMA_BIN or the PATH)")
    parser.add_argument("--results", default=str(ROOT / "bench/results/latest.json"))
    options = parser.parse_args()
    if unknown := set(options.works) - set(ROWS):
        parser.error(f"unknown work: {', '.join(sorted(unknown))}")
    os.environ["CORRAL_BIN"] = f"{options.bin}/corral"
    options.model = options.model or starter_model()
    pathlib.Path(options.results).parent.mkdir(parents=True, exist_ok=True)
    results = {"machine": {"processor": processor(), "threads": options.threads, "system": platform.platform(),
                           "load": " ".join(f"{load:.1f}" for load in os.getloadavg())},
               "model": os.path.basename(options.model), "works": {}}
    for name in options.works or ROWS:
        if name == "embed" and not options.embedding_model:
            say("embed: left out, no --embedding-model")
            continue
        if name == "pull" and not pull.reg.is_installed():
            say("pull: left out, no docker-registry (scripts/setup-debian test)")
            continue
        say(f"{name}: {options.runs} runs in turns")
        figures = measure(options, name)
        results["works"][name] = {"rows": judge(name, figures), "figures": figures}
        pathlib.Path(options.results).write_text(json.dumps(results, indent=2) + "\n")
    report(results)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
