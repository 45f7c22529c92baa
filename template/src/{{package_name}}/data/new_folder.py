"""A folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Path of a folder to create and fill; it is renamed to `destination` at the end.

    Several processes may do this at the same time: one of them wins, the others raise.

    Raises:
        DataError: the destination exists, or cannot be written.
    """
    if destination.exists():
        raise DataError(f"{destination} exists already; remove it to write the sample set anew")
    staging = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.partial")
    try:
        yield staging
        staging.rename(destination)
    except OSError as error:
        raise DataError(f"cannot write the sample set to {destination}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
