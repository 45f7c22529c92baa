"""Which points are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from ..config import TrainingConfig
from .doctor import Indices, Samples, Similar
from .splits import Splits

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def whole_samples(splits: Splits, config: TrainingConfig) -> Splits:
    """The rows as they are."""
    return splits


def where(row: dict[str, Any], number: int, processor: None) -> str:
    """The file of a point."""
    return str(row["path"])


def find_similar(samples: Samples, config: TrainingConfig, console: Console) -> Similar:
    """Points whose files are equal; nothing is nearly equal."""
    paths = samples.values("path", np.arange(len(samples)))
    digests = [hashlib.blake2b(Path(path).read_bytes()).hexdigest() for path in paths]
    return Similar(digests, np.empty((0, 2), np.int64), np.empty(0, np.float32))


def plain_features(samples: Samples, numbers: Indices) -> csr_array | None:
    """None: points as they are tell less than the network."""
    return None
