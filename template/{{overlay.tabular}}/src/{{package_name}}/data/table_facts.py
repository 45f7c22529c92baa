"""What the columns of a table are like, and what people should know of them before training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
BINS = 50

# interquartile ranges from the middle at which a value to predict is far away
FAR_AWAY = 20.0

# values of a category that a description names
FREQUENT = 3


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
    markers: Sequence[str]

    @property
    def missing(self) -> float:
        """Share of cells without a value."""
        return sum(is_missing(cell, self.markers) for cell in self.cells) / len(self.cells)

    @property
    def numbers(self) -> Numbers | None:
        """Numbers [R], or days since 1970 of dates, NaN where they are missing; None of others."""
        if isinstance(self.column, NumberColumn):
            read = self.column.notation.number
        elif isinstance(self.column, DateColumn):
            read = self._days
        else:
            return None
        found = (None if is_missing(cell, self.markers) else read(cell) for cell in self.cells)
        return np.array([math.nan if one is None else one for one in found], dtype=np.float64)

    def _days(self, cell: Any) -> float | None:
        assert isinstance(self.column, DateColumn)
        date = self.column.date(cell)
        return None if date is None else PARTS["elapsed days"](date)

    @property
    def texts(self) -> list[str]:
        """Values as text, nothing where they are missing."""
        return ["" if is_missing(cell, self.markers) else text_of(cell) for cell in self.cells]

    @property
    def known(self) -> list[Any]:
        """Cells that have a value."""
        return [cell for cell in self.cells if not is_missing(cell, self.markers)]

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

    A class is predicted by the most frequent one of the other rows with the same value, a number by
    their mean; numbers fall into `BINS` bins of equally many rows.

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
        if _predicts(_bins(one), one.numbers, values, are_numbers=outputs == "targets")
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


def _bins(one: ColumnCells) -> npt.NDArray[np.int64]:
    """A number for each row [R], equal for values that are equal or near."""
    numbers = one.numbers
    if numbers is None:
        return np.unique(one.texts, return_inverse=True)[1].astype(np.int64)
    known = np.unique(numbers[~np.isnan(numbers)])
    if len(known) > BINS:
        ordered = np.sort(numbers[~np.isnan(numbers)])
        known = np.unique(ordered[np.linspace(0, len(ordered) - 1, BINS).astype(np.int64)])
    return np.where(np.isnan(numbers), -1, np.searchsorted(known, numbers, "right")) + 1


def _predicts(
    bins: npt.NDArray[np.int64],
    numbers: Numbers | None,
    values: npt.NDArray[Any],
    *,
    are_numbers: bool,
) -> bool:
    if are_numbers:
        left = min(_left_of_variance(bins, values), _left_of_a_line(numbers, values))
    else:
        left = _left_of_errors(bins, values)
    return left < LEFT_BY_A_LEAK


def _left_of_errors(bins: npt.NDArray[np.int64], labels: npt.NDArray[Any]) -> float:
    """Errors of the bins as a share of those of the most frequent class."""
    _, codes = np.unique(labels, return_inverse=True)
    counts = np.zeros((bins.max() + 1, codes.max() + 1), dtype=np.int64)
    np.add.at(counts, (bins, codes), 1)
    errors = len(codes) - counts.sum(0).max()
    if errors < LEAK_ERRORS:
        return 1.0
    others = counts[bins]
    others[np.arange(len(bins)), codes] -= 1  # a row does not predict itself
    own = others[np.arange(len(bins)), codes]
    others[np.arange(len(bins)), codes] = -1
    return float((own <= others.max(1)).sum() / errors)


def _left_of_variance(bins: npt.NDArray[np.int64], values: Numbers) -> float:
    """Squared errors of bins' means, each without the row itself, as a share of the variance."""
    counts = np.bincount(bins)[bins]
    sums = np.bincount(bins, weights=values)[bins]
    total = ((values - values.mean()) ** 2).sum()
    if not total:
        return 1.0
    mean = values.mean()
    others = np.where(counts > 1, (sums - values) / np.maximum(counts - 1, 1), mean)
    return float(((values - others) ** 2).sum() / total)


def _left_of_a_line(numbers: Numbers | None, values: Numbers) -> float:
    """What a line through the numbers leaves of the variance."""
    if numbers is None:
        return 1.0
    known = ~np.isnan(numbers)
    if known.sum() < LEAK_ROWS or not np.ptp(numbers[known]) or not np.ptp(values[known]):
        return 1.0
    # in units of the spread, whose squares neither overflow nor vanish
    x = (numbers[known] - numbers[known].mean()) / np.ptp(numbers[known])
    y = (values[known] - values[known].mean()) / np.ptp(values[known])
    return float(1 - (x * y).sum() ** 2 / ((x**2).sum() * (y**2).sum()))


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
