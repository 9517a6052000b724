"""The code blocks of a Markdown page, with the marks that say which of them a test cannot run.

A mark is an HTML comment before a block, which readers of the page do not see:

    <!-- not run: needs two machines -->           the block after it
    <!-- not run: `i2i serve`: never ends -->      of the block after it, the lines that start so
    <!-- first: array = numpy.zeros((9, 9, 3)) --> Python that runs before the block after it
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

PART = re.compile(
    r"^<!-- (?P<mark>not run|first): (?P<said>.*?) -->$"
    r"|^```(?P<language>\w*)\n(?P<fenced>.*?)^```$"
    r"|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n|\n(?= {4}))+)",
    flags=re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A block.

    Attributes:
        language: "sh" if it is indented.
        text: without the indentation.
        line: of the page, on which it starts.
        skipped: whether it is marked as a whole.
        left_out: how lines begin that are marked.
        first: Python that runs before it.
        file: if the sentence before it is "Save this as `file`".
    """

    language: str
    text: str
    line: int
    skipped: bool
    left_out: tuple[str, ...]
    first: str
    file: str

    @property
    def lines(self) -> list[str]:
        """The lines of a shell block that run, without those that are only comments."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line for line in joined if line.strip() and line[0] != "#" and not line.startswith(self.left_out)]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text, found, marks = page.read_text(), list[Block](), list[tuple[str, str]]()
    for part in PART.finditer(text):
        if part["mark"]:
            marks.append((part["mark"], part["said"]))
            continue
        content = part["fenced"] if part["indented"] is None else part["indented"]
        language = "sh" if part["indented"] is not None else part["language"].replace("bash", "sh")
        some = tuple(re.findall(r"`([^`]+)`", said)[0] for mark, said in marks if mark != "first" and said[0] == "`")
        found.append(
            Block(
                language,
                textwrap.dedent(content),
                text[: part.start()].count("\n") + 1,
                skipped=any(mark == "not run" and said[0] != "`" for mark, said in marks),
                left_out=some,
                first="\n".join(said for mark, said in marks if mark == "first"),
                file=(re.findall(r"[Ss]ave this as\s+`([\w.]+)`[^`]*$", text[: part.start()]) or [""])[0],
            )
        )
        marks = []
    return found
