"""From the cells of a row to the numbers the network sees: the one definition, fitted or applied.

Training, the parity check, `inference.py` and the server all use it; a bundle carries a copy. A
table is a list of rows, a row a mapping of columns to cells: text, numbers, true and false, None.
One row is a table of one, by the same code and the same arithmetic in float64.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Row: TypeAlias = Mapping[str, Any]
Numbers: TypeAlias = npt.NDArray[np.float64]
Codes: TypeAlias = npt.NDArray[np.int64]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
Scaling: TypeAlias = Literal["quantile", "standard"]
Order: TypeAlias = Literal["ymd", "dmy", "mdy"]

# what stands for a value that is missing, in any case
MARKERS = (
    "", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?", "-", "--", ".",
)  # fmt: skip

TRUE = ("true", "yes", "y", "t", "1", "on")
FALSE = ("false", "no", "n", "f", "0", "off")

# beyond it, squares of numbers would not be finite
LARGEST = 1e100

# knots of a quantile transform
QUANTILES = 256

# how far from 0 a number may come out where its scale has no end
FARTHEST = 1e6

# rows of a category's table before those of its values
MISSING, UNSEEN, FIRST_VALUE = 0, 1, 2

PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0*)?")
TIME = r"(?:[T ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})" + TIME, re.ASCII)
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})" + TIME, re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ABSENT = object()


class InvalidRow(ValueError):
    """A row that cannot be read; the message names its column, and it where there are several.

    Attributes:
        row: its position, from 0.
        reason: the message without it.
    """

    def __init__(self, row: int, reason: str, rows: int = 1) -> None:
        super().__init__(f"row {row + 1}: {reason}" if rows > 1 else reason)
        self.row, self.reason = row, reason


class Written(str):
    """A number as JSON has it: the very characters, in no notation but JSON's."""


@dataclass(frozen=True)
class Fault:
    """A cell that cannot be read.

    Attributes:
        row: its position, from 0.
        reason: what is wrong, naming the column.
    """

    row: int
    reason: str


# --- Cells ---------------------------------------------------------------------------------------


def read_row(payload: bytes) -> dict[str, Any]:
    """The row in a JSON object; its numbers are the characters that stand there.

    Raises:
        InvalidRow: no such object, one that names a column twice, or a cell that is a list or an
            object itself.
    """
    try:
        row = json.loads(
            payload,
            parse_int=Written,
            parse_float=Written,
            parse_constant=Written,
            object_pairs_hook=_named_once,
        )
    except UnicodeDecodeError:
        raise InvalidRow(0, "not UTF-8") from None
    except RecursionError:
        raise InvalidRow(0, "nested too deeply") from None
    except ValueError as error:
        raise InvalidRow(0, f"not a JSON object: {error}") from None
    if not isinstance(row, dict):
        raise InvalidRow(0, 'not a JSON object of columns and values, such as {"age": 30}')
    for name, cell in row.items():
        if isinstance(cell, dict | list):
            kind = "an object" if isinstance(cell, dict) else "a list"
            raise InvalidRow(0, f"column {name!r} holds {kind}; it must be a single value")
    return row


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the column {twice!r} comes twice")
    return found


def text_of(cell: Any) -> str:
    """A cell as text, without spaces around it; nothing for None."""
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell).strip()


def is_missing(cell: Any, markers: Collection[str]) -> bool:
    """Whether there is no value in a cell.

    Args:
        cell: any.
        markers: texts that say so, in lower case; None, and NaN where it is a number, always do.
    """
    if type(cell) is str:  # as most are, of which there are many
        return cell.strip().casefold() in markers
    text = text_of(cell).casefold()
    return cell is None or text in markers or (text == "nan" and not isinstance(cell, bool))


# --- Numbers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written.

    Attributes:
        decimal: the mark before decimals.
        thousands: what sets thousands apart; nothing where they are not.
        unit: what stands before or behind each number, such as % or €.
    """

    decimal: Literal[".", ","] = "."
    thousands: str = ""
    unit: str = ""

    @property
    def wanted(self) -> str:
        """What a cell must hold, for people."""
        return "a number with a comma before decimals" if self.decimal == "," else "a number"

    def number(self, cell: Any) -> float | None:
        """The number in a cell; None where there is none, or none of use.

        A number of JSON or Parquet is one in any notation.
        """
        if isinstance(cell, bool):
            return None
        text = text_of(cell)
        if isinstance(cell, str) and not isinstance(cell, Written):
            text = text if self == PLAIN_NOTATION else self._plain(text)
        if isinstance(cell, int | float):
            number = float(cell) if abs(cell) <= LARGEST else math.inf
        else:
            number = float(text) if PLAIN.fullmatch(text) else math.inf
        return number if abs(number) <= LARGEST else None

    def _plain(self, text: str) -> str:
        """The text with a point before decimals and nothing else; as it is where it cannot be."""
        if self.unit:
            text = text.removeprefix(self.unit).removesuffix(self.unit).strip()
        if self.thousands and self.thousands in text:
            mark, decimal = re.escape(self.thousands), re.escape(self.decimal)
            apart = rf"[+-]?[0-9][0-9]?[0-9]?({mark}[0-9][0-9][0-9])+({decimal}[0-9]*)?"
            if not re.fullmatch(apart, text):
                return ""
            text = text.replace(self.thousands, "")
        if self.decimal == ",":
            return "" if "." in text else text.replace(",", ".")
        return text


PLAIN_NOTATION = Notation()


@dataclass(frozen=True)
class Scale:
    """A number to one that a network takes: a line through knots, which never falls.

    Before the first knot and behind the last it goes on where `straight` says so, and stays at
    their height otherwise.

    Attributes:
        knots: ascending, in the unit of the column.
        heights: of each, ascending, too.
        straight: the line has no end.
    """

    knots: tuple[float, ...]
    heights: tuple[float, ...]
    straight: bool = False

    @classmethod
    def fit(cls, numbers: Numbers, scaling: Scaling) -> Self:
        """The scale of numbers [R], at least one.

        `quantile` brings them to a normal distribution: the height of a knot is the quantile of
        that distribution whose rank the knot has among the numbers, equal ones counting half.
        `standard` brings their mean to 0 and their standard deviation to 1.
        """
        ordered = np.sort(numbers)
        if scaling == "standard" and ordered[0] < ordered[-1]:
            ends = ordered[[0, -1]]
            heights = (ends - numbers.mean()) / numbers.std()
            return cls(tuple(ends.tolist()), tuple(heights.tolist()), straight=True)
        places = np.linspace(0, len(ordered) - 1, min(QUANTILES, len(ordered))).round()
        knots = np.unique(ordered[places.astype(np.int64)])
        below = np.searchsorted(ordered, knots, "left")
        ranks = (below + np.searchsorted(ordered, knots, "right")) / (2 * len(ordered))
        return cls(tuple(knots.tolist()), tuple(map(NormalDist().inv_cdf, ranks.tolist())))

    def __call__(self, numbers: Numbers) -> Numbers:
        """Numbers [R], scaled: elementwise, so that one is what it is among many."""
        knots, heights = self._line
        if len(knots) == 1:
            return np.zeros_like(numbers)
        left = np.clip(np.searchsorted(knots, numbers, "right") - 1, 0, len(knots) - 2)
        with np.errstate(over="ignore"):  # it is clipped
            share = (numbers - knots[left]) / (knots[left + 1] - knots[left])
            scaled = heights[left] + share * (heights[left + 1] - heights[left])
        if self.straight:
            return np.clip(scaled, -FARTHEST, FARTHEST)
        # roundings must not lift one number above the next
        return np.clip(scaled, heights[left], heights[left + 1])

    @cached_property
    def _line(self) -> tuple[Numbers, Numbers]:
        return np.array(self.knots), np.array(self.heights)


@dataclass(frozen=True)
class Feature:
    """One number that the network gets.

    Attributes:
        fill: what stands in for a missing one, the median of the training rows, in their unit.
        scale: of the numbers.
    """

    fill: float
    scale: Scale

    @classmethod
    def fit(cls, numbers: Numbers, scaling: Scaling) -> Self:
        """The feature of numbers [R], NaN where they are missing."""
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return cls(0.0, Scale((0.0,), (0.0,)))
        return cls(float(np.median(known)), Scale.fit(known, scaling))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`."""
        knots, heights = (tuple(data["scale"][name]) for name in ("knots", "heights"))
        return cls(data["fill"], Scale(knots, heights, data["scale"]["straight"]))

    def __call__(self, numbers: Numbers) -> Numbers:
        """Numbers [R] as the network gets them; NaN for those that are missing."""
        return self.scale(np.where(np.isnan(numbers), self.fill, numbers))


# --- Columns -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    """What a column gives the network.

    Attributes:
        numbers, categories: of each row [R], by feature.
        faults: cells that could not be read.
    """

    numbers: Sequence[Numbers] = ()
    categories: Sequence[Codes] = ()
    faults: Sequence[Fault] = ()


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers.

    Attributes:
        name: of the column.
        notation: how its numbers are written.
        feature: what the network gets.
        marks_missing: whether the network gets as a category, too, which ones are missing.
    """

    name: str
    notation: Notation
    feature: Feature
    marks_missing: bool
    kind: Literal["number"] = "number"

    @classmethod
    def fit(
        cls,
        name: str,
        cells: Sequence[Any],
        markers: Collection[str],
        scaling: Scaling,
        notation: Notation,
    ) -> Self:
        """The column that these cells make; those that are no numbers count for nothing."""
        numbers, _ = _read(name, cells, markers, notation.number, notation.wanted)
        values = np.array([math.nan if n is None else n for n in numbers])
        return cls(name, notation, Feature.fit(values, scaling), bool(np.isnan(values).any()))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`."""
        feature, notation = Feature.from_dict(data["feature"]), Notation(**data["notation"])
        return cls(data["name"], notation, feature, data["marks_missing"])

    @property
    def features(self) -> dict[str, Feature]:
        """Numbers that the network gets, by name."""
        return {self.name: self.feature}

    @property
    def tables(self) -> dict[str, int]:
        """Rows of the tables of its categories, by name."""
        return _missing_table(self.name) if self.marks_missing else {}

    def encode(self, cells: Sequence[Any], markers: Collection[str]) -> Encoded:
        """Cells as the network gets them."""
        found, faults = _read(self.name, cells, markers, self.notation.number, self.notation.wanted)
        numbers = np.array([math.nan if n is None else n for n in found], dtype=np.float64)
        flags = [np.isnan(numbers).astype(np.int64)] if self.marks_missing else []
        return Encoded([self.feature(numbers)], flags, faults)


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, each a row of a table behind those for missing and unseen ones.

    Attributes:
        name: of the column.
        values: of the training rows, in order.
        integers: all of them are integers, which may come with decimals that are 0.
    """

    name: str
    values: tuple[str, ...]
    integers: bool
    kind: Literal["category"] = "category"

    @classmethod
    def fit(cls, name: str, cells: Sequence[Any], markers: Collection[str]) -> Self:
        """The column that these cells make."""
        texts = {text_of(cell) for cell in cells if not is_missing(cell, markers)}
        integers = all(INTEGER.fullmatch(text) for text in texts)
        values = set(map(_as_integer, texts)) if integers else texts
        return cls(name, tuple(sorted(values)), integers)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`."""
        return cls(data["name"], tuple(data["values"]), data["integers"])

    @property
    def features(self) -> dict[str, Feature]:
        """None: categories are no numbers."""
        return {}

    @property
    def tables(self) -> dict[str, int]:
        """Rows of its table, by its name."""
        return {self.name: FIRST_VALUE + len(self.values)}

    def encode(self, cells: Sequence[Any], markers: Collection[str]) -> Encoded:
        """Cells as rows of the table."""
        codes = np.full(len(cells), MISSING, dtype=np.int64)
        for row, cell in enumerate(cells):
            if cell is not _ABSENT and not is_missing(cell, markers):
                text = text_of(cell)
                key = _as_integer(text) if self.integers and INTEGER.fullmatch(text) else text
                codes[row] = self._rows.get(key, UNSEEN)
        return Encoded((), [codes], _absences(self.name, cells))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {value: row for row, value in enumerate(self.values, FIRST_VALUE)}


@dataclass(frozen=True)
class BooleanColumn:
    """A column of what is true or false: a category with rows for missing, false and true.

    Attributes:
        name: of the column.
    """

    name: str
    kind: Literal["boolean"] = "boolean"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`."""
        return cls(data["name"])

    @property
    def features(self) -> dict[str, Feature]:
        """None: there are two values."""
        return {}

    @property
    def tables(self) -> dict[str, int]:
        """Rows of its table, by its name."""
        return {self.name: 3}

    def encode(self, cells: Sequence[Any], markers: Collection[str]) -> Encoded:
        """Cells as rows of the table."""
        found, faults = _read(self.name, cells, markers, truth_of, "true or false")
        codes = [MISSING if truth is None else 1 + truth for truth in found]
        return Encoded((), [np.array(codes, dtype=np.int64)], faults)


@dataclass(frozen=True)
class DateColumn:
    """A column of dates, with or without a time: the network gets their parts.

    Attributes:
        name: of the column.
        order: of year, month and day, as they are written.
        zoned: times come with their distance from UTC.
        parts: of those that differ in training, what the network gets; `PARTS` has them all.
        marks_missing: as of numbers.
    """

    name: str
    order: Order
    zoned: bool
    parts: dict[str, Feature]
    marks_missing: bool
    kind: Literal["date"] = "date"

    @classmethod
    def fit(
        cls,
        name: str,
        cells: Sequence[Any],
        markers: Collection[str],
        scaling: Scaling,
        order: Order,
    ) -> Self:
        """The column that these cells make; those that are no dates count for nothing."""
        dates, _ = _read(name, cells, markers, lambda cell: date_of(cell, order), "a date")
        known = [date for date in dates if date is not None]
        zoned = all(date.tzinfo is not None for date in known)
        parts = {part: _part(part, dates) for part in PARTS}
        differing = {
            part: Feature.fit(numbers, scaling)
            for part, numbers in parts.items()
            if known and np.nanmin(numbers) < np.nanmax(numbers)
        }
        return cls(name, order, zoned, differing, len(known) < len(dates))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`."""
        parts = {part: Feature.from_dict(feature) for part, feature in data["parts"].items()}
        return cls(data["name"], data["order"], data["zoned"], parts, data["marks_missing"])

    @property
    def features(self) -> dict[str, Feature]:
        """Numbers that the network gets, by name."""
        return {f"{self.name}: {part}": feature for part, feature in self.parts.items()}

    @property
    def tables(self) -> dict[str, int]:
        """Rows of the tables of its categories, by name."""
        return _missing_table(self.name) if self.marks_missing else {}

    def date(self, cell: Any) -> datetime | None:
        """The date in a cell; None where there is none of the column's form."""
        date = date_of(cell, self.order)
        return date if date is None or (date.tzinfo is not None) == self.zoned else None

    def encode(self, cells: Sequence[Any], markers: Collection[str]) -> Encoded:
        """Cells as the network gets them."""
        zone = " with its distance from UTC" if self.zoned else ""
        dates, faults = _read(self.name, cells, markers, self.date, f"a date{zone}")
        numbers = [feature(_part(part, dates)) for part, feature in self.parts.items()]
        flags = [np.array([date is None for date in dates], dtype=np.int64)]
        return Encoded(numbers, flags if self.marks_missing else (), faults)


Column: TypeAlias = NumberColumn | CategoryColumn | BooleanColumn | DateColumn
KINDS: dict[str, type[Column]] = {
    "number": NumberColumn,
    "category": CategoryColumn,
    "boolean": BooleanColumn,
    "date": DateColumn,
}


@dataclass(frozen=True)
class Columns:
    """All columns that a network was trained on.

    Attributes:
        columns: in the order of the training table.
        markers: texts for values that are missing, in lower case.
    """

    columns: tuple[Column, ...]
    markers: tuple[str, ...] = MARKERS

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; `TaskSpec.preprocessing_config` is such a dictionary."""
        columns = tuple(KINDS[one["kind"]].from_dict(one) for one in data["columns"])
        return cls(columns, tuple(data["markers"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def names(self) -> list[str]:
        """Of all columns, in order."""
        return [column.name for column in self.columns]

    @property
    def features(self) -> dict[str, Feature]:
        """Numbers that the network gets, by name, in the order of `numbers`."""
        return {name: one for column in self.columns for name, one in column.features.items()}

    @property
    def tables(self) -> dict[str, int]:
        """Rows of the table of each category, by name, in the order of `categories`."""
        return {name: rows for column in self.columns for name, rows in column.tables.items()}

    def encode(self, rows: Sequence[Row]) -> tuple[Arrays, list[Fault]]:
        """Rows as the network gets them, and all cells that cannot be read.

        Returns:
            `numbers`, float32 [R, N], and `categories`, int64 [R, C], each where there are any; and
            faults in the order of the columns.
        """
        markers = frozenset(self.markers)
        encoded = [
            column.encode([row.get(column.name, _ABSENT) for row in rows], markers)
            for column in self.columns
        ]
        numbers = [one for column in encoded for one in column.numbers]
        categories = [one for column in encoded for one in column.categories]
        arrays: Arrays = {}
        if numbers:
            arrays["numbers"] = np.stack(numbers, axis=1).astype(np.float32)
        if categories:
            arrays["categories"] = np.stack(categories, axis=1)
        return arrays, [fault for column in encoded for fault in column.faults]

    def transform(self, rows: Sequence[Row]) -> Arrays:
        """Rows as the network gets them: `encode`, where every cell must be of use.

        Raises:
            InvalidRow: naming the first row with a cell that cannot be read, and its column.
        """
        arrays, faults = self.encode(rows)
        if faults:
            first = min(faults, key=lambda fault: fault.row)
            raise InvalidRow(first.row, first.reason, len(rows))
        return arrays


def _missing_table(name: str) -> dict[str, int]:
    return {f"{name}: missing": 2}


def _read(
    name: str,
    cells: Sequence[Any],
    markers: Collection[str],
    read: Callable[[Any], Any],
    wanted: str,
) -> tuple[list[Any], list[Fault]]:
    """What `read` makes of each cell, None where a value is missing or cannot be read."""
    faults = _absences(name, cells)
    found: list[Any] = [None] * len(cells)
    for row, cell in enumerate(cells):
        if cell is _ABSENT or is_missing(cell, markers):
            continue
        found[row] = read(cell)
        if found[row] is None:
            reason = f"column {name!r} holds {shortened(cell)}, which is not {wanted}"
            faults.append(Fault(row, reason))
    return found, faults


def _absences(name: str, cells: Sequence[Any]) -> list[Fault]:
    reason = f"column {name!r} is not there; give null where its value is missing"
    return [Fault(row, reason) for row, cell in enumerate(cells) if cell is _ABSENT]


def shortened(cell: Any) -> str:
    """A cell for a message."""
    text = text_of(cell)
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    is_text = isinstance(cell, str) and not isinstance(cell, Written)
    return repr(shown) if is_text else shown


def _as_integer(text: str) -> str:
    return str(int(text.partition(".")[0]))


def truth_of(cell: Any) -> bool | None:
    """Whether a cell says true or false; None where it says neither."""
    text = text_of(cell).casefold()
    text = _as_integer(text) if INTEGER.fullmatch(text) else text
    return True if text in TRUE else False if text in FALSE else None


def date_of(cell: Any, order: Order) -> datetime | None:
    """The date in a cell, at midnight where it has no time; None where there is none."""
    text = text_of(cell)
    if order == "ymd" and re.fullmatch(r"[0-9]{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    found = (YEAR_FIRST if order == "ymd" else YEAR_LAST).fullmatch(text)
    if found is None:
        return None
    one, _, two, three, *time, zone = found.groups()
    year, month, day = {
        "ymd": (one, two, three),
        "dmy": (three, two, one),
        "mdy": (three, one, two),
    }[order]
    try:
        hour, minute, second = (int(part or 0) for part in time)
        day_of = int(year), int(month), int(day)
        return datetime(*day_of, hour, minute, second, tzinfo=_zone(zone))
    except ValueError:  # no such day, or hour
        return None


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text == "Z":
        return UTC
    distance = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(distance if text[0] == "+" else -distance)


def _elapsed_days(date: datetime) -> float:
    zoned = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return (zoned - EPOCH).total_seconds() / 86_400


# Parts of a date as its own clock shows them, and the days since 1970 in UTC.
PARTS: dict[str, Callable[[datetime], float]] = {
    "year": lambda date: date.year,
    "month": lambda date: date.month,
    "day of week": lambda date: date.weekday(),
    "day of year": lambda date: date.timetuple().tm_yday,
    "hour": lambda date: date.hour + date.minute / 60,
    "elapsed days": _elapsed_days,
}


def _part(name: str, dates: Sequence[datetime | None]) -> Numbers:
    part = PARTS[name]
    return np.array([math.nan if date is None else part(date) for date in dates], dtype=np.float64)
