"""What an update does to each file of a project: worked out first, then written as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tp35 import answers_file, git
from tp35.conflicts import marker_lines
from tp35.trees import Entry, write_changes
from tp35.update_merge import SAVED, Merged, Sides


class Fate(StrEnum):
    """What an update does to a file."""

    UNCHANGED = "unchanged"
    UPDATED = "updated"
    MERGED = "merged"
    CONFLICT = "conflict"
    LOST = "your edits would be lost"
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
        old, new = ("" if entry is None else entry.text for entry in (self.before, self.after))
        if old is None or new is None:
            return f"{self.path}: binary files differ\n"
        lines = difflib.unified_diff(
            old.splitlines(keepends=True),
            new.splitlines(keepends=True),
            f"a/{self.path}",
            f"b/{self.path}",
        )
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


# What Git's index holds of an unmerged file: last rendering, the user's file, new rendering.
Stages = tuple[Entry | None, Entry | None, Entry | None]


@dataclass(frozen=True)
class Plan:
    """An update that was worked out and not yet written."""

    project: Path
    outcomes: list[Outcome]
    old_ref: str
    new_ref: str
    changed_answers: dict[str, tuple[Any, Any]]
    # The files the template renders, before or after; all others are the user's own.
    rendered: frozenset[str]
    stages: Mapping[str, Stages]

    def conflicts(self) -> list[tuple[str, int]]:
        """Every conflict the update leaves, as path and line (0 for files kept beside)."""
        return [
            (outcome.path, line)
            for outcome in self.outcomes
            if outcome.fate is Fate.CONFLICT
            for line in marker_lines(outcome.after) or [0]
        ]

    def apply(self) -> None:
        """Write the result into the project, whole or not at all."""
        changes = {
            outcome.path: outcome.after
            for outcome in self.outcomes
            if outcome.before != outcome.after
        }
        write_changes(self.project, changes)
        self._mark_unmerged()

    def _mark_unmerged(self) -> None:
        """Tell Git about the conflicts, so that it refuses to commit them."""
        top = git.top_of_repository(self.project)
        if top is None:
            return
        lines = []
        for path, entries in self.stages.items():
            inside = (self.project.resolve().relative_to(top) / path).as_posix()
            lines.append(f"0 {'0' * 40}\t{inside}")
            for stage, entry in enumerate(entries, start=1):
                if entry is None or entry.link:
                    continue
                blob = git.run("hash-object", "-w", "--stdin", cwd=top, stdin=entry.content).strip()
                lines.append(
                    f"{'100755' if entry.executable else '100644'} {blob} {stage}\t{inside}"
                )
        if lines:
            git.run("update-index", "--index-info", cwd=top, stdin="\n".join(lines).encode())


def _fate(path: str, sides: Sides, after: Entry | None) -> Fate:
    before = sides.mine.get(path)
    if marker_lines(after) and not marker_lines(before):
        return Fate.CONFLICT
    if before == after:
        return Fate.UNCHANGED
    if before is None:
        # A carried-over file holds the user's edits and is new only by its place.
        return Fate.NEW if after == sides.theirs.get(path) else Fate.MERGED
    if after is None:
        return Fate.REMOVED
    return Fate.MERGED if sides.edited(path) else Fate.UPDATED


def outcomes(sides: Sides, merged: Merged) -> list[Outcome]:
    """What becomes of every file that the template renders, the user has or the merge adds."""
    found = []
    for path in sorted({*sides.base, *sides.mine, *sides.theirs, *merged.tree}):
        before, after = sides.mine.get(path), merged.tree.get(path)
        if before is None and after is None:
            continue
        fate, note = _fate(path, sides, after), merged.notes.get(path, "")
        if path in merged.notes and fate is not Fate.CONFLICT:
            fate = Fate.LOST
        if path == answers_file.NAME + SAVED:
            note = "what else you wrote into the answers file"
        elif before is None and path.endswith(SAVED):
            fate, note = Fate.CONFLICT, "your version of a file that could not be merged"
        found.append(Outcome(path, fate, before, after, note))
    return found


def conflict_stages(found: Iterable[Outcome], sides: Sides) -> dict[str, Stages]:
    """The files that Git is to hold as unmerged: those with conflict markers in them."""
    return {
        outcome.path: (
            sides.base.get(outcome.path),
            sides.mine.get(outcome.path),
            sides.theirs.get(outcome.path),
        )
        for outcome in found
        if outcome.fate is Fate.CONFLICT
        and marker_lines(outcome.after)
        and outcome.path in sides.mine
    }
