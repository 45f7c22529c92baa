"""The few Git commands tp35 needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tp35.problems import Problem

# Commits are made in scratch clones only, also for users who never told Git their name.
IDENTITY = ("-c", "user.name=tp35", "-c", "user.email=tp35@localhost", "-c", "commit.gpgsign=false")


def available() -> bool:
    """Whether Git is installed."""
    return shutil.which("git") is not None


def run(*arguments: str, cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> str:
    """Run Git and give what it printed; a failure becomes a one-line problem."""
    done = subprocess.run(
        ["git", *IDENTITY, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=os.environ | (env or {}),
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise Problem(f"git {arguments[0]} failed in {cwd}: {said[-1]}")
    return done.stdout.decode(errors="surrogateescape")


def succeeds(*arguments: str, cwd: Path) -> bool:
    """Whether a Git command that only asks something says yes."""
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True)
    return done.returncode == 0


def top_of_repository(folder: Path) -> Path | None:
    """The root of the repository that holds a folder, if any does."""
    if not succeeds("rev-parse", "--show-toplevel", cwd=folder):
        return None
    return Path(run("rev-parse", "--show-toplevel", cwd=folder).rstrip("\n")).resolve()


def is_top_of_repository(folder: Path) -> bool:
    """Whether a folder is the root of a Git repository."""
    return top_of_repository(folder) == folder.resolve()


def changed_files(folder: Path, since: str = "HEAD") -> set[str]:
    """The files under a folder that differ from a commit, new ones included."""
    changed = run("diff", "--relative", "--name-only", "-z", since, cwd=folder)
    added = run("ls-files", "-z", "--others", "--exclude-standard", cwd=folder)
    return {path for path in (changed + added).split("\0") if path}


def own_files(folder: Path) -> set[str]:
    """The files under a folder that Git does not ignore."""
    listed = run("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    return {path for path in listed.split("\0") if path}


def is_dirty(folder: Path) -> bool:
    """Whether a folder holds anything that is not committed (ignored files aside)."""
    return bool(run("status", "--porcelain", "--", ".", cwd=folder).strip())


def describe(folder: Path) -> str:
    """The checked-out commit as Copier writes it into the answers file."""
    return run("describe", "--tags", "--always", "HEAD", cwd=folder).strip()
