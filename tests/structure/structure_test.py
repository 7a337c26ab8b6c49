#!/usr/bin/env python3
"""The architecture as a test: rooms use only the rooms below them.

Reads cmake/module.cmake, docs/architecture.md, the rooms' CMakeLists.txt and every #include "..." and <...> in src.
With --program FILE it looks at a built `corral` instead: no symbol and no library of llama.cpp may be in it.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
MAX_README_LINES = 60  # a screen
# Which targets may include headers of llama.cpp, ggml and its `common`; `app` wires the worker's engine.
LLAMA_ROOMS = {"engine_llama", "app"}
LLAMA_HEADER = re.compile(r"^(llama|ggml|gguf|common|chat|sampling|mtmd|speculative|json-schema|minja|jinja|peg|fit)[-\w/]*\.(h|hpp)$")


def may_use_in_cmake():
    text = (ROOT / "cmake/module.cmake").read_text()
    rows = re.findall(r"^set\(CORRAL_MAY_USE_(\w+) ?(.*)\)$", text, re.M)
    return {room: set(uses.strip('"').split()) for room, uses in rows}


def may_use_in_docs():
    """Rows of the table in docs/architecture.md whose first cell is a target in backticks."""
    rows = {}
    for line in (ROOT / "docs/architecture.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        match = re.fullmatch(r"`(\w+)`", cells[0])
        if line.startswith("|") and match and len(cells) == 3:
            rows[match.group(1)] = set(re.findall(r"`(\w+)`", cells[2]))
    return rows


def modules():
    """What the rooms' CMakeLists.txt declare: target -> (the room's folder, its source files)."""
    found = {}
    for lists in sorted(SRC.rglob("CMakeLists.txt")):
        text = re.sub(r"#.*", "", lists.read_text())
        for name, body in re.findall(r"corral_module\(\s*(\w+)(.*?)\)", text, re.S):
            words = body.split()
            files, keyword = [], None
            for word in words:
                if word.isupper() and "." not in word:
                    keyword = word
                elif keyword in ("SOURCES", "TESTS"):
                    files.append(word)
            found[name] = (lists.relative_to(SRC).parts[0], {lists.parent / file for file in files})
    return found


def extra_rooms():
    """Files that link more than their room: programs (add_executable) and tests (TEST_LIBS): file -> targets of ours."""
    extra = {}
    for lists in SRC.rglob("CMakeLists.txt"):
        text = re.sub(r"#.*", "", lists.read_text())
        links = re.findall(r"target_link_libraries\(\s*([\w-]+)(.*?)\)", text, re.S)
        for name, body in re.findall(r"add_executable\(\s*([\w-]+)(.*?)\)", text, re.S):
            rooms = {room for target, linked in links if target == name for room in re.findall(r"\bcorral_(\w+)", linked)}
            extra.update({lists.parent / file: rooms for file in body.split()})
        for _, body in re.findall(r"corral_module\(\s*(\w+)(.*?)\)", text, re.S):
            libs = re.search(r"\bTEST_LIBS\b([^A-Z]*)", body)
            rooms = set(re.findall(r"\bcorral_(\w+)", libs.group(1))) if libs else set()
            extra.update({lists.parent / file: rooms for file in re.findall(r"[\w/]+_test\.cc", body)})
    return extra


def target_of(path, declared):
    """The target that a file belongs to: the one that lists it, or lists the .cc of the same name; else its folder's:
    src/engine/x.h is engine's, src/engine/llama/x.h is engine_llama's."""
    parts = path.relative_to(SRC).parts
    folder = parts[0]
    candidates = {name: files for name, (where, files) in declared.items() if where == folder}
    stem = path.with_suffix("")
    for name, files in candidates.items():
        if path in files or any(file.with_suffix("") == stem for file in files):
            return name
    below = "_".join(parts[:2])
    return below if len(parts) > 2 and below in may_use_in_cmake() else folder


def sources():
    return sorted(path for path in SRC.rglob("*") if path.suffix in (".h", ".cc"))


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


class Structure(unittest.TestCase):
    maxDiff = None

    def test_the_table_of_the_build_and_the_table_of_the_docs_agree(self):
        docs = may_use_in_docs()
        self.assertIn("app", docs, "docs/architecture.md has no table of rooms")
        docs.pop("app")  # may use all; has no row in the build
        self.assertEqual(may_use_in_cmake(), docs)

    def test_arrows_only_go_down(self):
        order = re.findall(r"^add_subdirectory\(src/(\w+)\)$", (ROOT / "CMakeLists.txt").read_text(), re.M)
        folder = {name: where for name, (where, _) in modules().items()}
        for room, uses in may_use_in_cmake().items():
            for used in uses:
                here, there = folder.get(room, room.split("_")[0]), folder.get(used, used.split("_")[0])
                if here != there:
                    self.assertLess(order.index(there), order.index(here), f"{room} may not use {used}: it comes later")

    def test_every_include_obeys_the_table(self):
        allowed, declared, extra = may_use_in_cmake(), modules(), extra_rooms()
        rooms = {path.name for path in SRC.iterdir() if path.is_dir()}
        wrong = []
        for path in sources():
            folder, target = path.relative_to(SRC).parts[0], target_of(path, declared)
            if folder == "app":
                continue
            self.assertIn(target, allowed, f"{path.relative_to(ROOT)} belongs to no room of cmake/module.cmake")
            targets = allowed[target] | extra.get(path, set())
            reachable = {declared[name][0] if name in declared else name for name in targets} | {folder}
            for number, name, _ in includes(path):
                room = name.split("/")[0]
                if "/" in name and room in rooms and (SRC / name).parent.exists() and room not in reachable:
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: room {target} may not include \"{name}\"")
        self.assertEqual([], wrong)

    def test_a_room_does_not_look_into_the_internals_of_another(self):
        wrong = [
            f"{path.relative_to(ROOT)}:{number}: {name}"
            for path in sources()
            for number, name, _ in includes(path)
            if "/internal/" in name and name.split("/")[0] != path.relative_to(SRC).parts[0]
        ]
        self.assertEqual([], wrong)

    def test_only_the_engine_includes_llama_cpp(self):
        declared, wrong = modules(), []
        for path in sources():
            if target_of(path, declared) in LLAMA_ROOMS:
                continue
            for number, name, quoted in includes(path):
                is_ours = quoted and (SRC / name).exists()
                if not is_ours and LLAMA_HEADER.match(name):
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {name}")
        self.assertEqual([], wrong)

    def test_includes_of_the_project_exist_and_name_their_room(self):
        wrong = []
        rooms = {path.name for path in SRC.iterdir() if path.is_dir()}
        for path in sources():
            for number, name, quoted in includes(path):
                if quoted and name.split("/")[0] in rooms and not (SRC / name).exists():
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: \"{name}\" does not exist")
                if quoted and "/" not in name and (path.parent / name).exists():
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: write \"{path.relative_to(SRC).parts[0]}/{name}\"")
        self.assertEqual([], wrong)

    def test_every_room_has_a_readme_of_a_screen(self):
        for lists in sorted(SRC.glob("*/CMakeLists.txt")):
            with self.subTest(room=lists.parent.name):
                readme = lists.parent / "README.md"
                self.assertTrue(readme.exists(), "has no README.md")
                self.assertLessEqual(len(readme.read_text().splitlines()), MAX_README_LINES)

    def test_every_room_is_in_the_docs(self):
        text = (ROOT / "docs/architecture.md").read_text()
        for lists in sorted(SRC.glob("*/CMakeLists.txt")):
            self.assertIn(f"`{lists.parent.name}`", text)


class Program(unittest.TestCase):
    """The promise that a broken model or driver cannot end the server: `corral` has nothing of llama.cpp in it."""

    path = None

    def test_has_no_symbol_of_llama_cpp(self):
        symbols = subprocess.run(["nm", "-C", self.path], capture_output=True, text=True, check=True, timeout=120).stdout
        names = [line.split(maxsplit=2)[-1] for line in symbols.splitlines()]
        self.assertGreater(len(names), 100, "the program is stripped: nothing was checked")
        wrong = [name for name in names if re.match(r"(llama_|ggml_|gguf_|common_chat|common_sampler|mtmd_)", name)]
        self.assertEqual([], wrong[:10])

    def test_loads_no_library_of_llama_cpp(self):
        dynamic = subprocess.run(["readelf", "-d", self.path], capture_output=True, text=True, check=True, timeout=60).stdout
        self.assertNotRegex(dynamic, r"NEEDED.*(llama|ggml|mtmd|gomp|cuda|vulkan)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", help="a built corral")
    options = parser.parse_args()
    loader = unittest.defaultTestLoader
    if options.program:
        Program.path = options.program
        suite = loader.loadTestsFromTestCase(Program)
    else:
        suite = loader.loadTestsFromTestCase(Structure)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
