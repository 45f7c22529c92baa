"""Where the template lies and which version of it this is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from tp35 import git

PACKAGED = Path(__file__).parent / "_template"
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """A template as Copier is given it: a folder or Git address, and the version to take."""

    location: str
    ref: str | None = None


@cache
def root() -> Path:
    """The template's own files: those in the wheel, or the clone this package runs from."""
    return PACKAGED if PACKAGED.is_dir() else CHECKOUT


def own_source() -> Source:
    """This installation's template.

    From a clone the commit that is checked out is rendered; Copier alone would take the latest tag.
    """
    in_clone = root() == CHECKOUT and not is_plain_folder(str(root()))
    return Source(str(root()), "HEAD" if in_clone else None)


def is_plain_folder(location: str) -> bool:
    """Whether there is a folder of which Git can tell no versions: Copier takes what lies there."""
    folder = Path(location)
    if not folder.is_dir() or folder.suffix == ".git":
        return False
    # Git may refuse to read it, since it is another user's.
    readable = git.available() and git.succeeds("rev-parse", cwd=folder)
    return not (readable and git.is_top_of_repository(folder))


def version() -> str:
    """The installed version of tp35."""
    return metadata.version("tp35")


def repository() -> str | None:
    """The public address of the template, where this distribution names one."""
    for entry in metadata.metadata("tp35").get_all("Project-URL") or []:
        label, _, address = entry.partition(", ")
        if label.lower() in {"repository", "source"}:
            return str(address)
    return None


def version_as_ref(installed: str) -> str:
    """The Git reference a version was built from: its tag, or its commit between two releases."""
    if commit := re.search(r"\+g([0-9a-f]{7,40})", installed):
        return commit[1]
    return f"v{installed}"
