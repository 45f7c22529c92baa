"""Walking through folders: which files are data, and which are only in the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HIDDEN = "hidden, or left behind by an editor, a notebook, an archive or an operating system"
LOOP = "a link to a folder that it lies in"

# lower case; names with a dot in front are left out anyway
LEAVINGS = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "system volume information"),
        *("__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "#recycle"),
    )
)
LEAVING_ENDINGS = (
    *("~", ".tmp", ".temp", ".swp", ".swo", ".bak", ".orig", ".lnk", ".lock"),
    *(".part", ".partial", ".crdownload", ".download", ".ipynb", ".pyc"),
)


@dataclass(frozen=True)
class Entry:
    """What was met below a folder: a file, unless one of the others says otherwise.

    Attributes:
        path: where it lies.
        ignored: why nobody misses it.
        problem: why it cannot be read, with the remedy where there is one.
    """

    path: Path
    ignored: str | None = None
    problem: str | None = None


def is_leaving(name: str) -> bool:
    """Whether a file or folder is no data, going by its name alone."""
    lower = name.lower()
    return name.startswith((".", "~$")) or lower in LEAVINGS or lower.endswith(LEAVING_ENDINGS)


def listed(folder: Path) -> list[Path]:
    """What lies directly in a folder, sorted by name.

    Raises:
        OSError: it cannot be opened.
    """
    with os.scandir(folder) as found:
        return [folder / name for name in sorted(entry.name for entry in found)]


def walk(folder: Path) -> Iterator[Entry]:
    """Everything below a folder, links followed; a link back to where it lies is not.

    A folder that cannot be opened is itself met, as a problem.
    """
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    try:
        status = folder.stat()
        paths = listed(folder)
    except OSError as error:
        yield Entry(folder, problem=f"cannot be opened: {error.strerror}")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        yield Entry(folder, ignored=LOOP)
        return
    for path in paths:
        if is_leaving(path.name):
            yield Entry(path, ignored=HIDDEN)
        elif os.path.isdir(path):  # noqa: PTH112 - Path's raises where it may not look
            yield from _walk(path, above | {identity})
        elif os.path.isfile(path):  # noqa: PTH113 - as above
            yield Entry(path)
        elif os.path.islink(path):  # noqa: PTH114 - as above
            yield Entry(path, problem="a link to nothing; mend or remove it")
        else:
            yield Entry(path, problem="neither a file nor a folder; move it away")
