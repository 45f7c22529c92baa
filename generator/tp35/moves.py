"""Which rendered file became which, from one version or one set of answers to the next.

The table is data of the template's new version. Nothing of a fetched template is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from tp35.problems import Problem
from tp35.trees import Tree

FILE = "hooks/moves.yml"
PACKAGE = "{{ package_name }}"
Moves = Mapping[str, str | None]


def parse(text: str) -> Moves:
    """The rows of `moves.yml` over all versions: old path to new path, None for deleted files.

    Raises:
        Problem: The table is of a form that this tp35 does not know.
    """
    try:
        versions = yaml.safe_load(text) or {}
        return {row["from"]: row["to"] for rows in versions.values() for row in rows}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise Problem(
            f"the template's {FILE} is of a form that this tp35 does not know; take a newer one"
        ) from error


def _package_place(path: str, package: str, placeholder: str) -> str:
    parts = PurePosixPath(path).parts
    if parts[:2] != ("src", package):
        return path
    return str(PurePosixPath("src", placeholder, *parts[2:]))


def successors(
    moved: Moves, old: Tree, new: Tree, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, str]:
    """For each file that is gone from the new rendering: the file that took its place, if any.

    A file moves when the template moves it (the table) or when the package is renamed.
    """
    found: dict[str, str] = {}
    for path in old.keys() - new.keys():
        place: str | None = _package_place(path, str(before.get("package_name")), PACKAGE)
        seen = set()
        while place is not None and place in moved and place not in seen:
            seen.add(place)
            place = moved[place]
        if place is None:
            continue
        target = _package_place(place, PACKAGE, str(after.get("package_name")))
        if target in new:
            found[path] = target
    return found
