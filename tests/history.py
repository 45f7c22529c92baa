"""Past versions to update from.

Until there are releases, and in clones without tags, past versions are made from the repository's
own history: evenly spaced commits that changed the template become v0.1.0, v0.2.0, ... of a
repository whose newest release, v1.0.0, is the working tree.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from rendering import ROOT, TEMPLATE_PARTS, copy_template, git

NEWEST = "v1.0.0"
PAST = 3


@dataclass(frozen=True)
class PastVersion:
    """A tag of the built repository and where its template came from."""

    tag: str
    origin: str


def _commits() -> list[str]:
    if not (ROOT / ".git").exists():
        return []
    changed = git("log", "--reverse", "--format=%H", "--", "template", "copier.yml", cwd=ROOT)
    whole = [commit for commit in changed.split() if _has_template(commit)]
    # The newest one is what the working tree started from: updating from it shows little.
    return whole[:-1]


def _has_template(commit: str) -> bool:
    """Not so in the very first commits."""
    listed = git("ls-tree", "--name-only", commit, "copier.yml", "template", cwd=ROOT)
    return listed.split() == ["copier.yml", "template"]


def _evenly(commits: list[str], count: int) -> list[str]:
    return [commits[(index * len(commits)) // count] for index in range(count)]


def _clear(repository: Path) -> None:
    for part in TEMPLATE_PARTS:
        path = repository / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_commit(commit: str, repository: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "copier.yml", "template"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(repository, filter="data")


def _write_working_tree(repository: Path) -> None:
    copy_template(repository / "scratch")
    for part in TEMPLATE_PARTS:
        (repository / "scratch" / part).rename(repository / part)
    (repository / "scratch").rmdir()


def _write_younger(repository: Path, version: int) -> None:
    """Where the history is too short: the working tree with lines and files taken away."""
    _write_working_tree(repository)
    sources = sorted((repository / "template").rglob("src/**/*.py"))
    for number, path in enumerate(sources):
        if number % (PAST + 2) == version:
            path.unlink()
        elif number % (PAST + 2) == version + 1:
            lines = path.read_text("utf-8").splitlines(keepends=True)
            path.write_text("".join(lines[: -len(lines) // 4]), "utf-8")


def _release(repository: Path, tag: str) -> None:
    git("add", "-A", cwd=repository)
    git("commit", "--allow-empty", "-m", f"release {tag}", cwd=repository)
    git("tag", tag, cwd=repository)


def commit_before(removed: str) -> str | None:
    """The last commit of this repository that had a file; None where the history does not say."""
    if not (ROOT / ".git").exists():
        return None
    found = git(
        "log", "-1", "--diff-filter=DR", "--no-renames", "--format=%H", "--", removed, cwd=ROOT
    )
    return f"{found.strip()}^" if found else None


def build_two_versions(repository: Path, commit: str) -> Path:
    """A repository with the template of a past commit, v3.4.99, and the working tree, v3.5.0."""
    repository.mkdir(parents=True)
    git("init", cwd=repository)
    _write_commit(commit, repository)
    _release(repository, "v3.4.99")
    _clear(repository)
    _write_working_tree(repository)
    _release(repository, "v3.5.0")
    return repository


def build_history(repository: Path) -> tuple[Path, list[PastVersion]]:
    """Build the repository; gives it with its past versions, oldest first."""
    repository.mkdir(parents=True)
    git("init", cwd=repository)
    commits = _commits()
    versions = []
    for number in range(PAST):
        _clear(repository)
        if len(commits) >= PAST:
            origin = _evenly(commits, PAST)[number]
            _write_commit(origin, repository)
        else:
            origin = "working tree, cut down"
            _write_younger(repository, number)
        tag = f"v0.{number + 1}.0"
        _release(repository, tag)
        versions.append(PastVersion(tag, origin))
    _clear(repository)
    _write_working_tree(repository)
    _release(repository, NEWEST)
    return repository, versions
