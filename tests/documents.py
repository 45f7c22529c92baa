"""The documents of this repository and of rendered projects, as commands and code to run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rendering import ROOT

SHELLS = ("sh", "bash")
# what zsh, bash and PowerShell do not all take as it stands: comments, globs, redirections
NOT_IN_EVERY_SHELL = re.compile(r"[@#*?\[\]{}<>$;&|\\]")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

# a fenced block and the line before it that says why no test runs it, or a table's row of a
# command, but for those of tests
PIECE = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>[\w{}]*)\n(?P<code>.*?)^(?P=indent)```$"
    r"|^\| `(?P<command>uv run (?!pytest)[^`]+)` \|",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or a command in the first cell of a table's row.

    Attributes:
        page: the file's name.
        line: where it begins, from 1.
        language: behind the fence; empty for none.
        code: what stands in it, without the fence's own indentation.
        not_run: why no test runs it; empty where one does.
    """

    page: str
    line: int
    language: str
    code: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def for_some_shells_only(self) -> list[str]:
        """Characters outside of quotes that zsh, bash and PowerShell do not take alike."""
        return NOT_IN_EVERY_SHELL.findall(QUOTED.sub("", self.code))

    def commands(self) -> Iterator[str]:
        """The lines of a shell's block."""
        yield from filter(None, map(str.strip, self.code.splitlines()))


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page.name,
            text.count("\n", 0, found.start()) + 1,
            "sh" if found["command"] else found["language"],
            found["command"] or textwrap.dedent(found["code"]),
            found["reason"] or "",
        )
        for found in PIECE.finditer(text)
    ]


def pages() -> list[Path]:
    """The repository's README and everything under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
