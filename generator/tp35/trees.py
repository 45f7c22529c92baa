"""Files of a folder as values that can be compared, and written as one change."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


def _remove(path: Path, root: Path) -> None:
    path.unlink(missing_ok=True)
    for folder in path.relative_to(root).parents[:-1]:
        if not (root / folder).is_dir() or any((root / folder).iterdir()):
            break
        (root / folder).rmdir()


def write_entry(path: Path, entry: Entry) -> None:
    """Put an entry in place of whatever file is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.link or path.is_symlink():
        path.unlink(missing_ok=True)
    if entry.link:
        path.symlink_to(os.fsdecode(entry.content))
        return
    path.write_bytes(entry.content)
    mode = path.stat().st_mode
    readers = (mode & 0o444) >> 2
    path.chmod(mode | readers if entry.executable else mode & ~0o111)


def write_changes(root: Path, changes: Mapping[str, Entry | None]) -> None:
    """Write and remove files so that either all changes happen or none.

    What is overwritten is kept aside until the last file is written, and put back when anything
    fails or the user interrupts.
    """
    with tempfile.TemporaryDirectory(prefix="tp35-undo-") as scratch:
        undo = Path(scratch)
        touched: list[str] = []
        try:
            for path, entry in changes.items():
                touched.append(path)
                if (root / path).is_symlink() or (root / path).is_file():
                    (undo / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(root / path, undo / path, follow_symlinks=False)
                if entry is None:
                    _remove(root / path, root)
                else:
                    write_entry(root / path, entry)
        except BaseException:
            for path in reversed(touched):
                before = read_entry(undo / path)
                if before is None:
                    _remove(root / path, root)
                else:
                    write_entry(root / path, before)
            raise
