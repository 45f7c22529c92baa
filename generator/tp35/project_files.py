"""Which files of a project are worth reading."""

from __future__ import annotations

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
