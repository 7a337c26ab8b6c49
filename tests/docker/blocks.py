"""The code blocks of a Markdown page, with what the page says to the tests about them.

A page of ours carries its instructions in comments, which a reader of the rendered page does not see:

    <!-- file: nginx.conf -->      the next block is a file of this name
    <!-- wait: corral -->          before the next block, wait until this container is healthy
    <!-- type: /bye -->            the next block runs in a terminal, and this line is typed at its prompt
    <!-- expect: text -->          the block before must have printed this
    <!-- folder: name -->          a folder of this name is in the reader's home
    <!-- fresh -->                 clear away all that runs: another way to do the same follows
    <!-- not run: why -->          the next block is not run

Blocks of `sh` are run in order, in one folder; `yaml` and others are files; `text` and `console` are for reading.
"""
import dataclasses
import re


@dataclasses.dataclass
class Block:
    heading: str
    number: int  # of its heading's blocks, from 1
    language: str
    text: str
    line: int
    before: list = dataclasses.field(default_factory=list)  # (word, value) of the comments before it
    expected: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        return f"{self.heading} ({self.number})"


def read(text):
    """All blocks in order."""
    blocks, heading, pending, fence, numbers = [], "", [], None, {}
    for at, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            if line.startswith("```"):
                blocks[-1].text = "\n".join(fence) + "\n"
                fence = None
            else:
                fence.append(line)
        elif line.startswith("```"):
            numbers[heading] = numbers.get(heading, 0) + 1
            blocks.append(Block(heading, numbers[heading], line[3:].strip(), "", at, pending))
            pending, fence = [], []
        elif match := re.match(r"#+ (.*)", line):
            heading = match.group(1).strip()
        elif line.startswith("<!--"):
            match = re.match(r"<!-- ([a-z ]+?)(?:: (.*?))? -->$", line)
            assert match, f"line {at}: an instruction that cannot be read: {line}"
            if match.group(1) == "expect":
                blocks[-1].expected.append(match.group(2))
            else:
                pending.append((match.group(1), match.group(2) or ""))
    assert fence is None, f"an open block: {blocks[-1].line}"
    assert not pending, f"instructions without a block after them: {pending}"
    return blocks
