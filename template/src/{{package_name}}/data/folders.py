"""Folders of files: which are data, which are in the way, and which only look like data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..serving.runtime import folders
from ..serving.runtime.folders import HIDDEN, is_leaving
from .account import Account


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


def visible(folder: Path, account: Account) -> list[Path]:
    """What lies directly in a folder, sorted by name, without hidden things and leavings.

    Raises:
        DataError: the folder cannot be opened.
    """
    try:
        paths = folders.listed(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}") from error
    for path in paths:
        if is_leaving(path.name):
            account.leave_out(path, HIDDEN)
    return [path for path in paths if not is_leaving(path.name)]


def walk(folder: Path, account: Account) -> Iterator[Path]:
    """Every visible file below a folder, links followed; `inference.py` finds the same."""
    for entry in folders.walk(folder):
        if entry.ignored:
            account.leave_out(entry.path, entry.ignored)
        elif entry.problem:
            account.problems.append(f"{entry.path}: {entry.problem}")
        else:
            yield entry.path


def find_files(folder: Path, kind: FileKind, account: Account) -> list[Path]:
    """Files of a kind below a folder, in order; what else lies there is accounted for."""
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
