"""Whose work a bundle is: the project that this package belongs to, and its commit."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import yaml

PACKAGE = Path(__file__).resolve().parent
SETTINGS = "pyproject.toml"
ANSWERS = ".copier-answers.yml"


@dataclass(frozen=True)
class Project:
    """What a project says of itself.

    Attributes:
        name: for people.
        slug: of the distribution.
        description: one line; empty where there is none.
        license: as SPDX has it; empty where the project gives none.
    """

    name: str
    slug: str
    description: str = ""
    license: str = ""

    @classmethod
    def own(cls) -> Self:
        """The project of this package: its folder says so, or else what was installed of it."""
        folder = project_folder()
        return cls._installed() if folder is None else cls._in_folder(folder)

    @classmethod
    def _in_folder(cls, folder: Path) -> Self:
        settings: Mapping[str, Any] = tomllib.loads(_text(folder / SETTINGS))["project"]
        slug, license = settings["name"], settings.get("license", "")
        return cls(
            _answers(folder).get("project_name", slug),
            slug,
            settings.get("description", ""),
            license if isinstance(license, str) else "",  # a table, in an older form
        )

    @classmethod
    def _installed(cls) -> Self:
        names = importlib.metadata.packages_distributions().get(PACKAGE.name)
        if not names:
            return cls(PACKAGE.name, PACKAGE.name)
        known = importlib.metadata.metadata(names[0]).json
        slug = str(known["name"])
        return cls(
            slug, slug, str(known.get("summary", "")), str(known.get("license_expression", ""))
        )

    def to_dict(self) -> dict[str, str]:
        """Plain data, ready for JSON."""
        return asdict(self)


def project_folder() -> Path | None:
    """Where the project of this package lies; None where it was installed from elsewhere."""
    for folder in (PACKAGE.parents[1], Path.cwd()):
        if (folder / "src" / PACKAGE.name).is_dir() and _names_a_project(folder / SETTINGS):
            return folder
    return None


def commit() -> str | None:
    """The commit of the project, with `-dirty` behind it where tracked files differ from it.

    None where its files are in no repository, or in one of somebody else's that does not track
    them; where it has no commit; and where Git is missing or refuses to read it.
    """
    folder = project_folder()
    if folder is None or _git(folder, "ls-files", "--error-unmatch", SETTINGS) is None:
        return None
    found = _git(folder, "rev-parse", "--verify", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    if found is None or changed is None:
        return None
    return f"{found}-dirty" if changed else found


def _git(folder: Path, *arguments: str) -> str | None:
    """What a command of Git says in a folder; None where it fails."""
    # a hook of Git sets variables that name another repository
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    command = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments)
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _names_a_project(settings: Path) -> bool:
    try:
        return "name" in tomllib.loads(_text(settings)).get("project", {})
    except (OSError, ValueError):  # none, or damaged
        return False


def _answers(folder: Path) -> dict[str, Any]:
    """The answers that the project was made with; empty where they are gone or damaged."""
    try:
        answers = yaml.safe_load(_text(folder / ANSWERS))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
