"""From what a table calls a file to the file it means."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath

from .folders import is_leaving, listed, walk


class NamedFiles:
    """Finds the files that a table names.

    A name counts from the table's folder, from the folder that belongs to it, or from one other
    folder beside the table; else it is looked for anywhere in the folder that belongs to it. It may
    be absolute, begin with `~`, be in the notation of Windows, or lack its suffix.

    Args:
        table: the table's file; None where only absolute names can be found.
        folder: the one that belongs to it: of the same name, or the data set's own; None for none.
        suffixes: that a name may lack, in lower case.
        note: is told what had to be guessed.

    Attributes:
        missing: names that no file has.
    """

    def __init__(
        self,
        table: Path | None,
        folder: Path | None,
        suffixes: Collection[str],
        note: Callable[[str], None],
    ) -> None:
        self.table, self.folder, self.suffixes, self.note = table, folder, suffixes, note
        self.missing: list[str] = []
        own = [table.parent] if table else []
        self.folders = [*own, *([folder] if folder and folder not in own else [])]
        self._by_stem: dict[Path, dict[str, list[Path]]] = {}

    def find(self, name: str) -> Path:
        """The file that a name means.

        Raises:
            FileNotFoundError: there is none, or there are several; the message says so.
        """
        if "://" in name and not name.startswith("file://"):
            raise FileNotFoundError(f"{name} is an address; download the files first")
        spellings = list(_spellings(name.removeprefix("file://").strip()))
        if found := list(self._in_first(self.folders or [Path()], spellings)):
            return _only(name, found)
        if found := [path for one in self._beside for path in self._in_first([one], spellings)]:
            path = _only(name, found)
            self.note(f"files of {self.table} lie in {path.parent}")
            return path
        if found := list(dict.fromkeys(self._anywhere(spellings))):
            self.note(f"files of {self.table} are found by their names, wherever in {self.folder}")
            return _only(name, found)
        place = (self.folders or [Path()])[0] / spellings[0]
        self.missing.append(name)
        raise FileNotFoundError(f"{place} does not exist")

    def _in_first(self, folders: Sequence[Path], spellings: Sequence[str]) -> Iterator[Path]:
        """The file by that name in the first folder that has it; several only without suffix."""
        for folder in folders:
            for spelling in spellings:
                path = folder / os.path.expanduser(spelling)  # noqa: PTH111 - Path's may raise
                if os.path.isfile(path):  # noqa: PTH113 - Path's raises for a name too long
                    yield path
                    return
                if not path.suffix and path.name and (found := self._without_suffix(path)):
                    yield from found
                    return

    def _without_suffix(self, path: Path) -> list[Path]:
        if path.parent not in self._by_stem:
            self._by_stem[path.parent] = self._stems(_visible(path.parent))
        return self._called(path.name, self._by_stem[path.parent])

    def _anywhere(self, spellings: Sequence[str]) -> Iterator[Path]:
        """Files below the folder whose path ends as a name is spelled."""
        for spelling in spellings:
            path = PurePath(spelling)
            if not path.suffix and path.name:
                candidates = self._called(path.name, self._stems_below)
            else:
                candidates = self._names_below.get(path.name, [])
            folders = path.parts[:-1]
            yield from (
                file for file in candidates if file.parts[-1 - len(folders) : -1] == folders
            )

    def _called(self, name: str, stems: Mapping[str, list[Path]]) -> list[Path]:
        found = stems.get(name, [])
        if found:
            self.note("names of files have no suffix; the files with one are meant")
        return found

    def _stems(self, files: Iterable[Path]) -> dict[str, list[Path]]:
        stems: dict[str, list[Path]] = {}
        for file in files:
            if file.suffix.lower() in self.suffixes:
                stems.setdefault(file.stem, []).append(file)
        return stems

    @cached_property
    def _names_below(self) -> dict[str, list[Path]]:
        names: dict[str, list[Path]] = {}
        for entry in walk(self.folder) if self.folder else ():
            if not (entry.ignored or entry.problem):
                names.setdefault(entry.path.name, []).append(entry.path)
        return names

    @cached_property
    def _stems_below(self) -> dict[str, list[Path]]:
        return self._stems(path for paths in self._names_below.values() for path in paths)

    @cached_property
    def _beside(self) -> list[Path]:
        """Other folders beside the table."""
        if self.table is None:
            return []
        folders = [path for path in _visible(self.table.parent) if path.is_dir()]
        return [folder for folder in folders if folder not in self.folders]


def _only(name: str, found: Sequence[Path]) -> Path:
    if len(found) > 1:
        raise FileNotFoundError(f"{name} can be {' or '.join(map(str, found))}")
    return found[0]


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
