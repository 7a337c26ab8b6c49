#!/usr/bin/env python3
"""docs/guide: every block of our own pages, run in order as a reader would."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import blocks  # noqa: E402
import lab  # noqa: E402
from place import Place, wait_healthy  # noqa: E402

PAGES = sorted((lab.ROOT / "docs/guide").glob("[0-9]*.md"))
RUN = {"sh"}
READ = {"text", "console", "json"}
WORDS = {"file", "wait", "type", "fresh", "not run"}


def follow(page):
    """Runs a page; yields nothing: an AssertionError names the block."""
    place = Place().__enter__()
    try:
        for block in blocks.read(page.read_text()):
            where = f"{page.name}:{block.line}"
            said = dict(block.before)
            assert set(said) <= WORDS, f"{where}: unknown instruction in {block.before}"
            if "fresh" in said:
                place.__exit__(None, None, None)
                place = Place().__enter__()
            if "not run" in said or block.language in READ:
                continue
            if "file" in said:
                place.write(said["file"], block.text)
                continue
            assert block.language in RUN, f"{where}: a block of '{block.language}' that is neither a file nor for reading"
            if "wait" in said:
                for name in said["wait"].split():
                    wait_healthy(name)
            try:
                output = place.sh(block.text, typed=[value for word, value in block.before if word == "type"] or None)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from None
            for text in block.expected:
                assert text in output, f"{where}: '{text}' is not in what it printed:\n{output[-3000:]}"
    except BaseException:
        place.__exit__(*sys.exc_info())
        raise
    place.__exit__(None, None, None)


class Pages(unittest.TestCase):
    def test_there_are_pages(self):
        self.assertTrue(PAGES)


for path in PAGES:
    def case(self, page=path):
        follow(page)
    setattr(Pages, f"test_{path.stem.replace('-', '_')}", case)


if __name__ == "__main__":
    lab.run_tests()
