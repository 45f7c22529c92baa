"""Which files of a project are worth reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from tp35 import git

# Large, made by tools, and never written by a template or by hand.
NOT_SOURCES = frozenset({".git", ".venv", "data", "exports", "node_modules", "runs"})


def source_files(project: Path) -> list[str]:
    """The project's own files by their POSIX path, without data, results and ignored files."""
    if git.available() and git.top_of_repository(project):
        paths = git.own_files(project)
    else:
        paths = {path.relative_to(project).as_posix() for path in project.rglob("*")}
    return sorted(
        path
        for path in paths
        if PurePosixPath(path).parts[0] not in NOT_SOURCES and (project / path).is_file()
    )


def more_files_than(limit: int, folder: Path) -> bool:
    """Whether a folder holds so many files that are no tool's; it looks at few more than those."""
    return next(islice(_walked(folder), limit, None), None) is not None


def _walked(folder: Path) -> Iterator[str]:
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_SOURCES]
        yield from files
