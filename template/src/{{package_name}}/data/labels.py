"""From the cells of a table, or the names of folders, to what a network learns."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..serving.runtime.tables import Number
from .account import Account, shown
from .tables import Table

Place: TypeAlias = Callable[[int], str]
"""Where a row is, for messages."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
# how other programs write that there is no value
MISSING = ("nan", "null", "n/a", "#n/a", "<na>")
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


# --- One class -----------------------------------------------------------------------------------


def read_classes(
    values: Sequence[Any], place: Place, names: list[str] | None, account: Account
) -> tuple[list[int], list[str]]:
    """Each row's class as a position in the list of classes, and that list.

    Names that differ in their Unicode form only are one class; spaces around a name do not count.

    Args:
        values: one for each row.
        place: says where a row is.
        names: the training data's classes; None to take those of these rows.
        account: gets a problem for each row without a class, or with one that training lacks.

    Returns:
        positions, -1 where there is a problem.
    """
    cleaned = [_class_name(value, place, row, account) for row, value in enumerate(values)]
    _say_what_was_tidied(values, cleaned, account)
    if names is None:
        names = sorted({name for name in cleaned if name is not None})
        _warn_of_likely_mistakes(names, len(values), account)
    positions = {name: position for position, name in enumerate(names)}
    for row, name in enumerate(cleaned):
        if name is not None and name not in positions:
            account.unknown.add(name)
            account.problems.append(f"{place(row)}: label {name!r} is not in the training data")
    return [positions.get(name, -1) if name is not None else -1 for name in cleaned], names


def check_classes(names: Sequence[str], data: str) -> None:
    """One class leaves nothing to tell apart.

    Raises:
        DataError: there are fewer than two.
    """
    if len(names) < 2:
        found = f"a single class, {names[0]!r}" if names else "no class"
        raise DataError(f"{data} has {found}; there must be two or more to tell apart")


def class_text(value: Any) -> str:
    """A class as text; the words of JSON for what is true or false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def plain_name(name: str) -> str:
    """The name in Unicode's composed form, without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def _class_name(value: Any, place: Place, row: int, account: Account) -> str | None:
    if value is None or not (name := plain_name(class_text(value))):
        account.problems.append(f"{place(row)}: the label is missing")
    elif isinstance(value, list | tuple | dict):
        account.problems.append(f"{place(row)}: the label is {value!r}; it must be one class")
    elif "\n" in name:
        account.problems.append(
            f"{place(row)}: the label goes over several lines, {name!r}; is a quote not closed?"
        )
    else:
        return name
    return None


def _say_what_was_tidied(
    values: Sequence[Any], cleaned: Sequence[str | None], account: Account
) -> None:
    pairs = {(class_text(v), name) for v, name in zip(values, cleaned, strict=True) if name}
    trimmed = sorted(name for value, name in pairs if value != value.strip())
    if trimmed:
        account.note(f"spaces around class names were trimmed: {shown(sorted(set(trimmed)))}")
    forms = Counter(name for _, name in {(value.strip(), name) for value, name in pairs})
    if merged := sorted(name for name, count in forms.items() if count > 1):
        account.note(f"class names in several Unicode forms are one class: {shown(merged)}")


def _warn_of_likely_mistakes(names: list[str], rows: int, account: Account) -> None:
    for name in names:
        if name.casefold() in MISSING:
            account.warn(f"class {name!r} looks like a value that is missing; is it one?")
    for what, same in LIKELY_MISTAKES.items():
        groups: dict[Any, list[str]] = {}
        for name in names:
            groups.setdefault(same(name), []).append(name)
        for key, group in groups.items():
            if key is not None and len(group) > 1:
                account.warn(f"classes {shown(group)} differ only {what}; are they one?")
    if len(names) > max(20, rows // 2):
        account.warn(
            f"{len(names)} classes in {rows} samples: is this column a name or a measurement?"
        )


def _as_number(name: str) -> float | None:
    return float(name) if NUMBER.fullmatch(name) else None


def _as_seen(name: str) -> str:
    """Without what cannot be seen, and with what looks alike made equal."""
    seen = "".join(one for one in name if unicodedata.category(one) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).split())


# how names may differ that were meant to be one, and what is the same of them then
LIKELY_MISTAKES: dict[str, Callable[[str], Any]] = {
    "in case": str.casefold,
    "in how a number is written": _as_number,
    "in spaces or in characters that look alike or cannot be seen": _as_seen,
}


# --- Any number of labels ------------------------------------------------------------------------

LABEL_SEPARATORS = (";", ",", "|")


def read_multi_hot(
    values: Sequence[Any],
    place: Place,
    names: list[str] | None,
    separator: str | None,
    account: Account,
) -> tuple[list[list[float]], list[str]]:
    """Each row's labels as zeros and ones, and the list of labels.

    A value is a list, a list in JSON's notation, names with a separator between, one name or
    number, a dictionary of names with true or false, or a vector of zeros and ones.

    Args:
        values: one for each row.
        place: says where a row is.
        names: the training data's labels; None to take those of these rows.
        account: gets a problem for each row that cannot be read, or has a label training lacks.
        separator: between labels in one text; None to recognise it.

    Returns:
        one list of floats for each row, as long as the list of labels.

    Raises:
        DataError: separators are mixed, or no row has a label.
    """
    lists = [_label_list(value, place, row, account) for row, value in enumerate(values)]
    texts = [value for value in lists if isinstance(value, str)]
    if separator is None:
        separator = _label_separator(texts, place(0).partition(", ")[0], account)
    found = [value.split(separator) if isinstance(value, str) else value for value in lists]
    if _are_vectors(found):
        account.note("labels are vectors of zeros and ones; they are named by their position")
        found = [[str(i) for i, one in enumerate(row) if one in TRUE] for row in found]
    cleaned = [list(dict.fromkeys(filter(None, map(plain_name, row)))) for row in found]
    if names is None:
        names = sorted({label for row in cleaned for label in row})
        _warn_of_likely_mistakes(names, len(values), account)
        if not names:
            raise DataError(f"{place(0).partition(', ')[0]}: no sample has a label")
    return _multi_hot(cleaned, place, names, account), names


def read_one_hot(
    table: Table, columns: Sequence[str], account: Account
) -> tuple[list[list[float]], list[str]]:
    """Columns of zeros and ones, each a label of its own.

    Raises:
        DataError: no sample has a label.
    """
    multi_hot = np.zeros((len(table), len(columns)), dtype=np.float32)
    for position, name in enumerate(columns):
        for row, value in enumerate(table.values(name)):
            multi_hot[row, position] = _holds(value, f"{table.place(row)}: {name}", account)
    if not multi_hot.any():
        raise DataError(f"{table.name}: no sample has a label")
    return multi_hot.tolist(), list(columns)


def is_one_hot(values: Sequence[Any]) -> bool:
    """Whether a column holds nothing but zeros and ones, or true and false."""
    return all(class_text(value).strip().lower() in TRUE + FALSE[:-1] for value in values)


def _label_list(value: Any, place: Place, row: int, account: Account) -> list[str] | str:
    """Labels of one cell; still one text where a separator decides."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [name for name, v in value.items() if _holds(v, f"{place(row)}: {name}", account)]
    if isinstance(value, list | tuple):
        return [class_text(label) for label in value if label is not None]
    if isinstance(value, str) and not isinstance(value, Number) and value.strip()[:1] in "[{":
        return _noted_list(value.strip(), place, row, account)
    return str(value)


def _noted_list(text: str, place: Place, row: int, account: Account) -> list[str] | str:
    """A list or dictionary in the notation of JSON, or of Python, which CSV files hold."""
    if not text:
        return []
    for candidate in (text, text.replace("'", '"')):
        try:
            value = json.loads(candidate, parse_float=Number, parse_int=Number)
        except ValueError:
            continue
        return _label_list(value, place, row, account)
    account.problems.append(f"{place(row)}: {text!r} is not a list in JSON's notation")
    return []


def _holds(value: Any, place: str, account: Account) -> bool:
    text = class_text(value).strip().lower() if value is not None else ""
    if text not in TRUE + FALSE:
        account.problems.append(f"{place} is {value!r}; give 1 or 0")
    return text in TRUE


def _label_separator(texts: Sequence[str], name: str, account: Account) -> str:
    """The one separator that these texts hold.

    Raises:
        DataError: there are several, or it cannot be told whether a space is one.
    """
    used = {mark: [text for text in texts if mark in text] for mark in LABEL_SEPARATORS}
    used = {mark: examples for mark, examples in used.items() if examples}
    if len(used) > 1:
        examples = " and ".join(repr(found[0]) for found in used.values())
        raise DataError(
            f"{name}: labels are separated in several ways, as in {examples}; use one, or say "
            "which one separates with --label_separator"
        )
    spaced = [text for text in texts if " " in text.strip()]
    if not used and spaced:
        text = spaced[0].strip()
        parts = text.split()
        raise DataError(
            f"{name}: {text!r} can be one label or the {len(parts)} labels {shown(parts)}; give "
            "--label_separator ';' for one, --label_separator ' ' for several"
        )
    separator = next(iter(used), ";")
    if separator != ";":
        account.note(f"labels are separated by {separator!r}")
    return separator


def _are_vectors(rows: Sequence[Sequence[str]]) -> bool:
    """Whether lists are zeros and ones for every label: they repeat, as lists of labels do not."""
    lengths = set(map(len, rows))
    return (
        len(lengths) == 1
        and all(value in TRUE[:3] + FALSE[:3] for row in rows for value in row)
        and any(len(set(row)) < len(row) for row in rows)
    )


def _multi_hot(
    rows: Sequence[Sequence[str]], place: Place, names: list[str], account: Account
) -> list[list[float]]:
    positions = {name: position for position, name in enumerate(names)}
    multi_hot = np.zeros((len(rows), len(names)), dtype=np.float32)
    for row, labels in enumerate(rows):
        for label in labels:
            if label in positions:
                multi_hot[row, positions[label]] = 1
            else:
                account.unknown.add(label)
                account.problems.append(
                    f"{place(row)}: label {label!r} is not in the training data"
                )
    found: list[list[float]] = multi_hot.tolist()
    return found


# --- Numbers -------------------------------------------------------------------------------------


def read_values(
    table: Table, columns: Sequence[str], account: Account
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Columns of numbers as they are; of a column of lists, one for each element.

    Args:
        table: the rows.
        columns: which ones.
        account: gets a problem for each row that holds something else.

    Returns:
        float64 [N, K] and the K names; NaN where there is a problem.
    """
    numbers: dict[str, list[float]] = {}
    for name in columns:
        values = [_listed(value) for value in table.values(name)]
        is_list = [isinstance(value, list) for value in values]
        if any(is_list):
            numbers |= _elements(table, name, values, account)
        else:
            numbers[name] = _numbers(table, name, values, account)
    return np.array(list(numbers.values()), dtype=np.float64).T, list(numbers)


def _listed(value: Any) -> Any:
    """A cell, a list in JSON's notation being a list."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            return json.loads(value, parse_float=Number, parse_int=Number)
        except ValueError:
            return value
    return value


def _elements(
    table: Table, name: str, values: Sequence[Any], account: Account
) -> dict[str, list[float]]:
    lengths = Counter(len(value) for value in values if isinstance(value, list))
    width = lengths.most_common(1)[0][0]
    rows = []
    for row, value in enumerate(values):
        if isinstance(value, list) and len(value) == width:
            rows.append(value)
        else:
            account.problems.append(
                f"{table.place(row)}: {name} is {value!r}; it must be a list of {width} numbers"
            )
            rows.append(["0"] * width)
    return {
        f"{name}[{element}]": _numbers(table, name, [value[element] for value in rows], account)
        for element in range(width)
    }


def _numbers(table: Table, name: str, values: Sequence[Any], account: Account) -> list[float]:
    texts = [str(value).strip() if value is not None else "" for value in values]
    may_be_decimal = "separated" in table.form and "comma-separated" not in table.form
    has_commas = may_be_decimal and any("," in text for text in texts)
    if has_commas and all(DECIMAL_COMMA.fullmatch(text) for text in texts if text):
        if example := _thousands(texts):
            raise DataError(
                f"{table.name}: {example!r} in column {name!r} can be {example.replace(',', '.')} "
                f"or {example.replace(',', '')}; write it with a point, or without the comma"
            )
        account.note(f"column {name!r} has decimal commas")
        texts = [text.replace(",", ".") for text in texts]
    found = []
    for row, text in enumerate(texts):
        number = float(text) if NUMBER.fullmatch(text) else np.nan
        if not np.isfinite(number):
            what = f"{values[row]!r}, not a finite number" if text else "missing"
            account.problems.append(f"{table.place(row)}: {name} is {what}")
            number = np.nan
        found.append(number)
    return found


def _thousands(texts: Sequence[str]) -> str | None:
    """The first number with a comma, if each comma could as well set thousands apart."""
    commas = [text for text in texts if "," in text]
    return commas[0] if all(THOUSANDS.fullmatch(text) for text in commas) else None


def holds_numbers(values: Sequence[Any]) -> bool:
    """Whether a column has a number, or a list, anywhere; decimal commas count."""
    return any(
        isinstance(value, list)
        or (
            isinstance(value, str | int | float)
            and (str(value).strip()[:1] == "[" or NUMBER.match(str(value).strip()) is not None)
        )
        for value in values
    )


def is_row_number(values: Sequence[Any]) -> bool:
    """Whether a column counts the rows, from 0 or from 1."""
    texts = [str(value) for value in values]
    return len(texts) > 1 and (
        texts == [str(row) for row in range(len(texts))]
        or texts == [str(row + 1) for row in range(len(texts))]
    )
