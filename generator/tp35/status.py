"""`tp35 status`: a project's version, its drift, and what there is to do; and `tp35 diff`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tp35 import conflicts, git, origin, update
from tp35.drift import TO_DO, Difference, Drift, compared
from tp35.losses import Loss, lost_since
from tp35.problems import Misuse, Problem, Unreachable
from tp35.project import Project
from tp35.renderings import scratch_folder
from tp35.template import Source
from tp35.trees import write_entry

CLEAN, SOMETHING_TO_DO, NEWER_VERSION, NOT_ASKED = 0, 1, 3, 4
COLOURS = {
    Difference.CONFLICT: "bold red",
    Difference.NOT_MERGED: "bold yellow",
    Difference.BESIDE: "bold yellow",
    Difference.IN_THE_WAY: "yellow",
    Difference.DELETED: "magenta",
    Difference.EDITED: "green",
}


@dataclass(frozen=True)
class Status:
    """What can be told of a project."""

    project: Path
    version: str
    newest: str | None  # None where the template could not be asked
    files: list[Drift] = field(default_factory=list)
    answers: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    lost: list[Loss] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)  # beside what the files say

    def exit_code(self, *, told_apart: bool) -> int:
        """What the command exits with.

        Args:
            told_apart: Whether a newer version, and one that nobody could ask for, count.
        """
        drifted = any(drift.difference in TO_DO for drift in self.files)
        if drifted or self.answers or self.lost or self.to_do:
            return SOMETHING_TO_DO
        if told_apart and self.newest is None:
            return NOT_ASKED
        return NEWER_VERSION if told_apart and self.newest != self.version else CLEAN

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "project": str(self.project),
            "version": self.version,
            "newest": self.newest,
            "files": [
                {
                    "path": drift.path,
                    "difference": drift.difference.value,
                    "line": drift.line or None,
                    "note": drift.note,
                }
                for drift in self.files
            ],
            "answers_edited": {
                key: {"files": before, "recorded": now}
                for key, (before, now) in self.answers.items()
            },
            "lost": [{"path": loss.path, "what": loss.what} for loss in self.lost],
            "remarks": self.remarks,
            "to_do": self.to_do,
        }


def look(folder: Path, source: Source, answers_name: str, since: str | None) -> Status:
    """Compare a project with its template.

    Args:
        folder: The project.
        source: Where the template is, where the project does not say.
        answers_name: The answers file.
        since: A commit of the project whose edits are to be looked for; None for none.

    Raises:
        Problem: There is no project, or no such commit.
    """
    project = Project.open(folder, answers_name)
    location = str(project.recorded.get("_src_path") or "")
    public, secret = origin.without_credentials(location)
    to_do = (
        [f"{answers_name} holds a credential: tp35 update --template {public}"] if secret else []
    )
    remarks = list(project.remarks)
    if location and not origin.is_portable(location):
        remarks.append(
            f"the template is at {public}, where others do not find it; "
            "record its URL with tp35 update --template URL"
        )
    try:
        with compared(project, source) as comparison:
            version = comparison.version.ref
            return Status(
                project.folder,
                version,
                comparison.newest,
                list(comparison.files()),
                comparison.edited_answers(),
                list(lost_since(comparison, since)) if since else [],
                [*remarks, *comparison.remarks],
                to_do,
            )
    except Unreachable as unreachable:
        if since:
            raise
        marked = conflicts.in_project(project.folder)
        return Status(
            project.folder,
            str(project.recorded.get("_commit", "unknown")),
            None,
            [Drift(path, Difference.CONFLICT, line) for path, line in marked],
            remarks=[*remarks, f"could not compare: {unreachable.message}"],
            to_do=to_do,
        )


def print_status(status: Status) -> None:
    """Print it for people."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    newest = "" if status.newest in {None, status.version} else f"; {status.newest} is out"
    console.print(f"version {status.version}{newest}")
    for remark in status.remarks:
        console.print(f"note: {remark}")
    for drift in status.files:
        place = f"{drift.path}:{drift.line}" if drift.line else drift.path
        note = f"  {drift.note}" if drift.note else ""
        label = (f"{drift.difference.value:10}", COLOURS[drift.difference])
        console.print(Text.assemble(label, f"  {place}", (note, "dim")))
    for loss in status.lost:
        console.print(Text.assemble((f"{'lost':10}", "bold red"), f"  {loss.path}  {loss.what}"))
    if status.answers:
        console.print(f"to do: {update.hand_edit_remedy('the answers file', status.answers)}")
    for remedy in status.to_do:
        console.print(f"to do: {remedy}")
    if status.exit_code(told_apart=False) == CLEAN and not status.files:
        console.print("as its template renders it" if status.newest else "nothing known to do")


# --- tp35 diff ----------------------------------------------------------------------------------


def find_project(start: Path, answers_name: str) -> Path:
    """The project that a folder is, or lies in.

    Raises:
        Problem: There is none.
    """
    for folder in (start, *start.parents):
        if (folder / answers_name).is_file():
            return folder
    raise Problem(f"neither {start} nor a folder above it has {answers_name}")


def patch(start: Path, paths: Sequence[Path], answers_name: str, *, newest: bool) -> bytes:
    """The user's edits of the template's files as `git apply` takes them.

    Args:
        start: The folder the command runs in.
        paths: Files and folders to look at; all where there are none.
        answers_name: The answers file.
        newest: Compare with the newest version instead of the recorded one.

    Raises:
        Misuse: A path lies in no project.
        Problem: There is no project, or its template cannot be read.
    """
    folder = find_project(start.resolve(), answers_name)
    wanted = [_inside(start / path, folder) for path in paths]
    project = Project.open(folder, answers_name)
    with compared(project, Source("")) as comparison, scratch_folder() as scratch:
        rendered = comparison.new if newest else comparison.base
        for name, tree in (("a", rendered), ("b", comparison.mine)):
            (scratch / name).mkdir()
            for path in rendered.keys() - {answers_name}:
                if path in tree and (not wanted or any(_under(path, one) for one in wanted)):
                    write_entry(scratch / name / path, tree[path].with_lf())
        done = subprocess.run(
            ["git", "diff", "--no-index", "--no-prefix", "--no-renames", "--binary", "a", "b"],
            cwd=scratch,
            capture_output=True,
            env=git.own_environment(),
        )
    if done.returncode > 1:
        raise Problem(git.explained("git diff", done.stderr))
    return done.stdout


def _inside(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder).as_posix()
    except ValueError as error:
        raise Misuse(f"{path} is not in the project {folder}") from error


def _under(path: str, folder: str) -> bool:
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def print_patch(found: bytes) -> None:
    """Write a patch byte for byte, as programs read it."""
    sys.stdout.buffer.write(found)
