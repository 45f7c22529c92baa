"""Merges Python that the user has formatted otherwise than the template does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tp35.trees import Entry, write_entry

Aligned = tuple[Entry, Entry, Entry]
# Beside what the project says: lengths of lines that people give on a command line.
LENGTHS = (79, 80, 88, 99, 100, 119, 120, 140)


def aligned(
    path: str, base: Entry, mine: Entry, theirs: Entry, configuration: Entry | None
) -> list[Aligned]:
    """The three sides of a Python file, with the template's two as the user may have formatted.

    Args:
        path: Where the file lies in the project.
        base: As the template rendered it last.
        mine: As it is in the project, and stays.
        theirs: As the template renders it now.
        configuration: The project's `pyproject.toml`, which says how code is formatted there.
    """
    if not path.endswith(".py"):
        return []
    with tempfile.TemporaryDirectory(prefix="tp35-format-") as scratch:
        folder = Path(scratch)
        if configuration is not None:
            write_entry(folder / "pyproject.toml", configuration)
        found = []
        for length in (None, *LENGTHS):
            sides = [_formatted(folder, entry, length) for entry in (base, theirs)]
            if sides[0] is not None and sides[1] is not None:
                found.append((sides[0], mine, sides[1]))
    return found


def _formatted(folder: Path, entry: Entry, length: int | None) -> Entry | None:
    """The file as Ruff formats it; None where it does not parse."""
    lines = [] if length is None else [f"--line-length={length}"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "format",
            "--no-cache",
            *lines,
            "--stdin-filename=x.py",
            "-",
        ],
        cwd=folder,
        input=entry.content,
        capture_output=True,
    )
    return None if done.returncode else replace(entry, content=done.stdout)
