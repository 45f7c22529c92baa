"""Which texts share a row: several short ones, whole, so that little padding is left.

Only lengths decide, by the best fit, the longest first. M. M. Krell et al., "Efficient Sequence
Packing without Cross-contamination", 2021, pack a table of lengths instead of the texts themselves:
a million of them take as long as a thousand. Needs no torch.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import datasets

ROWS_AT_A_TIME = 10_000

Kind: TypeAlias = tuple[int, ...]
"""Lengths of the texts in a row."""


@dataclass(frozen=True)
class Packing:
    """Rows of texts.

    How many rows there are, and the lengths in each of them, hang on the lengths of all texts
    alone; which of the texts of a length is where is for an order of them to say.

    Attributes:
        capacity: tokens that a row has room for.
        lengths: tokens of each text, [N].
        starts: for each kind of row where, among the texts sorted by length, those of its first row
            are; the next row has their neighbours.
        ends: rows up to the end of each kind, int64 [K].
    """

    capacity: int
    lengths: npt.NDArray[np.integer]
    starts: list[npt.NDArray[np.int64]]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, lengths: npt.NDArray[np.integer], capacity: int) -> Packing:
        """Pack texts into as few rows as the best fit takes.

        Args:
            lengths: tokens of each text, [N]; one without tokens is in no row.
            capacity: tokens of a row; a longer text has one of its own.
        """
        capacity = max([capacity, *lengths.max(initial=0, keepdims=True).tolist()])
        lengths = lengths.astype(np.min_scalar_type(capacity))  # 16 bits sort fastest
        counts = np.bincount(lengths, minlength=1)
        place = np.concatenate([[0], counts.cumsum()])  # of the first text of each length
        starts, sizes = [], []
        for kind, rows in _best_fit(counts.tolist(), capacity):
            beginnings = []
            for length in kind:
                beginnings.append(place[length])
                place[length] += rows
            starts.append(np.array(beginnings, dtype=np.int64))
            sizes.append(rows)
        return cls(capacity, lengths, starts, np.array(sizes, dtype=np.int64).cumsum())

    def __len__(self) -> int:
        """Rows."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def fullness(self) -> float:
        """Share of the rows' room that is taken."""
        return int(self.lengths.sum(dtype=np.int64)) / (max(1, len(self)) * self.capacity)

    def by_length(self, order: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Numbers of the texts sorted by length, those of a length in the order given."""
        return order[np.argsort(self.lengths[order], kind="stable")]

    def places(self, row: int) -> npt.NDArray[np.int64]:
        """Where the texts of a row are, among those that `by_length` has sorted."""
        kind = int(np.searchsorted(self.ends, row, side="right"))
        first = int(self.ends[kind - 1]) if kind else 0
        return self.starts[kind] + (row - first)


@dataclass
class _Room:
    """Rows that still have room, by how many tokens."""

    free: list[int] = field(default_factory=list)
    kinds: dict[int, list[tuple[Kind, int]]] = field(default_factory=dict)

    def add(self, free: int, kind: Kind, rows: int) -> None:
        if rows:
            if free not in self.kinds:
                insort(self.free, free)
            self.kinds.setdefault(free, []).append((kind, rows))

    def take(self, length: int) -> tuple[int, Kind, int] | None:
        """The kind of row that a text fills best; None where it fits into none."""
        place = bisect_left(self.free, length)
        if place == len(self.free):
            return None
        free = self.free[place]
        kind, rows = self.kinds[free].pop()
        if not self.kinds[free]:
            del self.kinds[free], self.free[place]
        return free, kind, rows


def _best_fit(counts: list[int], capacity: int) -> Iterator[tuple[Kind, int]]:
    """Kinds of rows, and how many there are of each.

    Args:
        counts: texts of each length, from 0.
        capacity: tokens of a row, no fewer than the longest text has.
    """
    room = _Room()
    for length in range(len(counts) - 1, 0, -1):
        left = counts[length]
        while left:
            free, kind, rows = room.take(length) or (capacity, (), left)
            each = free // length
            full = min(rows, left // each)
            room.add(free - each * length, (*kind, *[length] * each), full)
            left -= full * each
            some = left if full < rows and left < each else 0
            room.add(free - some * length, (*kind, *[length] * some), int(some > 0))
            left -= some
            if kind:  # rows that are new are made as they are needed
                room.add(free, kind, rows - full - int(some > 0))
    for kinds in room.kinds.values():
        yield from kinds


def lengths_of(rows: datasets.Dataset) -> npt.NDArray[np.int64]:
    """Tokens of each sample: int64 [N]; the tokens themselves are not read."""
    import pyarrow.compute

    found = [np.empty(0, dtype=np.int64)]
    for table in rows.select_columns("input_ids").with_format("arrow").iter(ROWS_AT_A_TIME):
        counts = pyarrow.compute.list_value_length(table["input_ids"])
        found.append(counts.to_numpy().astype(np.int64))
    return np.concatenate(found)
