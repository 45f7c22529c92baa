"""Merges lists of dependencies as sets: what the user added beside what the template adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from tp35.trees import Entry

FILE = "pyproject.toml"
Aligned = tuple[Entry, Entry, Entry]


@dataclass(frozen=True)
class _List:
    """A list of strings as it is written: its text, and the line of each item."""

    text: str
    lines: Mapping[str, str]

    @property
    def items(self) -> list[str]:
        """What is listed, in its order."""
        return list(self.lines)


def aligned(path: str, base: Entry, mine: Entry, theirs: Entry, _: Entry | None) -> list[Aligned]:
    """The three sides of a `pyproject.toml` with equal lists, where both sides changed one.

    Each list is what the template has now, without what the user removed and with what the user
    added, comments included. Nothing where there is nothing of the kind, or a package would be
    asked for twice.
    """
    if path != FILE:
        return []
    texts = [entry.text or "" for entry in (base, mine, theirs)]
    try:
        old, own, new = (dict(_lists(text)) for text in texts)
    except TOMLKitError:
        return []
    joined = False
    for place in old.keys() & own.keys() & new.keys():
        sides = (old[place], own[place], new[place])
        if sides[1].items == sides[0].items or sides[2].items == sides[0].items:
            continue
        union = _union(*sides)
        if union is None or any(
            text.count(side.text) != 1 for text, side in zip(texts, sides, strict=True)
        ):
            return []
        texts = [text.replace(side.text, union) for text, side in zip(texts, sides, strict=True)]
        joined = True
    if not joined:
        return []
    first, second, third = (
        replace(entry, content=text.encode())
        for entry, text in zip((base, mine, theirs), texts, strict=True)
    )
    return [(first, second, third)]


def _lists(text: str) -> Iterator[tuple[tuple[str, ...], _List]]:
    """Every list of requirements that has a line for each, by its place."""
    document = tomlkit.parse(text).value
    tables: list[tuple[tuple[str, ...], Any]] = [
        (("project",), {"dependencies": document.get("project", {}).get("dependencies")}),
        (("extras",), document.get("project", {}).get("optional-dependencies", {})),
        (("groups",), document.get("dependency-groups", {})),
    ]
    for place, table in tables:
        for name, array in table.items():
            if isinstance(array, Array) and (found := _read(array)):
                yield (*place, str(name)), found


def _read(array: Array) -> _List | None:
    """A list whose items are strings on lines of their own."""
    text = array.as_string()
    lines = text.splitlines(keepends=True)
    found = {}
    for item in array:
        if not isinstance(item, str):
            continue
        holding = [line for line in lines if line.strip().startswith((f'"{item}"', f"'{item}'"))]
        if len(holding) != 1:
            return None
        found[str(item)] = holding[0]
    return _List(text, found) if found else None


def _union(old: _List, mine: _List, theirs: _List) -> str | None:
    """The template's list with the user's changes to it; None where a package comes twice."""
    removed = [item for item in old.items if item not in mine.lines]
    added = [item for item in mine.items if item not in old.lines and item not in theirs.lines]
    text = theirs.text
    for item in removed:
        text = text.replace(theirs.lines.get(item, "\0"), "")
    kept = [item for item in theirs.items if item not in removed]
    for item in added:
        before = [other for other in mine.items[: mine.items.index(item)] if other in kept]
        anchor = theirs.lines.get(before[-1]) if before else None
        text = _insert(text, mine.lines[item], behind=anchor)
    packages = [name for item in (*kept, *added) if (name := _package(item))]
    whole = all(mine.lines[item].strip().rstrip(",") in text for item in added)
    return text if whole and len(packages) == len(set(packages)) else None


def _insert(text: str, line: str, behind: str | None) -> str:
    line = _with_comma(line)
    if behind is not None:
        return text.replace(behind, _with_comma(behind) + line)
    opening, newline, rest = text.partition("\n")
    return opening + newline + line + rest


def _with_comma(line: str) -> str:
    """The line of an item that another one may follow."""
    item, comment = line, ""
    quote = line.strip()[0]
    end = line.index(quote, line.index(quote) + 1) + 1
    item, comment = line[:end], line[end:]
    return line if comment.lstrip().startswith(",") else f"{item},{comment}"


def _package(item: str) -> str | None:
    """What a requirement asks for; None for what is no requirement."""
    try:
        requirement = Requirement(item)
    except InvalidRequirement:
        return None
    return f"{canonicalize_name(requirement.name)};{requirement.marker or ''}"
