"""Which files are images, and which only look like ones that can be read."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from .folders import FileKind


def unreadable_suffix(path: Path) -> str | None:
    return None


IMAGES = FileKind(
    "images",
    frozenset(ext for ext, fmt in Image.registered_extensions().items() if fmt in Image.OPEN),
    unreadable_suffix,
)
