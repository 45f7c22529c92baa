"""The built-in sample set: points of a grid, inside and outside a circle."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError

SIDE = 16


def write_sample(destination: Path, task: str) -> int:
    """Write the points; gives how many.

    Raises:
        DataError: the destination exists.
    """
    if destination.exists():
        raise DataError(f"{destination} exists already; remove it to write the sample set anew")
    staging = destination.with_name(f".{destination.name}.partial")
    for number in range(SIDE * SIDE):
        x, y = (2 * (part + 0.5) / SIDE - 1 for part in divmod(number, SIDE))
        name = "inside" if x * x + y * y < 0.5 else "outside"
        folder = staging / ("val" if number % 4 == 0 else "train") / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.txt").write_text(f"{x:.4f} {y:.4f}\n", encoding="ascii")
    staging.rename(destination)
    return SIDE * SIDE
