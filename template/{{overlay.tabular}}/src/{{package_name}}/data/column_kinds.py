"""What a column holds: numbers, categories, what is true or false, dates, or nothing to learn from.

A column's kind comes from how its cells are written in the training rows, and is said. Nothing is
guessed that can be read in two ways: such a column is named, with both readings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..errors import DataError
from ..preprocessing import (
    PLAIN,
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Notation,
    NumberColumn,
    Order,
    Scaling,
    Written,
    date_of,
    is_missing,
    text_of,
    truth_of,
)
from .account import Account, shown
from .columns import ROW_NUMBERS, plain_column
from .labels import is_row_number

Kind = Literal["number", "category", "boolean", "date", "date_dmy", "date_mdy", "ignore"]
KINDS = get_args(Kind)

# of the cells that hold a value, how many make a column one of numbers or dates: the rest is named
MOSTLY = 0.5

# categories that differ in more than this share of the rows, of at least so many, name them
NAMING_SHARE, NAMING_ROWS = 0.9, 20

# words in the middle of a text that is no category
WORDS_OF_A_TEXT = 4

# digits that a number keeps in float64
EXACT_DIGITS = 15

CODE = re.compile(r"[+-]?0[0-9]+")
IDENTIFIER = re.compile(r"(.*_)?(id|uuid|guid|key|index|nr|no|number)")
# what may stand between thousands beside commas and points
SPACES = " \u00a0\u202f'\u2019"
NUMBER_LIKE = re.compile(rf"[+-]?[0-9.,{SPACES}]*[0-9][.,]?([eE][+-]?[0-9]+)?")
THOUSANDS_WITH_POINTS = re.compile(r"[+-]?[1-9][0-9]?[0-9]?\.[0-9][0-9][0-9]")
UNIT = re.compile(r"(%|[$€£¥₹]|EUR|USD|GBP|CHF)")


@dataclass(frozen=True)
class Recognised:
    """What a column is.

    Attributes:
        kind: of `preprocessing.KINDS`.
        notation: of numbers.
        order: of dates.
    """

    kind: str
    notation: Notation = field(default_factory=Notation)
    order: Order = "ymd"

    def fit(
        self, name: str, cells: Sequence[Any], markers: Collection[str], scaling: Scaling
    ) -> Column:
        """The column, fitted to the cells of the training rows."""
        if self.kind == "number":
            return NumberColumn.fit(name, cells, markers, scaling, self.notation)
        if self.kind == "date":
            return DateColumn.fit(name, cells, markers, scaling, self.order)
        if self.kind == "boolean":
            return BooleanColumn(name)
        return CategoryColumn.fit(name, cells, markers)


@dataclass(frozen=True)
class LeftOut:
    """A column from which nothing is learned.

    Attributes:
        reason: what it is.
    """

    reason: str


def recognise(
    name: str,
    cells: Sequence[Any],
    markers: Collection[str],
    given: Kind | None,
    account: Account,
) -> Recognised | LeftOut:
    """What a column is.

    Args:
        name: of the column.
        cells: of the training rows.
        markers: texts for values that are missing, in lower case.
        given: what the settings say that it is.
        account: gets what is unusual about it.

    Raises:
        DataError: it can be read in two ways, or not as the settings say.
    """
    known = [cell for cell in cells if not is_missing(cell, markers)]
    if given == "ignore":
        return LeftOut("ignored, as the settings say")
    if not known:
        return LeftOut("a column without a value")
    texts = Counter(map(text_of, known))
    if len(texts) == 1 and len(known) == len(cells):
        return LeftOut(f"a column that always holds {next(iter(texts))!r}")
    if given is not None:
        return _as_given(name, known, given, account)
    return _by_cells(name, known, texts, account)


def _as_given(name: str, known: Sequence[Any], kind: Kind, account: Account) -> Recognised:
    if kind == "number":
        return Recognised(kind, notation=_notation(name, known, account))
    if kind.startswith("date"):
        order = _order(name, known) if kind == "date" else kind.removeprefix("date_")
        return Recognised("date", order=order)  # type: ignore[arg-type]  # of the kind's name
    return Recognised(kind)


def _by_cells(
    name: str, known: Sequence[Any], texts: Counter[str], account: Account
) -> Recognised | LeftOut:
    if all(isinstance(cell, bool) for cell in known) or _are_words_for_truth(texts):
        return Recognised("boolean")
    codes = [text for text in texts if CODE.fullmatch(text)]
    too_long = [text for text in texts if _digits(text) > EXACT_DIGITS]
    if codes or too_long:
        why = "with leading zeros" if codes else f"of more than {EXACT_DIGITS} digits"
        account.note(f"column {name!r} holds codes {why}, no numbers: {(codes or too_long)[0]!r}")
        return _category(known, texts)
    dates = sum(count for text, count in texts.items() if _may_be_date(text))
    if dates > MOSTLY * len(known):
        recognised = Recognised("date", order=_order(name, known))
    elif sum(count for text, count in texts.items() if _may_be_number(text)) > MOSTLY * len(known):
        if _counts_rows(name, texts, len(known)):
            return LeftOut("a column that numbers or names the rows")
        recognised = Recognised("number", notation=_notation(name, known, account))
    else:
        return _category(known, texts)
    _refuse_others(name, recognised, texts, known)
    return recognised


def _are_words_for_truth(texts: Counter[str]) -> bool:
    """Whether there are two words, for true and false; 0 and 1 are numbers, which 2 may join."""
    is_word = not any(PLAIN.fullmatch(text) for text in texts)
    return is_word and len(texts) == 2 and {truth_of(text) for text in texts} == {True, False}


def _digits(text: str) -> int:
    return len(text.lstrip("+-")) if text.lstrip("+-").isdecimal() else 0


def _may_be_date(text: str) -> bool:
    if len(text) != len("20240131") and PLAIN.fullmatch(text):  # soon told, of many numbers
        return False
    return any(date_of(text, order) is not None for order in get_args(Order))


def _category(known: Sequence[Any], texts: Counter[str]) -> Recognised | LeftOut:
    many = len(known) >= NAMING_ROWS and len(texts) > NAMING_SHARE * len(known)
    words = sorted(len(text.split()) for text in texts)
    if words[len(words) // 2] >= WORDS_OF_A_TEXT and len(texts) > 2:
        return LeftOut("a column of texts")
    if many:
        return LeftOut("a column that numbers or names the rows")
    return Recognised("category")


def _counts_rows(name: str, texts: Counter[str], rows: int) -> bool:
    """Whether integers, no two of them equal, count the rows or are called an identifier."""
    if len(texts) < rows or not all(text.lstrip("+-").isdecimal() for text in texts):
        return False
    is_called = IDENTIFIER.fullmatch(plain_column(name)) or name in ROW_NUMBERS
    return is_row_number(list(texts)) or (bool(is_called) and rows >= NAMING_ROWS)


# --- Numbers -------------------------------------------------------------------------------------


def _may_be_number(text: str) -> bool:
    if PLAIN.fullmatch(text):
        return True
    return NUMBER_LIKE.fullmatch(UNIT.sub("", text).strip()) is not None


def _notation(name: str, known: Sequence[Any], account: Account) -> Notation:
    """How these numbers are written.

    Raises:
        DataError: with several units, or in two ways.
    """
    texts = [
        text_of(cell) for cell in known if isinstance(cell, str) and not isinstance(cell, Written)
    ]
    texts = [text for text in texts if _may_be_number(text)]
    units = Counter(found[0] if (found := UNIT.search(text)) else "" for text in texts)
    if len(units) > 1:
        raise DataError(
            f"column {name!r} holds numbers with {shown([unit or 'no unit' for unit in units])}; "
            "bring them to one unit"
        )
    unit = next(iter(units), "")
    bare = [UNIT.sub("", text).strip() for text in texts]
    if all(map(PLAIN.fullmatch, bare)):
        if bare and all(map(THOUSANDS_WITH_POINTS.fullmatch, bare)):
            account.note(
                f"column {name!r} has a point before decimals: {bare[0]!r} is a little more "
                f"than {bare[0].partition('.')[0]}"
            )
        return Notation(unit=unit)
    fitting = [
        notation
        for notation in (
            Notation(".", ",", unit),
            Notation(",", "", unit),
            Notation(",", ".", unit),
            *(Notation(".", mark, unit) for mark in SPACES),
            *(Notation(",", mark, unit) for mark in SPACES),
        )
        if all(notation.number(text) is not None for text in bare)
    ]
    readings = {tuple(notation.number(text) for text in bare): notation for notation in fitting}
    if len(readings) > 1:
        example = next(text for text in bare if not PLAIN.fullmatch(text))
        ways = " or ".join(f"{notation.number(example):.15g}" for notation in readings.values())
        raise DataError(
            f"column {name!r} can be read in two ways: {example!r} is {ways}; write it with a "
            "point before decimals, and nothing between thousands"
        )
    return next(iter(readings.values()), Notation(unit=unit))


# --- Dates ---------------------------------------------------------------------------------------


def _order(name: str, known: Sequence[Any]) -> Order:
    """In which order year, month and day stand.

    Raises:
        DataError: day and month could each be the other.
    """
    counts = {
        order: sum(date_of(cell, order) is not None for cell in known) for order in get_args(Order)
    }
    best = max(counts.values())
    if counts["dmy"] == counts["mdy"] == best and any(
        date_of(cell, "dmy") != date_of(cell, "mdy") for cell in known
    ):
        example = next(cell for cell in known if date_of(cell, "dmy") != date_of(cell, "mdy"))
        raise DataError(
            f"column {name!r} holds dates such as {text_of(example)!r}, whose day and month could "
            f"each be the other; say which with --columns {name}=date_dmy or {name}=date_mdy"
        )
    return next(order for order in get_args(Order) if counts[order] == best)


# --- What does not fit ---------------------------------------------------------------------------


def _refuse_others(
    name: str, recognised: Recognised, texts: Counter[str], known: Sequence[Any]
) -> None:
    """Cells that are not what the rest of their column is.

    Raises:
        DataError: naming them.
    """
    if recognised.kind == "number":
        others = [c for c in known if recognised.notation.number(c) is None]
    else:
        others = [c for c in known if date_of(c, recognised.order) is None]
    if others:
        found = list(dict.fromkeys(map(text_of, others)))
        noun = "numbers" if recognised.kind == "number" else "dates"
        raise DataError(
            f"column {name!r} holds {noun}, but also {shown(found)} ({len(others)} of "
            f"{sum(texts.values())} values); if that means that there is none, --missing_values "
            f"{found[0]}; if these are categories, --columns {name}=category"
        )
