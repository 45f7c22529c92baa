"""Completes Copier's merge, so that none of a user's edits is missing.

Copier deletes a file that the template no longer has together with the user's edits in it, and
writes its answers file anew. Every edit that its result lacks is found by comparing that with the
three sides of the merge, and put back.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tp35 import answers_file
from tp35.conflicts import marker_lines
from tp35.problems import Problem
from tp35.trees import Entry, Tree, read_entry

SAVED = ".saved"


@dataclass(frozen=True)
class Sides:
    """The three sides of a merge, and which file of `theirs` took the place of one of `base`."""

    base: Tree  # as the template rendered it last
    mine: Tree  # as it is in the project
    theirs: Tree  # as the template renders it now
    successors: Mapping[str, str]

    def edited(self, path: str) -> bool:
        """Whether the user changed or added this file."""
        return path in self.mine and self.mine[path] != self.base.get(path)

    def deleted(self, successor: str) -> bool:
        """Whether the user deleted every file that this one succeeds."""
        succeeded = {old for old, new in self.successors.items() if new == successor}
        return not self.mine.keys() & succeeded


@dataclass(frozen=True)
class Merged:
    """Every file as the update leaves it, and by path what became of edits."""

    tree: Tree
    notes: Mapping[str, str]


@dataclass(frozen=True)
class _Rescue:
    """Puts the edits of one file back: what to write, or to remove (None), and what to say."""

    changes: Mapping[str, Entry | None]
    note: str = ""


def complete(copied: Tree, sides: Sides, project: Path) -> Merged:
    """Put back every edit that Copier dropped.

    Args:
        copied: The files as Copier merged them.
        sides: What it merged.
        project: The user's folder, which can hold files that Git ignores and no side has.
    """
    merged = _with_edits(copied, sides)
    merged = _with_notes_in_answers_file(merged, sides)
    return _beside_ignored_files(merged, sides, project)


def _with_edits(copied: Tree, sides: Sides) -> Merged:
    tree, notes = dict(copied), dict[str, str]()
    for path in sorted((sides.base.keys() | sides.theirs.keys()) - {answers_file.NAME}):
        if path not in sides.mine:
            # The user deleted the file; its successor must not bring it back.
            target = sides.successors.get(path)
            if target and target not in sides.mine and sides.deleted(target):
                tree.pop(target, None)
            continue
        if not sides.edited(path):
            continue
        rescue = _rescue(path, tree, sides)
        for changed, entry in rescue.changes.items():
            if entry is None:
                tree.pop(changed, None)
            else:
                tree[changed] = entry
        if rescue.note:
            notes[path] = rescue.note
    return Merged(tree, notes)


def _rescue(path: str, tree: Tree, sides: Sides) -> _Rescue:
    """What an edited file needs, given what Copier and the rescues before it left."""
    mine, after, target = sides.mine[path], tree.get(path), sides.successors.get(path)
    if after is not None and path in sides.theirs:
        return _rescue_in_place(path, after, sides)
    if after == mine and not target:
        return _Rescue({})
    if target is None:
        return _Rescue({path: mine}, "kept as it is; the template no longer has this file")
    # A file of the user's own can lie there, or the edits of another file: one that became this
    # one, or one that had this name before.
    free = not sides.edited(target) and tree.get(target) == sides.theirs[target]
    joined = _three_way(sides.base[path], mine, sides.theirs[target]) if free else None
    # Git would hold the sides of the file that had this name before as those of a conflict.
    misleading = target in sides.mine and marker_lines(joined)
    if joined and not misleading:
        return _Rescue({target: joined, path: None}, f"carried over to {target}")
    return _Rescue({path: mine}, f"kept as it is; the template has {target} instead")


def _rescue_in_place(path: str, after: Entry, sides: Sides) -> _Rescue:
    base, mine = sides.base.get(path), sides.mine[path]
    if sides.theirs[path] == base and after != mine:
        return _Rescue({path: mine})
    if not marker_lines(after) and not _keeps_edits(base, mine, after):
        return _Rescue({path + SAVED: mine}, f"your version is beside it: {path}{SAVED}")
    return _Rescue({})


def _three_way(base: Entry, mine: Entry, theirs: Entry) -> Entry | None:
    """Merge a moved file; None where the contents cannot be merged as text."""
    if None in (base.text, mine.text, theirs.text):
        return None
    with tempfile.TemporaryDirectory(prefix="tp35-merge-") as scratch:
        sides = [Path(scratch) / name for name in ("mine", "base", "theirs")]
        for path, entry in zip(sides, (mine, base, theirs), strict=True):
            path.write_bytes(entry.content)
        labels = [f"-L{label}" for label in ("before updating", "last update", "after updating")]
        done = subprocess.run(
            ["git", "merge-file", "-p", *labels, *map(str, sides)], capture_output=True
        )
    if done.returncode < 0 or done.returncode > 127:
        raise Problem(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}")
    return Entry(done.stdout, executable=mine.executable or theirs.executable)


def _keeps_edits(base: Entry | None, mine: Entry, result: Entry) -> bool:
    """Whether every line the user added is in the result."""
    old, edited, merged = ("" if base is None else base.text, mine.text, result.text)
    if old is None or edited is None or merged is None:
        return mine.content == result.content
    if mine.executable != result.executable and (
        base is None or mine.executable != base.executable
    ):
        return False
    kept = set(merged.splitlines())
    return not (set(edited.splitlines()) - set(old.splitlines()) - kept)


def _with_notes_in_answers_file(merged: Merged, sides: Sides) -> Merged:
    """Copier writes the answers file anew; whatever else the user wrote there is kept beside it."""
    name = answers_file.NAME
    if _same_but_origin(sides.base.get(name), sides.mine.get(name)):
        return merged
    note = f"rewritten by every update; your version is beside it: {name}{SAVED}"
    return Merged({**merged.tree, name + SAVED: sides.mine[name]}, {**merged.notes, name: note})


def _same_but_origin(one: Entry | None, other: Entry | None) -> bool:
    def lines(entry: Entry | None) -> list[str]:
        text = answers_file.with_origin(entry.text or "", "", "") if entry else ""
        return [line for line in text.splitlines() if not line.startswith(("_commit", "_src_path"))]

    return lines(one) == lines(other)


def _beside_ignored_files(merged: Merged, sides: Sides, project: Path) -> Merged:
    """A file that Git ignores is in no commit, so nothing may be written over it."""
    tree, notes = dict(merged.tree), dict(merged.notes)
    for path in sorted(tree.keys() - sides.mine.keys()):
        there = read_entry(project / path)
        if there is not None and there != tree[path]:
            tree[path + ".new"] = tree.pop(path)
            notes[path] = f"yours and ignored by Git, left alone; the template's is {path}.new"
    return Merged(tree, notes)
