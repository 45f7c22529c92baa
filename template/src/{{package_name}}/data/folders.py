"""Folders of files: which are data, which are in the way, and which only look like data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .account import Account

HIDDEN = "hidden, or left behind by an editor, a notebook, an archive or an operating system"

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
class FileKind:
    """Files that hold one sample each.

    Attributes:
        noun: what they are called, in the plural.
        suffixes: of those that are read, in lower case.
        refusal: why a file with another suffix cannot be read although it looks like such data,
            with the remedy; None where it is something else.
    """

    noun: str
    suffixes: frozenset[str]
    refusal: Callable[[Path], str | None]

    def takes(self, path: Path) -> bool:
        """Whether the file has such a suffix, in any case."""
        return path.suffix.lower() in self.suffixes


def is_leaving(name: str) -> bool:
    """Whether a file or folder is no data, going by its name alone."""
    lower = name.lower()
    return name.startswith((".", "~$")) or lower in LEAVINGS or lower.endswith(LEAVING_ENDINGS)


def visible(folder: Path, account: Account) -> list[Path]:
    """What lies directly in a folder, sorted by name, without hidden things and leavings.

    Raises:
        DataError: the folder cannot be opened.
    """
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found)
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}") from error
    for name in names:
        if is_leaving(name):
            account.leave_out(folder / name, HIDDEN)
    return [folder / name for name in names if not is_leaving(name)]


def walk(folder: Path, account: Account) -> Iterator[Path]:
    """Every visible file below a folder, links followed; a link back to where it lies is not.

    Raises:
        DataError: a folder cannot be opened.
    """
    yield from _walk(folder, account, frozenset())


def _walk(folder: Path, account: Account, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        account.leave_out(folder, "a link to a folder that it lies in")
        return
    for path in visible(folder, account):
        if path.is_dir():
            yield from _walk(path, account, above | {identity})
        elif path.exists():
            yield path
        else:
            account.problems.append(f"{path}: a link to nothing; mend or remove it")


def find_files(folder: Path, kind: FileKind, account: Account) -> list[Path]:
    """Files of a kind below a folder, in order; what else lies there is accounted for.

    Raises:
        DataError: a folder cannot be opened.
    """
    found = []
    for path in walk(folder, account):
        if kind.takes(path):
            found.append(path)
        elif reason := kind.refusal(path):
            account.problems.append(f"{path}: {reason}")
        else:
            account.leave_out(path, f"not among {kind.noun} ({path.suffix or 'no suffix'})")
    return sorted(found)


def holds(folder: Path, kind: FileKind) -> bool:
    """Whether there is a file of a kind anywhere below a folder."""
    return any(kind.takes(path) or kind.refusal(path) for path in walk(folder, Account()))


def holds_directly(folder: Path, kind: FileKind) -> bool:
    """Whether a file of a kind lies in a folder itself."""
    return any(kind.takes(path) and path.is_file() for path in visible(folder, Account()))
