"""Rendering the template in tests, without trust and without the user's settings."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import copier

ROOT = Path(__file__).parents[1]
# Set in the environment of a process that is not to be measured.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
TEMPLATE_PARTS = ("copier.yml", "hooks", "template")


def git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def copy_template(destination: Path) -> Path:
    """Copy what a wheel carries out of the working tree."""
    destination.mkdir(parents=True)
    for part in TEMPLATE_PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".*_cache")
            shutil.copytree(source, destination / part, ignore=ignore)
        else:
            shutil.copy2(source, destination / part)
    return destination


def render(
    source: Path,
    destination: Path,
    answers: Mapping[str, Any] | None = None,
    ref: str | None = None,
) -> Path:
    """Plain `copier copy --defaults`."""
    copier.run_copy(
        str(source), destination, data=dict(answers or {}), vcs_ref=ref, defaults=True, quiet=True
    )
    return destination


def update(project: Path, answers: Mapping[str, Any] | None = None, ref: str | None = None) -> None:
    """Plain `copier update --defaults`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copier.run_update(
            project,
            data=dict(answers or {}),
            vcs_ref=ref,
            defaults=True,
            overwrite=True,
            quiet=True,
        )


def commit_all(folder: Path, message: str = "change") -> None:
    git("add", "-A", cwd=folder)
    git("commit", "--allow-empty", "-m", message, cwd=folder)


def started(folder: Path) -> Path:
    """Make a rendered project a repository with one commit."""
    git("init", cwd=folder)
    commit_all(folder, "start")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file's content by its path, Git's own left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
