"""From the text of a point to the numbers the network sees: the one definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class InvalidPoint(ValueError):
    """The bytes are no point."""


def read_point(payload: bytes, dimensions: int) -> npt.NDArray[np.float32]:
    """Numbers with spaces between as float32 [F].

    Raises:
        InvalidPoint: something else.
    """
    try:
        point = np.array([float(part) for part in payload.decode("ascii").split()], np.float32)
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidPoint(f"not numbers with spaces between: {payload[:40]!r}") from error
    if point.shape != (dimensions,):
        raise InvalidPoint(f"{len(point)} numbers; a point has {dimensions}")
    if not np.isfinite(point).all():
        raise InvalidPoint("a number is not finite")
    return point
