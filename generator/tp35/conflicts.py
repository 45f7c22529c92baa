"""Conflict markers that a merge left in files."""

from __future__ import annotations

import re
from pathlib import Path

from tp35.project_files import source_files
from tp35.trees import Entry, read_entry

BEGIN = re.compile(rb"(?m)^<{7}( .*)?\r?$")
END = re.compile(rb"(?m)^>{7}( .*)?\r?$")


def marker_lines(entry: Entry | None) -> list[int]:
    """The line numbers at which conflicts begin; none unless the file holds whole conflicts."""
    if entry is None or entry.link or not END.search(entry.content):
        return []
    return [
        entry.content.count(b"\n", 0, begin.start()) + 1 for begin in BEGIN.finditer(entry.content)
    ]


def clash_lines(entry: Entry) -> int:
    """How many lines lie between the markers of conflicts, those included."""
    count, inside = 0, False
    for line in entry.content.splitlines():
        inside = inside or bool(BEGIN.match(line))
        count += inside
        inside = inside and not END.match(line)
    return count


def in_project(project: Path) -> list[tuple[str, int]]:
    """Every conflict in the project's own files, as path and line."""
    return [
        (path, line)
        for path in source_files(project)
        for line in marker_lines(read_entry(project / path))
    ]
