"""A template's repository, fetched once for everything that an update reads from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.version import Version

from tp35 import git, origin, versions
from tp35.problems import Problem, Unreachable

# Copier's short names.
SHORT_NAMES = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
CHANGELOG = "CHANGELOG.md"


def address(location: str) -> str:
    """What Git is to be told for a `_src_path`."""
    for short, long in SHORT_NAMES.items():
        if location.startswith(short):
            location = long + location.removeprefix(short).lstrip("/")
    location = location.removeprefix("git+")
    return str(Path(location).expanduser()) if location.startswith("~") else location


def tags(location: str) -> list[str]:
    """The template's tags, asked where it lies; nothing is fetched.

    Raises:
        Problem: The repository cannot be read.
    """
    public = origin.without_credentials(location)[0]
    listed = git.run(
        "ls-remote", "--tags", "--refs", "--", address(location),
        cwd=Path.cwd(), env=git.fetching_environment(), about=public,
    )  # fmt: skip
    return [line.rpartition("refs/tags/")[2] for line in listed.splitlines()]


@dataclass(frozen=True)
class TemplateRepository:
    """A clone of our own."""

    location: str
    folder: Path

    def _git(self, *arguments: str) -> str:
        return git.run(*arguments, cwd=self.folder, env=git.own_environment())

    @cached_property
    def tags(self) -> list[str]:
        """Every tag."""
        return self._git("tag", "--list").split()

    def commit(self, ref: str) -> str | None:
        """The commit that a tag, branch, commit or recorded `_commit` names, if there is one."""
        # A branch is one of the place that was cloned.
        for name in (f"refs/tags/{ref}", f"refs/remotes/origin/{ref}", ref):
            asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            if git.says_yes(*asked, cwd=self.folder, env=git.own_environment()):
                # with --end-of-options the first line is that option in older versions
                return self._git(*asked).split()[-1]
        return None

    def describe(self, commit: str) -> str:
        """A commit as Copier records it."""
        return self._git("describe", "--tags", "--always", commit).strip()

    def contains(self, younger: str, older: str) -> bool:
        """Whether one commit comes after another, or is it."""
        asked = ("merge-base", "--is-ancestor", older, younger)
        return git.says_yes(*asked, cwd=self.folder, env=git.own_environment())

    def text(self, commit: str, path: str) -> str | None:
        """A file's text at a commit; None where there is none."""
        if not git.has_file(commit, path, self.folder, git.own_environment()):
            return None
        return self._git("show", f"{commit}:{path}")

    def files(self, commit: str, folder: str) -> list[str]:
        """The files below a folder at a commit."""
        listed = self._git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/")
        return [path for path in listed.split("\0") if path]

    def changes(self, old: str, new: str, commit: str) -> str:
        """What the changelog says of the versions after one, up to another.

        Args:
            old: The recorded `_commit` of a project.
            new: The same of its next version.
            commit: Where that lies.
        """
        since, until = versions.version(old), versions.version(new)
        parts = re.split(r"(?m)^(?=## )", self.text(commit, CHANGELOG) or "")
        return "".join(part for part in parts if _is_of(part, since, until, new)).strip()


def _is_of(part: str, since: Version | None, until: Version | None, new: str) -> bool:
    """Whether a part of the changelog belongs to a version in a range."""
    titled = re.match(r"## \[?([^\]\s]+)\]?", part)
    if not titled:
        return False
    if titled[1].lower() == "unreleased":
        return (until is None or versions.is_between_releases(new)) and bool(
            part.partition("\n")[2].strip()
        )
    of = versions.version(titled[1])
    return of is not None and (since is None or of > since) and (until is None or of <= until)


def fetch(location: str, scratch: Path) -> TemplateRepository:
    """Clone a template's repository into a scratch folder.

    Args:
        location: Where it lies; credentials in it are used, and told to nobody.
        scratch: The folder.

    Raises:
        Unreachable: It cannot be read, or is no Git repository.
    """
    folder, public = scratch / "template", origin.without_credentials(location)[0]
    options = ("--quiet", "--no-checkout", "--origin=origin", "--template=")
    places = ("--", address(location), str(folder))
    env = git.fetching_environment()
    try:
        git.run("clone", *options, *places, cwd=scratch, env=env, about=public)
    except Problem as problem:
        raise Unreachable(problem.message) from problem
    return TemplateRepository(public, folder)
