"""Files of a folder as values that can be compared and merged."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A file's content and whether it is executable, or where a link points."""

    content: bytes
    executable: bool = False
    link: bool = False

    @property
    def text(self) -> str | None:
        """The content as text; None for binary files and links."""
        if self.link or b"\0" in self.content:
            return None
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            return None

    @property
    def has_crlf(self) -> bool:
        """Whether every line of this text ends as on Windows."""
        ends = self.content.count(b"\n")
        return bool(ends) and self.text is not None and self.content.count(b"\r\n") == ends

    def with_lf(self) -> Entry:
        """The same with lines that end as a template's do, where all of them end otherwise."""
        if not self.has_crlf:
            return self
        return replace(self, content=self.content.replace(b"\r\n", b"\n"))

    def with_crlf(self) -> Entry:
        """The same with lines that end as on Windows."""
        return replace(self.with_lf(), content=self.with_lf().content.replace(b"\n", b"\r\n"))


Tree = dict[str, Entry]


def read_entry(path: Path) -> Entry | None:
    """The entry at a path; None where there is no file."""
    if path.is_symlink():
        return Entry(os.fsencode(path.readlink()), link=True)
    if not path.is_file():
        return None
    return Entry(path.read_bytes(), executable=bool(path.stat().st_mode & stat.S_IXUSR))


def read_tree(root: Path, paths: Iterable[str] | None = None) -> Tree:
    """The files under a folder by their POSIX path; Git's own folder is left out."""
    if paths is None:
        paths = [
            found.relative_to(root).as_posix()
            for found in root.rglob("*")
            if ".git" not in found.relative_to(root).parts
        ]
    entries = {path: read_entry(root / path) for path in paths}
    return {path: entry for path, entry in sorted(entries.items()) if entry is not None}


def write_entry(path: Path, entry: Entry) -> None:
    """Write a file or link anew; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if entry.link:
        path.symlink_to(os.fsdecode(entry.content))
        return
    path.write_bytes(entry.content)
    mode = path.stat().st_mode
    if entry.executable and not mode & stat.S_IXUSR:
        path.chmod(mode | (mode & 0o444) >> 2)
