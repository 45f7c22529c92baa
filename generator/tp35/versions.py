"""Versions of a template: tags such as `v3.5.0`, and commits after one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version


def version(ref: str | None) -> Version | None:
    """The release that a tag or a recorded `_commit` names; None for a bare commit."""
    try:
        return Version(released(ref or ""))
    except InvalidVersion:
        return None


def released(ref: str) -> str:
    """The tag behind a recorded `_commit`: `v3.5.0-4-gabc1234` is four commits after v3.5.0."""
    return re.sub(r"-\d+-g[0-9a-f]+$", "", ref)


def is_between_releases(ref: str) -> bool:
    """Whether a recorded `_commit` names a commit after a tag."""
    return released(ref) != ref


def newest(tags: Iterable[str], current: str) -> str | None:
    """The newest release; pre-releases only for who is on one; None where there is none."""
    on = version(current)
    offered = {tag: found for tag in tags if (found := version(tag))}
    if on is None or not on.is_prerelease:
        offered = {tag: found for tag, found in offered.items() if not found.is_prerelease}
    return max(offered, key=lambda tag: offered[tag], default=None)
