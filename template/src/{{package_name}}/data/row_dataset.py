"""Samples that are rows of a table: read a batch at a time, left blank, and stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..forward import LABELS
from .order import Key, as_key

if TYPE_CHECKING:
    import datasets


class RowDataset(Dataset[dict[str, Any]]):
    """Samples addressed by (epoch, index), each made of a row; a modality says how.

    Args:
        rows: the table.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, given: Sequence[Key | int]) -> list[dict[str, Any]]:
        """The samples of a batch, whose rows are read at once: far less work than each."""
        keys = [as_key(key) for key in given]
        columns = self.rows[[key[1] for key in keys]]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [self.sample(key, row) for key, row in zip(keys, rows, strict=True)]

    def sample(self, key: Key, row: dict[str, Any]) -> dict[str, Any]:
        """The sample of a row.

        Raises:
            DataError: it cannot be read.
        """
        raise NotImplementedError


class BlankSamples(Dataset[dict[str, Any]]):
    """Labels of the rows, each beside an input of zeros: nothing is opened for that.

    Args:
        rows: table with `labels`.
        name: of the input.
        shape: of one input.
        dtype: of it.
    """

    def __init__(
        self, rows: datasets.Dataset, name: str, shape: Sequence[int], dtype: torch.dtype
    ) -> None:
        self.labels = rows.select_columns(LABELS)
        self.name = name
        self.blank = torch.zeros(1, dtype=dtype).expand(*shape)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """The samples of a batch."""
        labels = self.labels[[key[1] for key in keys]][LABELS]
        return [{self.name: self.blank, LABELS: label} for label in labels]


def stack_labels(samples: Sequence[dict[str, Any]], value_dtype: torch.dtype) -> dict[str, Tensor]:
    """The labels of a batch, by their name; nothing where the samples have none.

    Args:
        samples: their labels are an int (a class), a float or a list of floats (values, or a
            multi-hot vector).
        value_dtype: of values; float64 keeps every digit until they are standardised.

    Returns:
        `labels` [B] or [B, K], int64 for classes.

    Raises:
        ValueError: some have labels, and some have not.
    """
    labels = [sample[LABELS] for sample in samples if LABELS in sample]
    if not labels:
        return {}
    if len(labels) < len(samples):
        missing = len(samples) - len(labels)
        raise ValueError(f"{missing} of {len(samples)} samples have no labels")
    if isinstance(labels[0], Tensor):
        stacked = torch.stack(labels)
    else:  # numpy keeps the digits of Python's floats, torch would round them to float32
        stacked = torch.from_numpy(np.asarray(labels))
    return {LABELS: stacked.to(value_dtype if stacked.is_floating_point() else torch.int64)}
