"""How fast images become batches of normalised floats."""

from __future__ import annotations

from collections.abc import Iterator

from .harness import Row, Scale, benchmark


@benchmark("Loading images", minutes=5)
def loading(scale: Scale) -> Iterator[Row]:
    """Placeholder."""
    yield from ()
