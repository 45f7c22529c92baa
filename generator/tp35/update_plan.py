"""What an update does to each file of a project: worked out first, then written as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tp35 import git
from tp35.conflicts import marker_lines
from tp35.merge import Left, Merged, Sides, Stages, same
from tp35.project import Project
from tp35.replacement import Change, changed_meanwhile, replace_files
from tp35.trees import Entry, Tree


class Fate(StrEnum):
    """What an update does to a file."""

    UNCHANGED = "unchanged"
    UPDATED = "updated"
    MERGED = "merged"
    CONFLICT = "conflict"
    KEPT = "edits kept"
    BESIDE = "put beside"
    NEW = "new"
    REMOVED = "removed"


@dataclass(frozen=True)
class Outcome:
    """One file before and after the update."""

    path: str
    fate: Fate
    before: Entry | None
    after: Entry | None
    note: str = ""

    def diff(self) -> str:
        """The change as a unified diff."""
        return unified_diff(self.path, self.before, self.after)


def unified_diff(path: str, before: Entry | None, after: Entry | None) -> str:
    """A change of one file as a patch."""
    old, new = ("" if entry is None else entry.text for entry in (before, after))
    if old is None or new is None:
        return f"{path}: binary files differ\n"
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


@dataclass(frozen=True)
class AnswerChange:
    """An answer before and after; None where there was or is none."""

    before: Any
    after: Any
    why: str  # empty where the user asked for it


@dataclass(frozen=True)
class Plan:
    """An update that was worked out and not yet written."""

    project: Project
    outcomes: list[Outcome]
    old_ref: str
    new_ref: str
    changed_answers: Mapping[str, AnswerChange]
    changelog: str
    remarks: tuple[str, ...]
    stages: Mapping[str, Stages]

    def left(self) -> list[tuple[str, int]]:
        """Everything the update leaves to the user, as path and line (0 for a whole file)."""
        return [
            (outcome.path, line)
            for outcome in self.outcomes
            if outcome.fate in {Fate.CONFLICT, Fate.KEPT, Fate.BESIDE}
            for line in (outcome.fate is Fate.CONFLICT and marker_lines(outcome.after)) or [0]
        ]

    @property
    def changes_files(self) -> bool:
        """Whether the update changes anything."""
        return any(outcome.before != outcome.after for outcome in self.outcomes)

    def changes(self) -> dict[str, Change]:
        """What is to be written, by path.

        Raises:
            Problem: A file is no longer what the plan was made for.
        """
        found = {}
        for outcome in self.outcomes:
            if outcome.before == outcome.after:
                continue
            if self.project.entry(outcome.path) != outcome.before:
                raise changed_meanwhile(outcome.path)
            found[outcome.path] = Change(
                self.project.raw(outcome.path),
                self.project.on_disk(outcome.path, outcome.after),
            )
        return found

    def apply(self) -> None:
        """Write the result into the project, whole or not at all.

        Raises:
            Problem: Nothing was changed, and why.
        """
        index = git.index_to_be_written(self.project.top) if self.stages else None
        replace_files(self.project.folder, self.changes(), self._mark_unmerged, index)

    def _mark_unmerged(self) -> None:
        """Tell Git about the conflicts, so that it refuses to commit them."""
        top = self.project.top
        lines = []
        for path, entries in self.stages.items():
            inside = (self.project.folder.relative_to(top) / path).as_posix()
            stages = []
            for stage, entry in enumerate(entries, start=1):
                if entry is None or entry.link:
                    continue
                blob = _blob(entry, inside, self.project)
                mode = "100755" if entry.executable else "100644"
                stages.append(f"{mode} {blob} {stage}\t{inside}")
            # Nothing at the usual stage; its name is as long as the repository's names are.
            lines += [f"0 {'0' * len(stages[0].split(' ')[1])}\t{inside}", *stages]
        if lines:
            stdin = "\0".join(lines).encode(errors="surrogateescape")
            git.run("update-index", "-z", "--index-info", cwd=top, stdin=stdin)


def _blob(entry: Entry, path: str, project: Project) -> str:
    """Write a content as Git keeps it, past the user's filters and line endings."""
    said = git.run(
        "-c", "core.safecrlf=false", "hash-object", "-w", "--stdin", f"--path={path}",
        cwd=project.top, stdin=entry.content,
    )  # fmt: skip
    return said.strip()


def _fate(path: str, sides: Sides, merged: Merged, before: Entry | None) -> Fate:
    after = merged.tree.get(path)
    if path in merged.left:
        if merged.left[path] is Left.MARKERS:
            return Fate.CONFLICT
        return Fate.KEPT if path in sides.mine else Fate.BESIDE
    if before == after:
        return Fate.UNCHANGED
    if before is None:
        # A carried-over file holds the user's edits and is new only by its place.
        return Fate.NEW if same(after, sides.theirs.get(path)) else Fate.MERGED
    if after is None:
        return Fate.REMOVED
    return Fate.MERGED if sides.edited(path) else Fate.UPDATED


def outcomes(there: Tree, sides: Sides, merged: Merged) -> list[Outcome]:
    """What becomes of every file that the template renders or the update changes.

    Args:
        there: The project's files, before any script changed them.
        sides: What was merged.
        merged: What came out.
    """
    found = []
    for path in sorted({*sides.base, *there, *sides.theirs, *merged.tree}):
        before, after = there.get(path), merged.tree.get(path)
        rendered = path in sides.base or path in sides.theirs
        if before == after and path not in merged.notes and (before is None or not rendered):
            continue
        fate = _fate(path, sides, merged, before)
        found.append(Outcome(path, fate, before, after, merged.notes.get(path, "")))
    return found
