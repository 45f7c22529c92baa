"""A template's repository, fetched once for everything that an update reads from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tp35 import git, origin
from tp35.problems import Problem, Unreachable

# Copier's short names.
SHORT_NAMES = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
CHANGELOG = "CHANGELOG.md"
UNRELEASED = re.compile(r"(?i)## \[?unreleased\b")


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

    def changes(self, old: str, new: str, *, released: bool) -> str:
        """What the changelog says at one commit that it did not say at another, by its parts.

        Args:
            old: The one before.
            new: The one after.
            released: Whether that is a release, of which "Unreleased" says nothing.
        """
        before, now = (_parts(self.text(commit, CHANGELOG) or "") for commit in (old, new))
        found = [part for part in now if part not in before]
        return "".join(part for part in found if not (released and UNRELEASED.match(part))).strip()


def _parts(changelog: str) -> list[str]:
    """A changelog's versions that say anything, each with its title."""
    found = [part for part in re.split(r"(?m)^(?=## )", changelog) if part.startswith("## ")]
    return [part.rstrip() + "\n\n" for part in found if part.partition("\n")[2].strip()]


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
