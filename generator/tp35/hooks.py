"""Runs the scripts of `hooks/` around Copier.

Copier's own tasks and migrations would make plain `copier copy` ask for trust, so the template has
none. These scripts come with the installed tp35, never with the template that is fetched.
`hooks/<stage>/*.py` run in the order of their names; one named `<version>-<what>.py` runs only when
an update crosses that version.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

from packaging.version import InvalidVersion, Version

from tp35 import template
from tp35.problems import Problem

Stage = Literal["before_new", "after_new", "before_update", "after_update"]


def folder() -> Path:
    """The hooks that belong to this installation."""
    return template.root() / "hooks"


def _version(ref: str | None) -> Version | None:
    """The version a recorded `_commit` names; None for a bare commit."""
    try:
        # `v3.5.0-4-gabc1234` is four commits after 3.5.0.
        return Version(re.sub(r"-\d+-g[0-9a-f]+$", "", ref or ""))
    except InvalidVersion:
        return None


def _applies(script: Path, old: str | None, new: str | None) -> bool:
    named = re.match(r"(\d+(?:\.\d+)+)-", script.name)
    if not named:
        return True
    crossed, since, until = Version(named[1]), _version(old), _version(new)
    return (since is None or since < crossed) and (until is None or crossed <= until)


def run(
    stage: Stage, project: Path, *, hooks: Path, old: str | None = None, new: str | None = None
) -> None:
    """Run one stage's scripts in the project folder; the first that fails stops everything."""
    for script in sorted((hooks / stage).glob("*.py")):
        if not _applies(script, old, new):
            continue
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=project,
            env=os.environ | {"TP35_FROM": old or "", "TP35_TO": new or ""},
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise Problem(f"hook {stage}/{script.name}: {said[-1]}")
        sys.stderr.write(done.stderr)
