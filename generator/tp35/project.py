"""A project as it lies in the user's repository."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tp35 import answers_file, git, replacement
from tp35.problems import Problem
from tp35.trees import Entry, Tree, read_entry

START = "git init && git add -A && git commit -m Start"
# More than a person writes: data and weights that Git tracks, of which there may be any number.
LARGEST_TEXT, LARGEST_BINARY = 1_000_000, 65_536


@dataclass(frozen=True)
class Project:
    """The folder of a project, which is a repository or lies in one."""

    folder: Path
    top: Path  # of the repository
    answers_name: str
    recorded: dict[str, Any]
    remarks: tuple[str, ...]  # on what was found there

    @classmethod
    def open(cls, folder: Path, answers_name: str = answers_file.NAME) -> Project:
        """Find out what a project is.

        Raises:
            Problem: There is none, it is not committed to Git, or Git refuses to read it.
        """
        if not folder.is_dir():
            raise Problem(f"{folder} is no folder")
        folder = folder.resolve()
        restored = replacement.restore(folder)
        remarks = ("an update that was cut off half-way was undone",) if restored else ()
        recorded = answers_file.read(folder, answers_name)
        if not git.available():
            raise Problem("git is not installed or not on PATH; an update needs it")
        top = git.top_of_repository(folder)
        if top is None or not git.has_commit(folder):
            raise Problem(f"{folder} is not committed to Git; run: {START}")
        if answers_name not in git.tracked_files(folder):
            if git.says_yes("check-ignore", "--quiet", answers_name, cwd=folder):
                raise Problem(
                    f"{folder} is ignored by the repository at {top}; to give it its own, run "
                    f"there: {START}"
                )
            raise Problem(f"{folder} is not committed to Git; run: {START}")
        return cls(folder, top, answers_name, recorded, remarks)

    @property
    def answers_text(self) -> str:
        """The answers file as it is."""
        return (self.folder / self.answers_name).read_text("utf-8")

    @cached_property
    def _tracked(self) -> dict[str, git.Tracked]:
        return git.tracked_files(self.folder)

    @cached_property
    def own_files(self) -> frozenset[str]:
        """The files that Git does not ignore, and that are there."""
        return frozenset(self._tracked) | frozenset(git.untracked_files(self.folder))

    @cached_property
    def _modes_count(self) -> bool:
        """Whether the file system's executable bits mean anything."""
        return git.setting("core.fileMode", self.folder) != "false"

    def absent(self, paths: Iterable[str]) -> list[str]:
        """Those of some files that a sparse checkout leaves out."""
        return sorted(
            path
            for path in paths
            if path in self._tracked
            and not self._tracked[path].present
            and not (self.folder / path).exists()
        )

    def entry(self, path: str) -> Entry | None:
        """A file as Git would commit its mode, lines as they are; None where there is none."""
        found = self._read(path)
        if found is None or found.link or self._modes_count:
            return found
        tracked = self._tracked.get(path)
        return replace(found, executable=tracked is not None and tracked.executable)

    def _read(self, path: str) -> Entry | None:
        place = self.folder / path
        if any((self.folder / parent).is_symlink() for parent in Path(path).parents[:-1]):
            return None  # a link to elsewhere: nothing below it is the project's
        return read_entry(place)

    def on_disk(self, path: str, wanted: Entry | None) -> Entry | None:
        """What is to be written for a file: where executable bits mean nothing, they stay."""
        if wanted is None or self._modes_count:
            return wanted
        there = self._read(path)
        return replace(wanted, executable=there is not None and there.executable)

    def tree(self, base: Tree, new: Container[str] = ()) -> Tree:
        """The project's own files, apart from large ones that no template renders.

        A rendered file that Git ignores counts while it is as it was rendered: nothing of the
        user's is in it.

        Args:
            base: What the recorded version renders.
            new: The paths that another version renders.
        """
        found = {}
        for path in sorted(self.own_files | base.keys()):
            own, rendered = path in self.own_files, path in base or path in new
            if not rendered and _is_large(self.folder / path):
                continue
            entry = self.entry(path)
            if entry is not None and (own or entry.with_lf() == base[path]):
                found[path] = entry
        return found

    def raw(self, path: str) -> Entry | None:
        """A file as it lies on the disk."""
        return self._read(path)


def _is_large(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    size = path.stat().st_size
    if not LARGEST_BINARY < size <= LARGEST_TEXT:
        return size > LARGEST_TEXT
    with path.open("rb") as file:
        return b"\0" in file.read(8_192)
