#!/usr/bin/env python3
"""Measures corral beside llama-server and llama-bench of the same llama.cpp build, and an Ollama binary where one is found. See bench/README.md."""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/system/fixtures"), str(ROOT / "bench")]
import creating  # noqa: E402
import pull  # noqa: E402
import works  # noqa: E402
from peers import Corral, LlamaServer, Ollama  # noqa: E402
from server import Server, free_port, starter_model, words  # noqa: E402
from table import ROWS, judge, show  # noqa: E402

OF_NO_MODEL = {"embed", "pull"}  # measured once, however many models


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def optional(wanted, kind, *arguments):
    """A server to measure if it is wanted; else None in its place."""
    return kind(*arguments) if wanted else contextlib.nullcontext()


def cores():
    """Physical cores that this process may use: what all get as threads."""
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        try:
            siblings.add(pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, len(siblings))


# ---- works that are not of the shape "a running server and a run's number"

def llama_bench(options, depth):
    output = subprocess.run(
        [f"{options.bin}/llama-bench", "-m", options.model, "-p", "0", "-n", "128", "-d", str(depth), "-t", str(options.threads), "-fa", "1",
         "-r", "1", "-o", "json"], check=True, capture_output=True, text=True, timeout=300).stdout
    (result,) = json.loads(output)
    return {"tokens_per_s": result["avg_ts"]}


def measure_one(options):
    figures = {"corral": [], "llama-bench": []}
    models = {"model": options.model}
    with Corral(options, models) as corral, optional(options.ollama, Ollama, options, models) as ollama:
        streams = [corral, *([ollama] if ollama else [])]
        for server in streams:
            figures.setdefault(server.name, [])
            server.complete("Hello", 4)
        for run in range(options.runs):
            for server in streams:
                figures[server.name].append(works.one(server, run))
            figures["llama-bench"].append(llama_bench(options, int(figures["corral"][-1]["prompt_tokens"])))
    return figures


def until_first_token(peer):
    begin = time.monotonic()
    with peer:
        line = peer.complete("Hello", 1)
        return {"first_token_s": time.monotonic() - begin - (line.wall - line.first)}


def from_start(binary, models):
    """A fresh server on a store that has the model."""
    figures = {}
    server = Server(models=models)
    server.port = free_port()
    begin = time.monotonic()
    with open(server.log_path, "wb") as log:
        server.process = subprocess.Popen([binary, "serve"], env=server.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
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
    return figures


def measure_cold(options):
    """The file itself is in the page cache for all."""
    models = {"model": options.model}
    figures = {"corral": [], "llama-server": []}
    with Corral(options, models) as maker, optional(options.ollama, Ollama, options, models) as ollama:
        stores = [(server.name, server.binary(), server.server) for server in (maker, ollama) if server]
        for _, _, server in stores:
            server.stop()
        for _ in range(options.runs):
            for name, binary, server in stores:
                figures.setdefault(name, []).append(from_start(binary, server.models))
            figures["llama-server"].append(until_first_token(LlamaServer(options, models)))
    return figures


def measure_memory(options):
    figures = {}
    models = {"model": options.model}
    for _ in range(options.runs):
        with Corral(options, models) as corral, LlamaServer(options, models) as peer, \
                optional(options.ollama, Ollama, options, models) as ollama:
            for server in (corral, ollama):
                if server:
                    server.server.get("/api/tags")
            time.sleep(0.5)  # idle means idle
            for server in (corral, peer, *([ollama] if ollama else [])):
                run = {} if server is peer else {"idle_bytes": server.resident()}
                server.complete(words(400, seed=1), 16)
                figures.setdefault(server.name, []).append({**run, "loaded_bytes": server.resident()})
    return figures


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


def minilm(options):
    """A GGUF of all-MiniLM-L6-v2 in F16, made by our own create; None where it cannot be fetched."""
    try:
        folder = creating.minilm()
    except subprocess.SubprocessError as error:
        say(f"scripts/fetch-minilm failed: {(getattr(error, 'stderr', None) or str(error)).strip()[-300:]}")
        return None
    path = pathlib.Path(options.results).resolve().parent / "all-MiniLM-L6-v2.F16.gguf"
    with Server() as server:
        records = creating.create(server, "minilm", files=creating.upload_folder(server, folder), quantize="F16")
        if records[-1].get("status") != "success":
            raise SystemExit(f"all-MiniLM-L6-v2 could not be converted: {records[-1]}")
        (manifest,) = (server.models / "manifests").glob("*/*/minilm/latest")
        (digest,) = [layer["digest"] for layer in json.loads(manifest.read_text())["layers"] if layer["mediaType"].endswith(".model")]
        shutil.copyfile(server.models / "blobs" / digest.replace(":", "-"), path)
    return str(path)


def measure(options, name):
    """None: it cannot be measured here, and why was said."""
    special = {"one": measure_one, "cold": measure_cold, "memory": measure_memory, "pull": pull.measure}
    if name == "pull" and not pull.reg.is_installed():
        say("pull: left out, no docker-registry (scripts/setup-debian test)")
        return None
    if name in special:
        return special[name](options)
    models, arguments = {"model": options.model}, []
    if name == "two":
        models["second"] = second_model(options)
    if name == "embed":
        models, arguments = {"model": options.embedding_model or minilm(options)}, ["--embedding"]
        if models["model"] is None:
            say("embed: left out, no model that embeds")
            return None
    with Corral(options, models) as corral, LlamaServer(options, models, arguments) as peer, \
            optional(options.ollama, Ollama, options, models) as ollama:
        return in_turns(options, getattr(works, name), [server for server in (corral, peer, ollama) if server])


def default_models():
    gemma = os.environ.get("CORRAL_GEMMA_FILE")
    return [starter_model(), *([gemma] if gemma else [])]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", metavar="|".join(ROWS), help="which works (default: all)")
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of corral, llama-bench and llama-server")
    parser.add_argument("--model", action="append", dest="models", metavar="GGUF", help="what to measure; again for a table of another one (default: the starter model, and $CORRAL_GEMMA_FILE)")
    parser.add_argument("--embedding-model", help="GGUF for `embed` (default: all-MiniLM-L6-v2 in F16, made by corral create)")
    parser.add_argument("--threads", type=int, default=cores(), help="of the peers; corral finds its own")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-ollama", action="store_true", help="leave out an Ollama binary that is found (OLLAMA_BIN or the PATH)")
    parser.add_argument("--results", default=str(ROOT / "bench/results/latest.json"))
    options = parser.parse_args()
    if unknown := set(options.works) - set(ROWS):
        parser.error(f"unknown work: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parse()
    os.environ["CORRAL_BIN"] = f"{options.bin}/corral"
    options.ollama = None if options.no_ollama else Ollama.find()
    if not options.no_ollama:
        say(f"Ollama: {options.ollama or 'none found (OLLAMA_BIN or the PATH)'}")
    pathlib.Path(options.results).parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor(), "threads": options.threads, "system": platform.platform(),
               "load": " ".join(f"{load:.1f}" for load in os.getloadavg())}
    results = {"machine": machine, "ollama": options.ollama, "models": []}
    for number, model in enumerate(options.models or default_models()):
        options.model = model
        table = {"model": os.path.basename(model), "works": {}}
        results["models"].append(table)
        for name in options.works or ROWS:
            if number > 0 and name in OF_NO_MODEL:
                continue
            say(f"{table['model']}: {name}: {options.runs} runs in turns")
            if figures := measure(options, name):
                table["works"][name] = {"rows": judge(name, figures), "figures": figures}
                pathlib.Path(options.results).write_text(json.dumps(results, indent=2) + "\n")
    for table in results["models"]:
        show(table["model"], machine, table["works"])


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
