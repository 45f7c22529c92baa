"""What the columns of a table are like, and what people should know of them before training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..preprocessing import (
    PARTS,
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    Numbers,
    is_missing,
    text_of,
)
from .account import Account, shown
from .table_labels import Outputs

# A column with a larger share of missing values is named, and one with more categories for the rows
# of training that each has on average.
MOSTLY_MISSING, ROWS_OF_A_CATEGORY, MANY_CATEGORIES = 0.5, 10, 50

# Splits of so many rows are compared; by more than these their columns differ: the largest distance
# of cumulated shares (Kolmogorov and Smirnov), half the sum of differences of shares, and the share
# of rows whose category training lacks.
COMPARED_ROWS, DRIFT, UNSEEN_SHARE = 50, 0.35, 0.05

# A column alone predicts a target where it leaves less than this share of the errors, or of the
# variance, that there are without it; of so many rows, and so many errors.
LEFT_BY_A_LEAK, LEAK_ROWS, LEAK_ERRORS = 0.02, 50, 5

# a column with no more numbers than that is taken for one of categories
FEW_NUMBERS = 20

# interquartile ranges from the middle at which a value to predict is far away
FAR_AWAY = 20.0

# values of a category that a description names
FREQUENT = 3

_Errors: TypeAlias = tuple[Callable[..., float], Callable[..., float], Callable[..., float]]
"""Of predictions by equal cells, by the nearest number, and of the best constant."""


@dataclass(frozen=True)
class ColumnCells:
    """The cells of a fitted column in one split.

    Attributes:
        column: as it was fitted to the training rows.
        cells: of the split.
        markers: texts for values that are missing.
    """

    column: Column
    cells: Sequence[Any]
    markers: Collection[str]

    @cached_property
    def gaps(self) -> list[bool]:
        """Which cells have no value."""
        return [is_missing(cell, self.markers) for cell in self.cells]

    @cached_property
    def missing(self) -> float:
        """Share of cells without a value."""
        return sum(self.gaps) / len(self.cells)

    @cached_property
    def numbers(self) -> Numbers | None:
        """Numbers [R], or days since 1970 of dates, NaN where they are missing; None of others."""
        if isinstance(self.column, NumberColumn):
            read = self.column.notation.number
        elif isinstance(self.column, DateColumn):
            read = self._days
        else:
            return None
        pairs = zip(self.cells, self.gaps, strict=True)
        found = (None if is_gap else read(cell) for cell, is_gap in pairs)
        return np.array([math.nan if one is None else one for one in found], dtype=np.float64)

    def _days(self, cell: Any) -> float | None:
        assert isinstance(self.column, DateColumn)
        date = self.column.date(cell)
        return None if date is None else PARTS["elapsed days"](date)

    @cached_property
    def texts(self) -> list[str]:
        """Values as text, nothing where they are missing."""
        pairs = zip(self.cells, self.gaps, strict=True)
        return ["" if is_gap else text_of(cell) for cell, is_gap in pairs]

    @cached_property
    def known(self) -> list[Any]:
        """Cells that have a value."""
        return [cell for cell, is_gap in zip(self.cells, self.gaps, strict=True) if not is_gap]

    def describe(self) -> dict[str, Any]:
        """What the column is like, ready for JSON.

        `kind` and `missing`, a share; of numbers `min`, `median` and `max`, of dates `first` and
        `last`, of others how many `values` there are and the `frequent` ones with their counts.
        """
        told: dict[str, Any] = {"kind": self.column.kind, "missing": round(self.missing, 4)}
        if not self.known:
            return told
        if isinstance(self.column, NumberColumn) and self.numbers is not None:
            known = self.numbers[~np.isnan(self.numbers)]
            told |= {
                "min": float(known.min()),
                "median": float(np.median(known)),
                "max": float(known.max()),
            }
            return told | ({"unit": self.column.notation.unit} if self.column.notation.unit else {})
        if isinstance(self.column, DateColumn):
            ordered = sorted(self.known, key=lambda cell: self._days(cell) or 0.0)
            return told | {"first": text_of(ordered[0]), "last": text_of(ordered[-1])}
        counts = Counter(map(text_of, self.known))
        return told | {"values": len(counts), "frequent": dict(counts.most_common(FREQUENT))}


def warn_of_columns(train: Mapping[str, ColumnCells], account: Account) -> None:
    """Say which columns of the training rows say little for themselves."""
    hollow = [name for name, one in train.items() if one.missing > MOSTLY_MISSING]
    if hollow:
        account.warn(f"most values are missing in the columns {shown(hollow)}")
    many = [
        name
        for name, one in train.items()
        if isinstance(one.column, CategoryColumn)
        and len(one.column.values) > MANY_CATEGORIES
        and len(one.column.values) * ROWS_OF_A_CATEGORY > len(one.cells)
    ]
    if many:
        account.warn(
            f"fewer than {ROWS_OF_A_CATEGORY} rows of each category in the columns {shown(many)}: "
            f"little can be learned of one; --columns {many[0]}=ignore leaves a column out"
        )


# --- Drift ---------------------------------------------------------------------------------------


def warn_of_drift(
    train: Mapping[str, ColumnCells], other: Mapping[str, ColumnCells], split: str, account: Account
) -> None:
    """Say in which columns a split differs from training."""
    rows = min((len(one.cells) for one in (*train.values(), *other.values())), default=0)
    unseen = [name for name, one in other.items() if _unseen(train[name], one) > UNSEEN_SHARE]
    if unseen:
        account.warn(
            f"more than {UNSEEN_SHARE:.0%} of the rows in {split} have categories that training "
            f"lacks, in the columns {shown(unseen)}"
        )
    if rows < COMPARED_ROWS:
        return
    drifting = [
        name
        for name, one in other.items()
        if name not in unseen and _drift(train[name], one) > DRIFT
    ]
    if drifting:
        account.warn(
            f"{split} differs from train in the columns {shown(drifting)}: what is measured there "
            "says little of rows like those of training"
        )


def _unseen(train: ColumnCells, other: ColumnCells) -> float:
    if not isinstance(train.column, CategoryColumn):
        return 0.0
    known = {*train.texts, ""}
    return sum(text not in known for text in other.texts) / len(other.cells)


def _drift(train: ColumnCells, other: ColumnCells) -> float:
    """How far the values of two splits are from each other, from 0 to 1."""
    missing = abs(train.missing - other.missing)
    ours, theirs = train.numbers, other.numbers
    if ours is None or theirs is None:
        return max(missing, _distance_of_shares(Counter(train.texts), Counter(other.texts)))
    return max(missing, _distance_of_numbers(ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]))


def _distance_of_shares(ours: Counter[str], theirs: Counter[str]) -> float:
    all_ours, all_theirs = ours.total(), theirs.total()
    differences = (abs(ours[one] / all_ours - theirs[one] / all_theirs) for one in ours | theirs)
    return sum(differences) / 2


def _distance_of_numbers(ours: Numbers, theirs: Numbers) -> float:
    if not len(ours) or not len(theirs):
        return 0.0
    ours, theirs = np.sort(ours), np.sort(theirs)
    places = np.concatenate([ours, theirs])
    below_ours = np.searchsorted(ours, places, "right") / len(ours)
    below_theirs = np.searchsorted(theirs, places, "right") / len(theirs)
    return float(np.abs(below_ours - below_theirs).max())


# --- What alone predicts -------------------------------------------------------------------------


def warn_of_leaks(
    train: Mapping[str, ColumnCells],
    labels: npt.NDArray[Any],
    outputs: Outputs,
    names: Sequence[str],
    account: Account,
) -> None:
    """Say which columns predict a target all alone, as what was written down after it does.

    A number predicts what the row with the nearest one has; any other value, and one of few
    numbers, the most frequent class or the mean of the other rows with the same value.

    Args:
        train: columns of the training rows.
        labels: [R] of classes, or [R, K].
        outputs: what they are.
        names: of the classes, labels or values.
        account: gets the warning.
    """
    if len(labels) < LEAK_ROWS:
        return
    found = [
        f"{column!r}{'' if outputs == 'classes' else f' ({target})'}"
        for column, one in train.items()
        for target, values in _each_target(labels, outputs, names)
        if _left(one, values, are_numbers=outputs == "targets") < LEFT_BY_A_LEAK
    ]
    if found:
        first = found[0].split("'")[1]
        account.warn(
            f"what is predicted can be told from a single column: {', '.join(found[:10])}; if that "
            f"is known only afterwards, leave it out with --columns {first}=ignore"
        )


def _each_target(
    labels: npt.NDArray[Any], outputs: Outputs, names: Sequence[str]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    if outputs == "classes":
        yield "", labels
    else:
        yield from zip(names, labels.T, strict=True)


def _left(one: ColumnCells, values: npt.NDArray[Any], *, are_numbers: bool) -> float:
    """Errors of a column's predictions as a share of those of the best constant."""
    # of numbers the ranks: errors of a few far ones would outweigh all others
    values = _ranks(values) if are_numbers else np.unique(values, return_inverse=True)[1]
    by_equal, by_nearest, constant = _VALUE_ERRORS if are_numbers else _CLASS_ERRORS
    total = constant(values)
    if total < (np.finfo(np.float64).tiny if are_numbers else LEAK_ERRORS):
        return 1.0
    numbers = one.numbers
    if numbers is None or len(np.unique(numbers)) <= FEW_NUMBERS:
        same = one.texts if numbers is None else numbers
        return by_equal(np.unique(same, return_inverse=True)[1], values) / total
    known = ~np.isnan(numbers)
    missing = np.zeros((~known).sum(), dtype=np.int64)
    errors = by_equal(missing, values[~known]) if len(missing) else 0.0
    return (errors + by_nearest(numbers[known], values[known])) / total


def _errors_by_equal(codes: npt.NDArray[np.int64], classes: npt.NDArray[Any]) -> float:
    """How many rows have another class than most others with their code."""
    counts = np.zeros((codes.max() + 1, classes.max() + 1), dtype=np.int64)
    np.add.at(counts, (codes, classes), 1)
    rows = np.arange(len(codes))
    others = counts[codes]
    own = others[rows, classes] - 1  # a row does not predict itself
    others[rows, classes] = -1
    return float((own <= others.max(1)).sum()) if others.shape[1] > 1 else 0.0


def _squares_by_equal(codes: npt.NDArray[np.int64], values: Numbers) -> float:
    """Squared distances of values from the mean of the others with their code."""
    counts, sums = np.bincount(codes)[codes], np.bincount(codes, weights=values)[codes]
    others = np.where(counts > 1, (sums - values) / np.maximum(counts - 1, 1), values.mean())
    return float(((values - others) ** 2).sum())


def _ranks(values: Numbers) -> Numbers:
    """Rank of each value [R], equal ones in the middle of theirs."""
    ordered = np.sort(values)
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (left + right) / 2


def _nearest(numbers: Numbers) -> npt.NDArray[np.int64]:
    """The row with the nearest number to that of each row, [R]."""
    order = np.argsort(numbers, kind="stable")
    gaps = np.concatenate([[math.inf], np.diff(numbers[order]), [math.inf]])
    places = np.arange(len(order)) + np.where(gaps[:-1] < gaps[1:], -1, 1)
    nearest = np.empty(len(order), dtype=np.int64)
    nearest[order] = order[places]
    return nearest


_CLASS_ERRORS: _Errors = (
    _errors_by_equal,
    lambda numbers, classes: float((classes != classes[_nearest(numbers)]).sum()),
    lambda classes: float(len(classes) - np.bincount(classes).max()),
)
_VALUE_ERRORS: _Errors = (
    _squares_by_equal,
    lambda numbers, values: float(((values - values[_nearest(numbers)]) ** 2).sum()),
    lambda values: float(((values - values.mean()) ** 2).sum()),
)


# --- Targets -------------------------------------------------------------------------------------


def warn_of_far_values(
    values: Numbers, names: Sequence[str], places: Sequence[str], account: Account
) -> None:
    """Name values to predict that lie far from all others.

    Args:
        values: [R, K].
        names: of the K values.
        places: of the rows.
        account: gets the warnings.
    """
    for name, column in zip(names, values.T, strict=True):
        low, middle, high = np.quantile(column, [0.25, 0.5, 0.75])
        if high > low and len(
            far := np.flatnonzero(np.abs(column - middle) > FAR_AWAY * (high - low))
        ):
            account.warn(
                f"{len(far)} of {len(column)} values of {name!r} lie far from the others, such as "
                f"{column[far[0]]:g} in {places[far[0]]}: they weigh much in a squared error"
            )
