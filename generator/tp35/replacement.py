"""Replaces many files of a folder as one change: everything is new, or everything is as it was.

The new files are written into a folder beside the old ones first, with a journal of what is to be
done. Then nothing but renaming is left: each old file into that folder, each new one out of it.
What fails is renamed back, which needs no room on the disk, keeps owners and modes, and can be done
by the next command where this process was killed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from tp35.problems import Problem
from tp35.stopping import to_the_end
from tp35.trees import Entry, read_entry, write_entry

FOLDER = ".tp35-update"
JOURNAL, DONE, FINISHED = "journal.json", "done.json", "finished.path"
# Beside what is written: a little for the folders.
SPARE_BYTES = 1_000_000


@dataclass(frozen=True)
class Change:
    """What lies at a path, and what is to lie there; None for no file."""

    before: Entry | None
    after: Entry | None


def replace_files(
    root: Path,
    changes: Mapping[str, Change],
    finish: Callable[[], None] = lambda: None,
    finished: Path | None = None,
) -> None:
    """Write and remove files so that either all changes happen or none.

    Args:
        root: The folder.
        changes: By POSIX path.
        finish: Done before the change counts; where it fails, everything is put back.
        finished: The file elsewhere that it changes, which is put back as well.

    Raises:
        Problem: Nothing was changed, and why.
    """
    restore(root)
    _check(root, changes)
    scratch = root / FOLDER
    try:
        scratch.mkdir()
    except FileExistsError as error:
        raise _busy(root) from error
    with to_the_end():
        try:
            with _locked(scratch):
                _check_unchanged(root, changes)
                _stage(root, scratch, changes)
                _perform(root, scratch)
                if finished is not None:
                    _keep_aside(finished, scratch)
                finish()
                (scratch / JOURNAL).rename(scratch / DONE)
            with suppress(OSError):  # an empty folder does no harm
                _prune(root, [path for path, change in changes.items() if change.after is None])
        except OSError as error:
            where, reason = error.filename or root, error.strerror
            if error.errno == errno.EXDEV:
                where, reason = error.filename2, f"it is not on the file system of {root}"
            raise Problem(f"cannot write {where}: {reason}; nothing was changed") from error
        finally:
            _undo(root, scratch)


def restore(root: Path) -> bool:
    """Put back what a killed update left half-way; whether there was any.

    Raises:
        Problem: The update is still at work, or the folder is the user's.
    """
    scratch = root / FOLDER
    if scratch.is_symlink() or not scratch.is_dir():
        return False
    if any(scratch.iterdir()) and not (scratch / "lock").exists():
        raise Problem(f"{scratch} is no folder of tp35's; rename it, then run this again")
    with _locked(scratch), to_the_end():
        half_way = (scratch / JOURNAL).is_file()
        _undo(root, scratch)
    return half_way


def changed_meanwhile(path: str) -> Problem:
    """What to say of a file that something wrote since the change was worked out."""
    return Problem(f"{path} was changed meanwhile; update again")


def _busy(root: Path) -> Problem:
    return Problem(f"another update is writing {root}; run this again when it has ended")


@contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    # The system lets go of it, however the process ends.
    lock = FileLock(scratch / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise _busy(scratch.parent) from error
    try:
        yield
    finally:
        lock.release()


# --- what can be foreseen -----------------------------------------------------------------------


def check_ways(root: Path, changes: Mapping[str, Change]) -> None:
    """Refuse changes where something of the user's is in the way, or leads elsewhere.

    Raises:
        Problem: What it is, and what to do about it.
    """
    for path, change in changes.items():
        _check_way(root, path, change, changes)


def _check(root: Path, changes: Mapping[str, Change]) -> None:
    """Refuse what would fail half-way."""
    check_ways(root, changes)
    folders = {root}
    for path in changes:
        folders.add(_nearest_folder((root / path).parent))
    for folder in folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Problem(f"no permission to write into {folder}; nothing was changed")
    needed = sum(len(change.after.content) for change in changes.values() if change.after)
    if shutil.disk_usage(root).free < needed + SPARE_BYTES:
        raise Problem(f"the disk is full: {root} needs {needed + SPARE_BYTES} bytes; make room")


def _check_way(root: Path, path: str, change: Change, changes: Mapping[str, Change]) -> None:
    """Nothing but folders may lie above a file, and nothing but a file where it goes."""
    for parent in reversed(PurePosixPath(path).parents[:-1]):
        place = root / parent
        if place.is_symlink():
            raise Problem(
                f"{parent} is a link to {place.readlink()}, and the template has {path} there; "
                "put a folder in its place, then update again"
            )
        leaves = changes.get(str(parent), Change(None, change.after)).after is None
        if place.exists() and not place.is_dir() and not leaves:
            raise Problem(_in_the_way(str(parent), "a file", path))
    place = root / path
    if change.after is None or place.is_symlink() or not place.exists() or place.is_file():
        return
    if not place.is_dir():
        raise Problem(_in_the_way(path, "no regular file", path))
    inside = {
        found.relative_to(root).as_posix() for found in place.rglob("*") if not found.is_dir()
    }
    if any(changes.get(name, Change(None, change.after)).after is not None for name in inside):
        raise Problem(_in_the_way(path, "a folder with files of yours", path))


def _in_the_way(place: str, what: str, path: str) -> str:
    return f"{place} is {what}, and the template has {path}; rename yours, then update again"


def _nearest_folder(folder: Path) -> Path:
    return folder if folder.is_dir() else _nearest_folder(folder.parent)


def _check_unchanged(root: Path, changes: Mapping[str, Change]) -> None:
    for path, change in changes.items():
        if read_entry(root / path) != change.before:
            raise changed_meanwhile(path)


# --- the change ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """A row of the journal: one path, and what is to be done there."""

    path: str
    number: int
    had_file: bool
    gets_file: bool


def _stage(root: Path, scratch: Path, changes: Mapping[str, Change]) -> None:
    """Write everything that is new, and the journal at the end."""
    # Whatever the user's Git does meanwhile, this folder is nothing to it.
    (scratch / ".gitignore").write_text("*\n")
    for name in ("old", "new", "folders"):
        (scratch / name).mkdir()
    steps = []
    for number, (path, change) in enumerate(changes.items()):
        steps.append([path, number, change.before is not None, change.after is not None])
        if change.after is not None:
            staged = scratch / "new" / str(number)
            write_entry(staged, change.after)
            _keep_mode(root / path, staged, change)
    text = json.dumps(steps)
    (scratch / "journal.part").write_text(text)
    (scratch / "journal.part").rename(scratch / JOURNAL)


def _keep_mode(old: Path, staged: Path, change: Change) -> None:
    """Give the new file the permissions of the old one, where there is one."""
    if change.before is None or change.after is None or change.before.link or change.after.link:
        return
    mode = old.stat().st_mode & 0o777
    if change.before.executable != change.after.executable:
        mode = mode | (mode & 0o444) >> 2 if change.after.executable else mode & ~0o111
    if mode != staged.stat().st_mode & 0o777:
        staged.chmod(mode)


def _steps(scratch: Path) -> list[_Step]:
    try:
        return [_Step(*row) for row in json.loads((scratch / JOURNAL).read_text())]
    except FileNotFoundError:
        return []


def _perform(root: Path, scratch: Path) -> None:
    steps = _steps(scratch)
    for step in steps:
        if step.had_file:
            (root / step.path).rename(scratch / "old" / str(step.number))
    for step in steps:
        if step.gets_file:
            target = root / step.path
            if target.is_dir() and not target.is_symlink():
                target.rename(scratch / "folders" / str(step.number))
            target.parent.mkdir(parents=True, exist_ok=True)
            (scratch / "new" / str(step.number)).rename(target)


def _keep_aside(path: Path, scratch: Path) -> None:
    """Copy a file, with a note of where it belongs once the copy is whole."""
    shutil.copy2(path, scratch / "finished")
    # As seen from the folder, which may be moved before the next command finds it half-way.
    place = os.path.relpath(path, scratch.parent)
    (scratch / "finished.part").write_bytes(os.fsencode(place))
    (scratch / "finished.part").rename(scratch / FINISHED)


def _put_back(scratch: Path) -> None:
    """The file that was kept aside, where it was changed."""
    path = scratch.parent / os.fsdecode((scratch / FINISHED).read_bytes())
    kept = scratch / "finished"
    if path.read_bytes() == kept.read_bytes():
        return
    try:
        kept.replace(path)  # for which a full disk has room
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = path.with_name(f"{path.name}.tp35")
        shutil.copy2(kept, beside)
        beside.replace(path)


def _undo(root: Path, scratch: Path) -> None:
    """Put back whatever the journal says was begun, and remove the folder.

    Folders that were there have stayed, or are kept as well: nothing has to be made anew, for which
    a full disk might have no room.
    """
    steps = _steps(scratch) if scratch.is_dir() else []
    if steps and (scratch / FINISHED).exists():
        _put_back(scratch)
    for step in steps:
        placed = step.gets_file and not os.path.lexists(scratch / "new" / str(step.number))
        if placed and os.path.lexists(root / step.path):
            (root / step.path).unlink()
        folder = scratch / "folders" / str(step.number)
        if folder.is_dir():
            folder.rename(root / step.path)
    for step in steps:
        kept = scratch / "old" / str(step.number)
        if os.path.lexists(kept):
            kept.rename(root / step.path)
    _prune(root, [step.path for step in steps if step.gets_file and not step.had_file])
    # Without a journal there is nothing left to put back, so it goes first.
    (scratch / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)


def _prune(root: Path, paths: list[str]) -> None:
    """Remove the folders that these files left empty."""
    for path in paths:
        for parent in PurePosixPath(path).parents[:-1]:
            folder = root / parent
            if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
