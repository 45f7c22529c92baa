"""Which rendered file became which, from one version or one set of answers to the next."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import yaml

from tp35.questions import Answers
from tp35.trees import Tree

PACKAGE = "{{ package_name }}"


def table(hooks: Path) -> dict[str, str | None]:
    """The rows of `moves.yml` over all versions: old path to new path, None for deleted files."""
    path = hooks / "moves.yml"
    if not path.is_file():
        return {}
    versions: dict[str, list[dict[str, str | None]]] = yaml.safe_load(path.read_text("utf-8")) or {}
    return {str(row["from"]): row["to"] for rows in versions.values() for row in rows}


def _package_place(path: str, package: str, placeholder: str) -> str:
    parts = PurePosixPath(path).parts
    if parts[0] != "src":
        return path
    return str(PurePosixPath(*(placeholder if part == package else part for part in parts)))


def successors(
    hooks: Path, old: Tree, new: Tree, before: Answers, after: Answers
) -> dict[str, str]:
    """For each file that is gone from the new rendering: the file that took its place, if any.

    A file moves when the template moves it (the table) or when the package is renamed.
    """
    moved = table(hooks)
    found: dict[str, str] = {}
    for path in old.keys() - new.keys():
        place: str | None = _package_place(path, str(before.get("package_name")), PACKAGE)
        seen = set()
        while place in moved and place not in seen:
            seen.add(place)
            place = moved[place]
        if place is None:
            continue
        target = _package_place(place, PACKAGE, str(after.get("package_name")))
        if target in new:
            found[path] = target
    return found
