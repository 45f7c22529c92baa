"""How values and names appear in messages."""

from __future__ import annotations

from collections.abc import Sequence


def shown(values: Sequence[str], most: int = 5) -> str:
    """The first values, quoted, and how many more there are."""
    listed = ", ".join(map(repr, values[:most]))
    return listed if len(values) <= most else f"{listed} and {len(values) - most} more"


def one_line(text: str) -> str:
    """A name with escapes for what would break its line, or no stream could write."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
