#!/usr/bin/env python3
"""docs/guide: every block of our own pages, run in order as a reader would."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import blocks  # noqa: E402
import lab  # noqa: E402
from place import Place, wait_healthy  # noqa: E402

PAGES = sorted((lab.ROOT / "docs/guide").glob("[0-9]*.md"))
RUN = {"sh"}
READ = {"text", "console", "json"}
WORDS = {"file", "folder", "wait", "type", "fresh", "not run"}


def follow(page):
    """Runs a page; an AssertionError names the block that does not do what it says."""
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
            if "folder" in said:
                (place.folder / said["folder"]).mkdir()
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
            assert '{"error":' not in output, f"{where}: an error that curl took for an answer:\n{output[-3000:]}"
    except BaseException:
        place.__exit__(*sys.exc_info())
        raise
    place.__exit__(None, None, None)


class Pages(unittest.TestCase):
    def test_there_are_pages(self):
        self.assertTrue(PAGES)

    def test_a_page_that_is_wrong_fails_at_its_block(self):
        good = "```sh\necho one\n```\n<!-- expect: one -->\n\n"
        for wrong, reason in (("```sh\nfalse\n```", "exit status 1"),
                              ("```sh\nfalse | true\n```", "exit status 1"),
                              ("```sh\nfalse\necho two\n```\n<!-- expect: two -->", "exit status 1"),
                              ("```sh\necho one\n```\n<!-- expect: two -->", "'two' is not in what it printed"),
                              ("```sh\necho '{\"error\":\"model not found\"}'\n```", "an error that curl took for an answer"),
                              ("```yaml\na: b\n```", "neither a file nor for reading"),
                              ("<!-- expct: one -->\n```sh\ntrue\n```", "unknown instruction"),
                              ("<!-- Expect: one -->", "cannot be read"),
                              ("<!-- wait: corral -->", "without a block")):
            with self.subTest(wrong), tempfile.TemporaryDirectory(prefix="corral-docker-") as folder:
                page = pathlib.Path(folder, "1-page.md")
                page.write_text("# A page\n\n" + good + wrong + "\n")
                with self.assertRaisesRegex(AssertionError, reason):
                    follow(page)


for path in PAGES:
    def case(self, page=path):
        follow(page)
    setattr(Pages, f"test_{path.stem.replace('-', '_')}", case)


if __name__ == "__main__":
    lab.run_tests()
