"""Merges what a template changed into a project, so that none of a user's edits is missing.

Every file has three sides: as the template rendered it last, as it is in the project, and as the
template renders it now. Texts are merged by `git merge-file`; whatever cannot be merged stays as
the user has it, with the template's version beside it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from tp35 import answers_file, dependencies, formatting, git
from tp35.conflicts import clash_lines, marker_lines
from tp35.problems import Problem
from tp35.trees import Entry, Tree, write_entry

LABELS = ("before updating", "last update", "after updating")
BESIDE = ".new"


@dataclass(frozen=True)
class Sides:
    """The three sides of a merge, and which file of `theirs` took the place of one of `base`."""

    base: Tree  # as the template rendered it last
    mine: Tree  # as it is in the project, all files of the user's own included
    theirs: Tree  # as the template renders it now
    successors: Mapping[str, str] = field(default_factory=dict)
    answers_file: str = answers_file.NAME

    def edited(self, path: str) -> bool:
        """Whether the user changed or added this file."""
        return path in self.mine and not same(self.mine[path], self.base.get(path))


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two files hold the same, however their lines end."""
    if one is None or other is None:
        return one is other
    return one.with_lf() == other.with_lf()


class Left(StrEnum):
    """What an update leaves to the user, who decides."""

    MARKERS = "conflict"
    KEPT = "edits kept"


# What Git's index holds of an unmerged file: last rendering, the user's file, new rendering.
Stages = tuple[Entry | None, Entry | None, Entry | None]


@dataclass
class Merged:
    """Every file as the update leaves it, and what there is to say of some of them."""

    tree: Tree
    notes: dict[str, str] = field(default_factory=dict)
    left: dict[str, Left] = field(default_factory=dict)
    stages: dict[str, Stages] = field(default_factory=dict)

    def put(self, path: str, entry: Entry | None) -> None:
        """Let a file be so; None for no file."""
        if entry is None:
            self.tree.pop(path, None)
        else:
            self.tree[path] = entry

    def keep_beside(self, path: str, entry: Entry, taken: Callable[[str], bool]) -> str:
        """Put an entry beside a file, under a name that nothing has; gives that name."""
        numbers = ("", *(f".{number}" for number in range(1, 10_000)))
        names = (f"{path}{BESIDE}{number}" for number in numbers)
        name = next(name for name in names if name not in self.tree and not taken(name))
        self.tree[name] = entry
        self.notes[name] = f"the template's {path}"
        self.left[name] = Left.KEPT
        return name


def merge(sides: Sides, project: Path) -> Merged:
    """Merge all files.

    Args:
        sides: What to merge.
        project: The user's folder, which can hold files that Git ignores and no side has.
    """
    merged = Merged(dict(sides.mine))
    merger = _Merger(sides, merged, project, _moved_by_user(sides))
    carried = set(sides.successors.values())
    for path in sorted(sides.theirs.keys() - {sides.answers_file}):
        if path in sides.base or path not in carried:
            merger.in_place(path)
    for path in sorted(sides.base.keys() - sides.theirs.keys() - {sides.answers_file}):
        merger.gone(path)
    for path in sorted(carried - sides.base.keys()):
        merger.arrived(path)
    merger.answers()
    return merged


@dataclass(frozen=True)
class _Merger:
    sides: Sides
    merged: Merged
    project: Path
    moved: Mapping[str, str]  # by the user: a file of the template's, and where it is now

    def _taken(self, name: str) -> bool:
        if any((self.project / above).is_symlink() for above in PurePosixPath(name).parents[:-1]):
            return False  # what lies behind a link is not the project's
        return (self.project / name).exists() or (self.project / name).is_symlink()

    def in_place(self, path: str) -> None:
        """A file that the template still has, or has now."""
        base, mine, theirs = (
            side.get(path) for side in (self.sides.base, self.sides.mine, self.sides.theirs)
        )
        if theirs is None or same(mine, theirs) or same(theirs, base):
            return
        if mine is None and base is None:
            self._add(path, theirs)
        elif mine is None:
            self._deleted_by_user(path, theirs)
        elif same(mine, base):
            self.merged.put(path, _as_in(mine, theirs))
        else:
            self._join(path, base, mine, theirs)

    def _add(self, path: str, theirs: Entry) -> None:
        """A new file; one that Git ignores is in no commit, so nothing may be written over it."""
        place = self.project / path
        if not self._taken(path) or (place.is_dir() and not place.is_symlink() and self._own(path)):
            self.merged.put(path, theirs)
            return
        there = "a folder of yours" if place.is_dir() else "yours and ignored by Git"
        if place.is_file() and not place.is_symlink() and place.read_bytes() == theirs.content:
            return
        beside = self.merged.keep_beside(path, theirs, self._taken)
        self.merged.notes[beside] = f"the template's {path}, which is {there}, left alone"

    def _own(self, folder: str) -> bool:
        """Whether a folder holds nothing but what the template takes away."""
        prefix = f"{folder}/"
        inside = {
            found.relative_to(self.project).as_posix()
            for found in (self.project / folder).rglob("*")
            if not found.is_dir()
        }
        gone = self.sides.base.keys() - self.sides.theirs.keys()
        return all(
            name.startswith(prefix) and name in gone and not self.sides.edited(name)
            for name in inside
        )

    def _deleted_by_user(self, path: str, theirs: Entry) -> None:
        """Deleted stays deleted; where the user moved the file, the change is applied there."""
        base = self.sides.base[path]
        if self._taken(path):
            beside = self.merged.keep_beside(path, theirs, self._taken)
            self.merged.notes[beside] = (
                f"the template's {path}; yours is ignored by Git, left alone"
            )
            return
        if target := self.moved.get(path):
            self._join(target, base, self.sides.mine[target], theirs)
            said = f"you moved {path} here, which the template changed"
            self.merged.notes.setdefault(target, said)
            return
        self.merged.notes[path] = "you deleted it; the template changed it"

    def _join(self, path: str, base: Entry | None, mine: Entry, theirs: Entry) -> None:
        """Merge three texts at a path; where that cannot be, both versions stay."""
        joined = three_way(path, base, mine, theirs, self._configuration())
        if joined is None:
            beside = self.merged.keep_beside(path, theirs, self._taken)
            self.merged.notes[path] = f"no text that could be merged; the template's is {beside}"
            self.merged.put(path, mine)
            return
        self.merged.put(path, joined)
        if marker_lines(joined) and not marker_lines(mine):
            self.merged.left[path] = Left.MARKERS
            self.merged.stages[path] = (base, mine, theirs)

    def _configuration(self) -> Entry | None:
        """The user's `pyproject.toml`, which says how the project's code is formatted."""
        return self.sides.mine.get("pyproject.toml")

    def gone(self, path: str) -> None:
        """A file that the template has no longer: removed, carried along, or kept."""
        base, mine = self.sides.base[path], self.sides.mine.get(path)
        target = self.sides.successors.get(path)
        if mine is None:
            if target and path in self.moved:
                place = self.moved[path]
                self._join(place, base, self.sides.mine[place], self.sides.theirs[target])
                self.merged.notes.setdefault(place, f"you moved {path} here, the template {target}")
        elif same(mine, base):
            self.merged.put(path, None)
        elif target is None:
            self.merged.notes[path] = "kept with your edits; the template no longer has this file"
            self.merged.left[path] = Left.KEPT
        elif not self._carry(path, target):
            self.merged.notes[path] = f"kept with your edits; the template has {target} instead"
            self.merged.left[path] = Left.KEPT

    def _carry(self, path: str, target: str) -> bool:
        """Merge an edited file into the one that took its place, where that is free."""
        base, mine, theirs = self.sides.base[path], self.sides.mine[path], self.sides.theirs[target]
        # A file of the user's own can lie there, or the edits of another file: one that became this
        # one, or one that had this name before.
        there = self.merged.tree.get(target)
        if self.sides.edited(target) or self._taken(target) != (target in self.sides.mine):
            return False
        if there is not None and not same(there, theirs):
            return False
        if three_way(target, base, mine, theirs, self._configuration()) is None:
            return False
        self._join(target, base, mine, theirs)
        self.merged.put(path, None)
        self.merged.notes[path] = f"carried over to {target}"
        return True

    def arrived(self, path: str) -> None:
        """A file that takes the place of others: new, unless the user deleted all of them."""
        succeeded = {old for old, new in self.sides.successors.items() if new == path}
        if path in self.merged.tree and path not in self.sides.mine:
            return  # edits were carried there
        if path in self.sides.mine:
            self.in_place(path)
        elif self.sides.mine.keys() & succeeded:
            self._add(path, self.sides.theirs[path])
        else:
            self.merged.notes[path] = f"takes the place of {min(succeeded)}, which you deleted"

    def answers(self) -> None:
        """The answers file is the template's; what else the user wrote there is merged into it."""
        name = self.sides.answers_file
        base, mine, theirs = (
            side[name] for side in (self.sides.base, self.sides.mine, self.sides.theirs)
        )
        joined = three_way(name, base, mine, theirs, None)
        if joined is not None and not marker_lines(joined) and _holds_answers(joined, theirs):
            self.merged.put(name, joined)
            return
        self.merged.put(name, _as_in(mine, theirs))
        beside = self.merged.keep_beside(name, mine, self._taken)
        self.merged.notes[beside] = f"what else you wrote into {name}"


def _holds_answers(joined: Entry, theirs: Entry) -> bool:
    """Whether a merged answers file says all that the template's says."""
    try:
        found, wanted = (answers_file.parse(entry.text or "", "") for entry in (joined, theirs))
    except Problem:
        return False
    return wanted.items() <= found.items()


def _as_in(mine: Entry, theirs: Entry) -> Entry:
    """The template's file with lines that end as the user's do."""
    return theirs.with_crlf() if mine.has_crlf and theirs.text is not None else theirs


# --- texts --------------------------------------------------------------------------------------


def three_way(
    path: str, base: Entry | None, mine: Entry, theirs: Entry, configuration: Entry | None
) -> Entry | None:
    """Merge one file; None where the contents cannot be merged as text.

    Where lines clash, the merge is tried again in terms of what the file means: a list of
    dependencies as a set, Python as it looks when formatted as the user formats.
    """
    old = Entry(b"") if base is None else base
    texts = (old.with_lf(), mine.with_lf(), theirs.with_lf())
    if any(entry.text is None for entry in texts):
        return None
    joined = _merge_file(*texts)
    for other_ways in (dependencies.aligned, formatting.aligned):
        if clash_lines(joined):
            tried = [_merge_file(*three) for three in other_ways(path, *texts, configuration)]
            joined = min([joined, *tried], key=clash_lines)
    executable = theirs.executable if mine.executable == old.executable else mine.executable
    result = replace(joined, executable=executable)
    return result.with_crlf() if mine.has_crlf else result


def _merge_file(base: Entry, mine: Entry, theirs: Entry) -> Entry:
    with tempfile.TemporaryDirectory(prefix="tp35-merge-") as scratch:
        places = [Path(scratch) / name for name in ("mine", "base", "theirs")]
        for place, entry in zip(places, (mine, base, theirs), strict=True):
            place.write_bytes(entry.content)
        labels = [f"-L{label}" for label in LABELS]
        done = subprocess.run(
            ["git", "merge-file", "-p", *labels, *map(str, places)],
            capture_output=True,
            cwd=scratch,
            env=git.own_environment(),
        )
    joined = Entry(done.stdout)
    if not 0 <= done.returncode <= 127 or (done.returncode and not marker_lines(joined)):
        raise Problem(git.explained("git merge-file", done.stderr))
    return joined


# --- files that the user moved ------------------------------------------------------------------


def _moved_by_user(sides: Sides) -> dict[str, str]:
    """Which of the user's own files were files of the template's, as far as Git can tell."""
    missing = {
        path: entry
        for path, entry in sides.base.items()
        if path not in sides.mine and not same(entry, sides.theirs.get(path))
    }
    added = sides.mine.keys() - sides.base.keys() - sides.theirs.keys()
    suffixes = {PurePosixPath(path).suffix for path in missing}
    candidates = {
        path: sides.mine[path] for path in added if PurePosixPath(path).suffix in suffixes
    }
    if not missing or not candidates:
        return {}
    with tempfile.TemporaryDirectory(prefix="tp35-moved-") as scratch:
        for name, tree in (("old", missing), ("new", candidates)):
            for path, entry in tree.items():
                write_entry(Path(scratch) / name / path, entry.with_lf())
        done = subprocess.run(
            [
                "git",
                "diff",
                "--no-index",
                "--name-status",
                "-z",
                "-M",
                "--no-rename-empty",
                "old",
                "new",
            ],
            capture_output=True,
            cwd=scratch,
            env=git.own_environment(),
        )
    return dict(_renames(os.fsdecode(done.stdout).split("\0")))


def _renames(fields: list[str]) -> Iterable[tuple[str, str]]:
    """Old and new path of each renamed file in `git diff --name-status -z`."""
    remaining = iter(fields)
    for status in remaining:
        if status.startswith(("R", "C")):
            old, new = next(remaining), next(remaining)
            yield old.removeprefix("old/"), new.removeprefix("new/")
        elif status:
            next(remaining)
