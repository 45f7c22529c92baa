"""Faults at every change that an update makes, and at every call of Git: all is new, or nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .places import Index
from .stage import ROOT, TIMEOUT_S, Snapshot, Stage, Wrong, snapshot, staged, unprivileged
from .subjects import toy_subject
from .toy import Subject
from .zygote import Ending


@dataclass(frozen=True)
class State:
    """The project at one time: its files and folders, and what Git has registered."""

    files: Snapshot
    index: frozenset[str]

    @classmethod
    def of(cls, project: Path) -> State:
        """Look at it."""
        start = f"{project}/"
        files = {
            path.removeprefix(start): found
            for path, found in snapshot(project).items()
            if path.startswith(start) and not path.startswith(f"{start}.git/")
        }
        return cls(files, Index.of(project).entries)


@dataclass(frozen=True)
class Tally:
    """What one kind of run showed."""

    name: str
    old: int
    new: int
    wrong: list[str]

    def __str__(self) -> str:
        return f"{self.name:52} {self.old:5} as before, {self.new:5} new, {len(self.wrong)} wrong"


def _which(state: State, old: State, new: State) -> str:
    """Whether everything is old, or everything new; what it is otherwise."""
    if state == old:
        return "old"
    if state == new:
        return "new"
    files = state.files.keys() | old.files.keys() | new.files.keys()
    neither = sorted(
        path
        for path in files
        if state.files.get(path) not in (old.files.get(path), new.files.get(path))
    )
    as_old = [path for path in files if state.files.get(path) == old.files.get(path)]
    as_new = [path for path in files if state.files.get(path) == new.files.get(path)]
    if neither:
        return f"between: {neither[:4]} are neither old nor new"
    if len(as_old) < len(files) and len(as_new) < len(files):
        return f"between: {len(files) - len(as_old)} are new, {len(files) - len(as_new)} are old"
    return "between: Git's index is of another time than the files"


def _said(ending: Ending, which: str) -> Iterator[str]:
    """What is wrong with the words and the exit code."""
    if ending.code == -signal.SIGKILL:
        return
    if "Traceback" in ending.err:
        yield f"traceback: {ending.err.strip().splitlines()[-1]}"
    elif which == "old" and (ending.code <= 0 or len(ending.err.strip().splitlines()) != 1):
        yield f"exit code {ending.code}, says {ending.err.strip()[-300:]!r}"
    elif which == "new" and "nothing was changed" in ending.err:
        yield f"all is new, but it says {ending.err.strip()!r}"


def in_changes(root: Path, subject: Subject, clashing: bool, jobs: int) -> Iterator[Tally]:
    """Faults at each change of the project's folder, from the first on."""
    with staged(root / "plain", subject, clashing) as stage:
        old = State.of(stage.project)
        stage.update()
        new = State.of(stage.project)
    with staged(root / "stage", subject, clashing) as stage:
        results = root / "results"
        results.mkdir()
        zygote = [sys.executable, "-m", "tests.updates.zygote", stage.project, results]
        done = subprocess.run(
            [*unprivileged(), *map(str, zygote), "update", str(stage.project)],
            cwd=ROOT,
            env=stage.environment,
            capture_output=True,
            text=True,
            timeout=20 * TIMEOUT_S,
        )
        if not (results / "endings.json").exists():
            raise Wrong(f"no faults were tried: {done.stdout} {done.stderr}")
        endings = [Ending(**row) for row in json.loads((results / "endings.json").read_text())]

        def judge(ending: Ending) -> tuple[str, str, list[str]]:
            kept = Path(ending.kept)
            wrong = list[str]()
            if ending.code == -signal.SIGKILL or _kept_from_clearing_up(ending):
                wrong += _restored(stage, kept)
            which = _which(State.of(kept), old, new)
            wrong += _said(ending, which)
            if which not in ("old", "new"):
                wrong.append(which)
            what = f"{ending.fault} at change {ending.number}, {ending.event.splitlines()[0]}"
            shutil.rmtree(kept)
            return ending.fault, which, [f"{what}: {line}" for line in wrong]

        with ThreadPoolExecutor(jobs) as pool:
            judged = list(pool.map(judge, endings))
    for fault in dict.fromkeys(ending.fault for ending in endings):
        mine = [row for row in judged if row[0] == fault]
        counts = Counter(which for _, which, _ in mine)
        name = f"{fault}, at each change{', with a clash' if clashing else ''}"
        wrong = [line for *_, lines in mine for line in lines]
        yield Tally(name, counts["old"], counts["new"], wrong)


def _kept_from_clearing_up(ending: Ending) -> bool:
    """Whether it could not remove something of its own, which is left to the next command."""
    removing = re.match(r"os\.(remove|rmdir) ", ending.event)
    return bool(removing) and ".tp35-update" in ending.event.splitlines()[0]


def _restored(stage: Stage, kept: Path) -> Iterator[str]:
    """Run the next command in a folder that a killed one left."""
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-m", "tp35", "status", str(kept)],
        env=stage.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if "Traceback" in done.stderr or done.returncode not in (0, 1):
        yield f"the next command ends with {done.returncode}: {done.stderr.strip()[-300:]}"


# --- calls of Git -------------------------------------------------------------------------------

# Counts its calls; at one of them it fails, is killed, or kills the one who called.
SHIM = """\
echo "$*" >>"{calls}"
number=$(wc -l <"{calls}")
if [ "$number" -eq "$(cat "{at}")" ]; then
  {fault}
fi
exec {git} "$@"
"""
GIT_FAULTS = {
    "Git fails": "echo 'fatal: out of order' >&2; exit 128",
    "Git is killed": "kill -KILL $$",
    "Git says nothing": "exit 1",
    "SIGTERM": "kill -TERM $PPID; sleep 0.2",
    "SIGKILL": "kill -KILL $PPID; sleep 0.2",
}
# Of these an answer may be "no", which is no fault.
ASKING = ("cat-file -e", "check-ignore", "config --get", "merge-base", "rev-parse", "--version")


def in_calls_of_git(root: Path, subject: Subject, clashing: bool, jobs: int) -> Iterator[Tally]:
    """Faults at each call of Git."""
    calls, _ = _with_shim(root / "counting", subject, clashing, 0, "")
    with staged(root / "plain", subject, clashing) as stage:
        old = State.of(stage.project)
        stage.update()
        new = State.of(stage.project)
    for name, fault in GIT_FAULTS.items():

        def run(number: int, name: str = name, fault: str = fault) -> tuple[str, list[str]]:
            place = root / f"{name} {number}"
            _, (which, wrong) = _with_shim(place, subject, clashing, number, fault, old, new)
            return which, [
                f"{name} at call {number}, {calls[number - 1]}: {line}" for line in wrong
            ]

        with ThreadPoolExecutor(jobs) as pool:
            judged = list(pool.map(run, range(1, len(calls) + 1)))
        counts = Counter(which for which, _ in judged)
        title = f"{name}, at each call of Git{', with a clash' if clashing else ''}"
        yield Tally(
            title, counts["old"], counts["new"], [line for _, lines in judged for line in lines]
        )


def _with_shim(
    root: Path,
    subject: Subject,
    clashing: bool,
    number: int,
    fault: str,
    old: State | None = None,
    new: State | None = None,
) -> tuple[list[str], tuple[str, list[str]]]:
    """Update with a Git that fails at one call; the calls, and how it ended."""
    with staged(root, subject, clashing) as stage:
        scripts = stage.root / "scripts"
        scripts.mkdir()
        calls, at = scripts / "calls", scripts / "at"
        at.write_text(f"{number}\n")
        real = shutil.which("git")
        stage.script(scripts / "git", SHIM.format(calls=calls, at=at, fault=fault or ":", git=real))
        stage.environment["PATH"] = f"{scripts}:{os.environ['PATH']}"
        ran = stage.update()
        made = calls.read_text().splitlines()
        if old is None or new is None:
            return made, ("", [])
        killed = ran.code == -signal.SIGKILL
        wrong = list(_restored(stage, stage.project)) if killed else []
        which = _which(State.of(stage.project), old, new)
        asked = any(word in made[number - 1] for word in ASKING)
        ending = Ending("", number, "", ran.code, ran.out, ran.err, "")
        if which == "old" or not asked:
            wrong += _said(ending, which)
        if which not in ("old", "new"):
            wrong.append(which)
        if not killed:
            left = sorted(path.name for path in (*stage.tmp.iterdir(), *stage.home.iterdir()))
            wrong += [f"left behind: {left}"] if left else []
    return made, (which, wrong)


def try_faults(root: Path, jobs: int) -> Iterator[Tally]:
    """All faults, on updates without a clash and with one."""
    subject = toy_subject(root / "toy")
    for clashing in (False, True):
        yield from in_changes(root / f"changes-{clashing}", subject, clashing, jobs)
    for clashing in (False, True):
        yield from in_calls_of_git(root / f"calls-{clashing}", subject, clashing, jobs)
