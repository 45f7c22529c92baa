"""`tp35 update`: Copier's update, made safe.

Everything happens in a scratch clone of the project; the project itself is written once, at the
end, as a whole. Copier alone deletes a file that the template no longer has together with the
user's edits in it, reverts answers that were edited by hand, and exits 0 on conflicts. So the
result is compared with the two renderings it came from, and every edit that is missing is put back.
"""

from __future__ import annotations

import difflib
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tp35 import answers_file, git, hooks, moves, new
from tp35.answers_history import edited_by_hand
from tp35.conflicts import marker_lines
from tp35.problems import Problem, copier_errors_in_one_line
from tp35.questions import Answers
from tp35.template import Source
from tp35.trees import Entry, Tree, read_entry, read_tree, write_changes

SAVED = ".saved"


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
        old, new_ = ("" if entry is None else entry.text for entry in (self.before, self.after))
        if old is None or new_ is None:
            return f"{self.path}: binary files differ\n"
        lines = difflib.unified_diff(
            old.splitlines(keepends=True),
            new_.splitlines(keepends=True),
            f"a/{self.path}",
            f"b/{self.path}",
        )
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


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
    # What the three sides of a conflict are: last rendering, the user's file, new rendering.
    sides: dict[str, tuple[Entry | None, Entry | None, Entry | None]] = field(default_factory=dict)

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
        for path, sides in self.sides.items():
            inside = (self.project.resolve().relative_to(top) / path).as_posix()
            lines.append(f"0 {'0' * 40}\t{inside}")
            for stage, entry in enumerate(sides, start=1):
                if entry is None or entry.link:
                    continue
                blob = git.run("hash-object", "-w", "--stdin", cwd=top, stdin=entry.content).strip()
                lines.append(
                    f"{'100755' if entry.executable else '100644'} {blob} {stage}\t{inside}"
                )
        if lines:
            git.run("update-index", "--index-info", cwd=top, stdin="\n".join(lines).encode())


@dataclass(frozen=True)
class Merge:
    """The four versions of every file, and what became of edits."""

    old: Tree
    mine: Tree
    new: Tree
    successors: dict[str, str]

    def edited(self, path: str) -> bool:
        """Whether the user changed or added this file."""
        return path in self.mine and self.mine[path] != self.old.get(path)


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
    texts = ("" if base is None else base.text, mine.text, result.text)
    old, edited, merged = texts
    if old is None or edited is None or merged is None:
        return mine.content == result.content
    if mine.executable != result.executable and (
        base is None or mine.executable != base.executable
    ):
        return False
    kept = set(merged.splitlines())
    return not (set(edited.splitlines()) - set(old.splitlines()) - kept)


def _rescue(merge: Merge, result: Tree) -> dict[str, str]:
    """Put back every edit Copier dropped; changes `result` and says for each file how."""
    notes: dict[str, str] = {}
    for path in sorted(merge.old.keys() | merge.new.keys()):
        if path == answers_file.NAME:
            continue
        base = merge.old.get(path)
        target = merge.successors.get(path)
        if target and path not in merge.mine:
            # The user deleted the file; its successor must not bring it back.
            if target not in merge.mine:
                result.pop(target, None)
            continue
        if not merge.edited(path):
            continue
        mine = merge.mine[path]
        after = result.get(path)
        if after is not None and path in merge.new:
            if merge.new[path] == base and after != mine:
                result[path] = mine
            elif not marker_lines(after) and not _keeps_edits(base, mine, after):
                result[path + SAVED] = mine
                notes[path] = f"your version is beside it: {path}{SAVED}"
            continue
        if after == mine and not target:
            continue
        if target and base and (joined := _three_way(base, mine, merge.new[target])):
            result[target] = joined
            result.pop(path, None)
            notes[path] = f"carried over to {target}"
        else:
            result[path] = mine
            notes[path] = "kept as it is; the template no longer has this file"
            if target:
                notes[path] = f"kept as it is; the template has {target} instead"
    return notes


def _fate(path: str, merge: Merge, after: Entry | None) -> Fate:
    before = merge.mine.get(path)
    if marker_lines(after) and not marker_lines(before):
        return Fate.CONFLICT
    if before == after:
        return Fate.UNCHANGED
    if before is None:
        # A carried-over file holds the user's edits and is new only by its place.
        return Fate.NEW if after == merge.new.get(path) else Fate.MERGED
    if after is None:
        return Fate.REMOVED
    return Fate.MERGED if merge.edited(path) else Fate.UPDATED


def _outcomes(merge: Merge, result: Tree, notes: dict[str, str]) -> list[Outcome]:
    outcomes = []
    for path in sorted({*merge.old, *merge.mine, *merge.new, *result}):
        before, after = merge.mine.get(path), result.get(path)
        if before is None and after is None:
            continue
        fate, note = _fate(path, merge, after), notes.get(path, "")
        if path in notes and fate is not Fate.CONFLICT:
            fate = Fate.LOST
        if path == answers_file.NAME + SAVED:
            note = "what else you wrote into the answers file"
        elif before is None and path.endswith(SAVED):
            fate, note = Fate.CONFLICT, "your version of a file that could not be merged"
        outcomes.append(Outcome(path, fate, before, after, note))
    return outcomes


def _same_but_origin(one: Entry | None, other: Entry | None) -> bool:
    def lines(entry: Entry | None) -> list[str]:
        text = answers_file.with_origin(entry.text or "", "", "") if entry else ""
        return [line for line in text.splitlines() if not line.startswith(("_commit", "_src_path"))]

    return lines(one) == lines(other)


def _keep_notes_in_answers_file(merge: Merge, result: Tree, notes: dict[str, str]) -> None:
    """Copier writes the answers file anew; whatever else the user wrote there is kept beside it."""
    name = answers_file.NAME
    if not _same_but_origin(merge.old.get(name), merge.mine.get(name)):
        result[name + SAVED] = merge.mine[name]
        notes[name] = f"rewritten by every update; your version is beside it: {name}{SAVED}"


@contextmanager
def _scratch_clone(project: Path, top: Path) -> Iterator[Path]:
    """A throw-away clone of the project's repository that holds the working tree as it is now."""
    with tempfile.TemporaryDirectory(prefix="tp35-update-") as scratch:
        clone = Path(scratch) / "project"
        # A commit of everything that is not ignored, written beside the user's index and branches.
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git.run("read-tree", "HEAD", cwd=top, env=index)
        git.run("add", "--all", "--", ".", cwd=top, env=index)
        tree = git.run("write-tree", cwd=top, env=index).strip()
        commit = git.run("commit-tree", "-m", "before updating", tree, cwd=top).strip()
        git.run("clone", "--quiet", "--shared", "--no-checkout", str(top), str(clone), cwd=top)
        git.run("checkout", "--quiet", "--detach", commit, cwd=clone)
        yield clone / project.relative_to(top)


def _commit_all(clone: Path, message: str) -> None:
    if git.is_dirty(clone):
        git.run("add", "--all", "--", ".", cwd=clone)
        git.run("commit", "--quiet", "--no-verify", "-m", message, cwd=clone)


def _origin(recorded: dict[str, Any], source: Source) -> tuple[str, str]:
    """Where the project's template lies and which version it came from."""
    location = source.location or recorded.get("_src_path") or ""
    ref = recorded.get("_commit")
    if not ref:
        raise Problem(
            f"{answers_file.NAME} does not say which version the project came from; "
            "add `_commit: <tag>` to it and commit"
        )
    if not location or (location == "tp35" and not Path(location).exists()):
        raise Problem("the project came from a wheel; say where the template is: --template URL")
    return location, str(ref)


def prepare(
    project: Path,
    answers: Answers,
    source: Source,
    *,
    allow_dirty: bool,
    hooks_folder: Path,
    skip_hooks: bool = False,
) -> Plan:
    """Work out an update without touching the project."""
    project = project.resolve()
    recorded = answers_file.read(project)
    if not git.available():
        raise Problem("git is not installed; an update needs it")
    top = git.top_of_repository(project)
    if top is None or not git.succeeds("rev-parse", "HEAD", cwd=project):
        raise Problem(
            f"{project} is not committed to Git; run: git init && git add -A && git commit -m Start"
        )
    if not allow_dirty and git.is_dirty(project):
        raise Problem("the project has uncommitted changes; commit or stash them first")
    location, old_ref = _origin(recorded, source)
    before = answers_file.answers(recorded)

    if edits := edited_by_hand(project, Source(location, old_ref)):
        data = " ".join(f"--data {key}={now}" for key, (_, now) in edits.items())
        raise Problem(
            f"{answers_file.NAME} was edited by hand ({', '.join(edits)}), which an update would "
            f"revert; restore it from Git and run: tp35 update {data}"
        )

    with _scratch_clone(project, top) as clone, tempfile.TemporaryDirectory() as scratch:
        known = git.own_files(clone)
        base = git.run("rev-parse", "HEAD", cwd=clone).strip()
        if location != recorded.get("_src_path"):
            path = clone / answers_file.NAME
            text = answers_file.with_origin(path.read_text("utf-8"), location, old_ref)
            path.write_text(text, encoding="utf-8", newline="\n")
        if not skip_hooks:
            hooks.run("before_update", clone, hooks=hooks_folder, old=old_ref)
        _commit_all(clone, "prepared")

        _run_copier(clone, answers, source.ref)
        now = answers_file.read(clone)
        new_ref, after = str(now["_commit"]), answers_file.answers(now)
        if not skip_hooks:
            hooks.run("after_update", clone, hooks=hooks_folder, old=old_ref, new=new_ref)

        old_tree, new_tree = Path(scratch) / "old", Path(scratch) / "new"
        new.render(Source(location, old_ref), old_tree, before, defaults=True)
        try:
            new.render(Source(location, new_ref), new_tree, after, defaults=True)
        except Problem as problem:
            raise Problem(
                f"the template at {location} has no commit {new_ref}; "
                "commit its changes, or name a version with --ref"
            ) from problem
        old, rendered = read_tree(old_tree), read_tree(new_tree)
        touched = {*old, *rendered, *git.changed_files(clone, base)}
        mine = read_tree(project, touched & known)
        merge = Merge(
            old, mine, rendered, moves.successors(hooks_folder, old, rendered, before, after)
        )
        result = read_tree(clone, touched)

    notes = _rescue(merge, result)
    _keep_notes_in_answers_file(merge, result, notes)
    _spare_ignored_files(project, merge, result, notes)
    outcomes = _outcomes(merge, result, notes)
    return Plan(
        project,
        outcomes,
        old_ref,
        new_ref,
        {
            key: (before.get(key), after.get(key))
            for key in {**before, **after}
            if before.get(key) != after.get(key)
        },
        frozenset(old.keys() | rendered.keys()),
        {
            outcome.path: (
                old.get(outcome.path),
                mine.get(outcome.path),
                rendered.get(outcome.path),
            )
            for outcome in outcomes
            if outcome.fate is Fate.CONFLICT
            and marker_lines(outcome.after)
            and outcome.path in mine
        },
    )


def _spare_ignored_files(project: Path, merge: Merge, result: Tree, notes: dict[str, str]) -> None:
    """A file that Git ignores is in no commit, so nothing may be written over it."""
    for path in sorted(result.keys() - merge.mine.keys()):
        there = read_entry(project / path)
        if there is not None and there != result[path]:
            result[path + ".new"] = result.pop(path)
            notes[path] = f"yours and ignored by Git, left alone; the template's is {path}.new"


def _run_copier(clone: Path, answers: Answers, ref: str | None) -> None:
    import copier

    with copier_errors_in_one_line(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copier.run_update(
            clone,
            data=answers,
            vcs_ref=ref,
            defaults=True,
            overwrite=True,
            quiet=True,
        )
