"""Runs clang-tidy over the .cc files of src, tests left out, and remembers which were clean.

usage: tidy.py <jobs> <cache folder> <build folder>...

A file is checked with the flags of the first build folder whose compile_commands.json has it. A clean result is kept under
the hash of everything that went into it (the preprocessed text, the flags, .clang-tidy), wherever the tree lies: only what
changed is checked again. What is not reached within DEADLINE_S is named and left for the next run: a slow machine is no fault
of the code.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIDY, CLANG = "clang-tidy-14", "clang++-14"
DEADLINE_S = 1200


def entries(folders):
    """{file: (build folder, its command as a list, the folder to run it in)}"""
    found = {}
    for folder in folders:
        for entry in json.loads((pathlib.Path(folder) / "compile_commands.json").read_text()):
            file = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
            name = os.path.relpath(file, ROOT)
            if name.startswith("src/") and name.endswith(".cc") and not name.endswith("_test.cc"):
                found.setdefault(name, (folder, shlex.split(entry["command"]), entry["directory"]))
    return found


def key(name, command, directory):
    """Hash of all that clang-tidy will see; None if it does not even preprocess (clang-tidy then says why)."""
    start = next(index for index, word in enumerate(command) if re.search(r"(\+\+|cc|clang)(-\d+)?$", word) and "ccache" not in word)
    flags, skip = [], False
    for word in command[start + 1 :]:
        if skip or word in ("-o", "-MF", "-MT", "-MQ"):
            skip = not skip
        elif word not in ("-c", "-MD", "-MMD"):
            flags.append(word)
    text = subprocess.run([CLANG, *flags, "-E", "-P", "-C", "-w"], cwd=directory, capture_output=True, timeout=300, check=False)
    if text.returncode != 0:
        return None
    rules = (ROOT / ".clang-tidy").read_bytes()
    return hashlib.sha256(b"\0".join([rules, " ".join(flags).replace(str(ROOT), ".").encode(), name.encode(), text.stdout])).hexdigest()


def check(name, folder, command, directory, cache, deadline):
    """(name, what clang-tidy says: "" if clean, None if there was no time; was it remembered)"""
    stamp_name = key(name, command, directory)
    stamp = cache / stamp_name if stamp_name else None
    if stamp and stamp.exists():
        os.utime(stamp)
        return name, "", True
    left = deadline - time.monotonic()
    if left <= 0:
        return name, None, False
    try:
        run = subprocess.run([TIDY, "-quiet", "-p", folder, str(ROOT / name)], capture_output=True, text=True, timeout=left, check=False)
    except subprocess.TimeoutExpired:
        return name, None, False
    if run.returncode == 0:
        if stamp:
            stamp.touch()
        return name, "", False
    return name, run.stdout or run.stderr, False


def main():
    jobs, cache, folders = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.iterdir():
        if time.time() - old.stat().st_mtime > 30 * 86400:
            old.unlink(missing_ok=True)
    todo, deadline = entries(folders), time.monotonic() + DEADLINE_S
    failed = remembered = unchecked = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = [pool.submit(check, name, *todo[name], cache, deadline) for name in sorted(todo)]
        for done, result in enumerate(concurrent.futures.as_completed(results), 1):
            name, text, was_remembered = result.result()
            failed += bool(text)
            unchecked += text is None
            remembered += was_remembered
            if not was_remembered:
                print(f"    [{done}/{len(todo)}] {name}{': FAILED' if text else ': no time left' if text is None else ''}", file=sys.stderr, flush=True)
            if text:
                print(text, flush=True)
    print(f"    {len(todo)} files, {remembered} unchanged since they were clean, {unchecked} not reached in {DEADLINE_S} s, {failed} failed", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
