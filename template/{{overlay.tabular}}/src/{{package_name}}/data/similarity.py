"""Which rows are the same, however their cells are written."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from ..config import TrainingConfig
from ..preprocessing import Columns, read_row
from .doctor import Indices, Samples, Similar
from .reading import ORIGIN, ROW
from .splits import Splits
from .table_facts import ColumnCells

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def whole_samples(splits: Splits, config: TrainingConfig) -> Splits:
    """The rows as they are."""
    return splits


def where(row: dict[str, Any], number: int, processor: Columns) -> str:
    """The place of a row in its table.

    Args:
        row: of a split.
        number: of the row, from 0.
        processor: not needed for rows.
    """
    return str(row[ORIGIN])


def find_similar(samples: Samples, config: TrainingConfig, console: Console) -> Similar:
    """Rows that hold the same in every column, as numbers or texts; nothing is nearly equal.

    Two rows of a table that differ in one cell are as a rule two things that were measured.

    Args:
        samples: rows with `row`.
        config: not needed for rows.
        console: not needed either: this takes no time.
    """
    columns: Columns = samples.processor
    rows = _rows(samples, np.arange(len(samples)))
    values = []
    for column in columns.columns:
        one = ColumnCells(column, [row[column.name] for row in rows], columns.markers)
        values.append(one.texts if one.numbers is None else one.numbers.tolist())
    digests: list[str | None] = [
        hashlib.blake2b(repr(row).encode(), digest_size=16).hexdigest()
        for row in zip(*values, strict=True)
    ]
    return Similar(digests, np.empty((0, 2), np.int64), np.empty(0, np.float32))


def plain_features(samples: Samples, numbers: Indices) -> csr_array:
    """Rows as a linear model takes them, each of length 1: float64 [n, F].

    Args:
        samples: rows with `row`.
        numbers: which of them, ascending.
    """
    from scipy.sparse import csr_array
    from sklearn.preprocessing import normalize

    from .rivals import linear_inputs

    rows = normalize(linear_inputs(samples.processor, _rows(samples, numbers)))
    # scikit-learn takes no longer indices
    places = (rows.indices.astype(np.int32), rows.indptr.astype(np.int32))
    return csr_array((rows.data, *places), shape=rows.shape)


def _rows(samples: Samples, numbers: Indices) -> list[dict[str, Any]]:
    return [read_row(text.encode()) for text in samples.values(ROW, numbers)]
