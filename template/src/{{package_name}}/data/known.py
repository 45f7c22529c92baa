"""Samples that a network need not see again: what its frozen part makes of them is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .order import Key

# the field of a batch that names its samples by their rows, int64 [B], where they are known
ROWS = "rows"


class KnownSamples(Dataset[dict[str, Any]]):
    """Samples by (epoch, index): before an epoch with their rows, and without their inputs.

    Args:
        samples: all of them.
        blanks: the same without what is dear to read.

    Attributes:
        until: the first epoch that needs the inputs.
    """

    def __init__(self, samples: Dataset[dict[str, Any]], blanks: Dataset[dict[str, Any]]) -> None:
        self.samples, self.blanks = samples, blanks
        self.until = 0

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """The samples of a batch, all of one epoch."""
        if keys[0][0] >= self.until:
            return samples_of(self.samples, keys)
        blanks = samples_of(self.blanks, keys)
        return [{**blank, ROWS: key[1]} for blank, key in zip(blanks, keys, strict=True)]


def samples_of(dataset: Dataset[dict[str, Any]], keys: Sequence[Key]) -> list[dict[str, Any]]:
    """Samples of a dataset, all at once where it can: as torch's loader asks for them."""
    at_once: Callable[[Sequence[Key]], list[dict[str, Any]]] | None
    at_once = getattr(dataset, "__getitems__", None)
    return at_once(keys) if at_once else [dataset[key] for key in keys]


class NamingCollator:
    """A collator that leaves the rows of known samples beside what another one makes of them.

    Args:
        collator: makes the batch.
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Tensor]]) -> None:
        self.collator = collator

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The batch; with `rows`, where its samples have some."""
        rows = [sample.pop(ROWS) for sample in samples if ROWS in sample]
        batch = self.collator(samples)
        return {**batch, ROWS: torch.tensor(rows)} if rows else batch
