"""From what a table calls a file to the file it means."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path, PureWindowsPath

from .folders import is_leaving, listed


class NamedFiles:
    """Finds the files that a table names.

    A name counts from the table's folder, from the folder of the table's name beside it, or from
    one other folder beside it. It may be absolute, begin with `~`, be in the notation of Windows,
    or lack its suffix.

    Args:
        table: the table's file; None where only absolute names can be found.
        folder: the folder of the same name.
        suffixes: that a name may lack, in lower case.
        note: is told what had to be guessed.
    """

    def __init__(
        self,
        table: Path | None,
        folder: Path | None,
        suffixes: Collection[str],
        note: Callable[[str], None],
    ) -> None:
        self.table, self.suffixes, self.note = table, suffixes, note
        beside = [table.parent] if table else []
        self.folders = [*beside, *([folder] if folder else [])]
        self._by_stem: dict[Path, dict[str, list[Path]]] = {}

    def find(self, name: str) -> Path:
        """The file that a name means.

        Raises:
            FileNotFoundError: there is none, or there are several; the message says so.
        """
        if "://" in name and not name.startswith("file://"):
            raise FileNotFoundError(f"{name} is an address; download the files first")
        spellings = list(_spellings(name.removeprefix("file://").strip()))
        for folders in (self.folders or [Path()], self._others):
            found = list(dict.fromkeys(self._candidates(folders, spellings)))
            if len(found) == 1:
                if folders is self._others:
                    self.note(f"files of {self.table} lie in {found[0].parent}")
                return found[0]
            if found:
                raise FileNotFoundError(f"{name} can be {' or '.join(map(str, found))}")
        place = (self.folders or [Path()])[0] / spellings[0]
        raise FileNotFoundError(f"{place} does not exist")

    def _candidates(self, folders: list[Path], spellings: list[str]) -> Iterator[Path]:
        """Files by that name in the first folder that has one, or in each of the others."""
        for folder in folders:
            for spelling in spellings:
                path = folder / os.path.expanduser(spelling)  # noqa: PTH111 - Path's may raise
                if os.path.isfile(path):  # noqa: PTH113 - Path's raises for a name too long
                    yield path
                    if folders is not self._others:
                        return
                    break
                if not path.suffix and path.name and (found := self._without_suffix(path)):
                    self.note("names of files have no suffix; the files with one are meant")
                    yield from found
                    break

    def _without_suffix(self, path: Path) -> list[Path]:
        if path.parent not in self._by_stem:
            stems: dict[str, list[Path]] = {}
            for file in _visible(path.parent):
                if file.suffix.lower() in self.suffixes:
                    stems.setdefault(file.stem, []).append(file)
            self._by_stem[path.parent] = stems
        return self._by_stem[path.parent].get(path.name, [])

    @cached_property
    def _others(self) -> list[Path]:
        """Other folders beside the table."""
        if self.table is None:
            return []
        folders = [path for path in _visible(self.table.parent) if path.is_dir()]
        return [folder for folder in folders if folder not in self.folders]


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it cannot be looked into."""
    try:
        return [path for path in listed(folder) if not is_leaving(path.name)]
    except OSError:
        return []


def _spellings(name: str) -> Iterator[str]:
    """A name as it is, with slashes for Windows' backslashes, and in other Unicode forms."""
    yield name
    plain = PureWindowsPath(name).as_posix() if "\\" in name else name
    for form in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
        if form != name:
            yield form
