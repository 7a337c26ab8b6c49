"""Prints the .cc files of src in a compile database, tests left out, those of a second database left out too."""
import json
import os
import re
import sys

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(path):
    with open(path, encoding="utf-8") as database:
        names = {os.path.relpath(entry["file"], root) for entry in json.load(database)}
    return {name for name in names if name.startswith("src/") and name.endswith(".cc") and not name.endswith("_test.cc")}


found = files(sys.argv[1])
for other in sys.argv[2:]:
    found -= files(other)
# run-clang-tidy takes regular expressions and searches in absolute paths.
print(" ".join("/" + re.escape(name) + "$" for name in sorted(found)))
