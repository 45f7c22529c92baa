"""Runs the scripts of `hooks/` around Copier.

Copier's own tasks and migrations would make plain `copier copy` ask for trust, so the template has
none. These scripts come with the installed tp35, never with the template that is fetched.
`hooks/<stage>/*.py` run in the order of their names; one named `<version>-<what>.py` runs only when
an update crosses that version.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from packaging.version import Version

from tp35 import git, template
from tp35.problems import Problem
from tp35.versions import version

Stage = Literal["before_new", "after_new", "before_update", "after_update"]


def folder() -> Path:
    """The hooks that belong to this installation."""
    return template.root() / "hooks"


def _applies(name: str, old: str | None, new: str | None) -> bool:
    crossed = _crossed(name)
    if crossed is None:
        return True
    since, until = version(old), version(new)
    return (since is None or since < crossed) and (until is None or crossed <= until)


def _crossed(name: str) -> Version | None:
    """The version in the name of a migration."""
    named = re.match(r"(\d+(?:\.\d+)+)-", name)
    return Version(named[1]) if named else None


def missing(offered: Iterable[str], *, hooks: Path, old: str | None, new: str | None) -> list[str]:
    """The migrations of a template's version that this installation does not have."""
    return [
        path
        for path in offered
        if path.endswith(".py")
        and _crossed(PurePosixPath(path).name)
        and _applies(PurePosixPath(path).name, old, new)
        and not (hooks / Path(*PurePosixPath(path).parts[1:])).is_file()
    ]


def applicable(stage: Stage, *, hooks: Path, old: str | None, new: str | None) -> list[Path]:
    """One stage's scripts in the order in which they run."""
    return [path for path in sorted((hooks / stage).glob("*.py")) if _applies(path.name, old, new)]


def run(
    stage: Stage, project: Path, *, hooks: Path, old: str | None = None, new: str | None = None
) -> None:
    """Run one stage's scripts in the project folder; the first that fails stops everything.

    A migration can run again: who updates with plain Copier in between crosses a version without
    it, which nothing records. So each looks whether there is anything left to do.
    """
    for script in applicable(stage, hooks=hooks, old=old, new=new):
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=project,
            env=git.own_environment() | {"TP35_FROM": old or "", "TP35_TO": new or ""},
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise Problem(f"hook {stage}/{script.name}: {said[-1]}")
        sys.stderr.write(done.stderr)
