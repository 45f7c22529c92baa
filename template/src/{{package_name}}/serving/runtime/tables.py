"""Reading tables exactly: what is written in a cell stays what was written there.

Cells of CSV, and numbers of JSON, are kept as text; only whoever needs a number makes one of them.
Inferring types would turn `007` into 7, merge `1.1` with `1.10`, and refuse what comes late.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any

from .encodings import UnknownEncoding, decode_text
from .messages import shown

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
DELIMITED = (".csv", ".tsv")
PARQUET = ".parquet"
SUFFIXES = (*DELIMITED, ".jsonl", ".ndjson", ".json", PARQUET)

OTHER_TABLES = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "a spreadsheet; save it as CSV"
    ),
    **dict.fromkeys((".feather", ".arrow", ".orc", ".avro"), "not read here; save it as Parquet"),
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"), "a pickle, which could run code; save it as CSV"
    ),
    **dict.fromkeys(
        (".gz", ".zip", ".xz", ".bz2", ".zst", ".7z", ".tar", ".tgz"), "packed; unpack it"
    ),
    **dict.fromkeys(
        (".sqlite", ".db", ".h5", ".hdf5", ".mat"), "not read here; save it as Parquet"
    ),
}


class Number(str):
    """A number as JSON has it: the very characters."""


class UnreadableTable(ValueError):
    """A file that is no such table, or lacks a column; the message says why, and what to do."""


@dataclass
class Findings:
    """What is said of a table beside its rows.

    Attributes:
        problems: number of each row that cannot be used, and why.
        blank: numbers of rows without values.
        notes: what was tidied up.
        empty_columns: how many have neither a name nor a value.
    """

    problems: list[tuple[int, str]] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    empty_columns: int = 0


@dataclass(frozen=True)
class TextTable:
    """A table whose cells nobody has interpreted.

    Attributes:
        columns: values by name; text, `Number`, None, or what JSON nests.
        numbers: of each row in its file, from 1: the line on which it begins, for instance.
        unit: what they count: `line` or `item`.
        form: how it was read, for people.
        findings: rows that are missing here or of no use, and why.
        objects: of JSON the rows as they stand there; one that lacks a column has it in `columns`
            as None.
        is_one: whether the file is one row, and not a list of such.
    """

    columns: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]
    unit: str
    form: str
    findings: Findings
    objects: Sequence[Mapping[str, Any]] | None = None
    is_one: bool = False

    def row(self, position: int) -> Mapping[str, Any]:
        """The cells of a row, from 0, with only the columns that it has."""
        if self.objects is not None:
            return self.objects[position]
        return {name: values[position] for name, values in self.columns.items()}

    def entries(self) -> Iterator[tuple[str, int | str]]:
        """All rows that the file has, in order.

        Yields:
            where it is in the file, and its position, or why it is of no use.
        """
        bad: dict[int, int | str] = dict.fromkeys(self.findings.blank, "a row without values")
        bad |= dict(self.findings.problems)
        good = ((n, position) for position, n in enumerate(self.numbers) if n not in bad)
        for number, found in merge(good, sorted(bad.items()), key=lambda entry: entry[0]):
            yield f"{self.unit} {number}", found


def read_text_table(path: Path) -> TextTable:
    """Read a table of any suffix but Parquet's.

    Raises:
        UnreadableTable: it cannot be read at all.
        OSError: it cannot be opened.
    """
    return parse_text_table(path.read_bytes(), path.suffix.lower())


def parse_text_table(content: bytes, suffix: str) -> TextTable:
    """What `read_text_table` reads of a file.

    Args:
        content: of the file.
        suffix: of its name, in lower case.

    Raises:
        UnreadableTable: it cannot be read at all.
    """
    try:
        text, encoding = decode_text(content)
    except UnknownEncoding as error:
        raise UnreadableTable(str(error)) from error
    if not text.strip():
        raise UnreadableTable("it is empty")
    if suffix in DELIMITED:
        return _read_delimited(text, encoding, is_tsv=suffix == ".tsv")
    return _read_json(text, encoding, may_be_one=suffix == ".json")


# --- Columns -------------------------------------------------------------------------------------


def recognise_column(
    columns: Sequence[str], names: Sequence[str], given: str | None, option: str
) -> str | None:
    """The column that plays a role; None where none is called so and none was given.

    Args:
        columns: of the table.
        names: what such a column is called, the documented name first.
        given: the name that the user gave; None to recognise one.
        option: under which a user gives it.

    Raises:
        UnreadableTable: not the column that was given, or several that could be it.
    """
    if given is not None:
        if given not in columns:
            raise UnreadableTable(
                f"it has no column {given!r} ({option}); it has {all_of(columns)}"
            )
        return given
    if names[0] in columns:
        return names[0]
    found = [name for name in columns if plain_column(name) in names]
    if len(found) > 1:
        raise UnreadableTable(
            f"columns {shown(found)} could each be {names[0]!r}; say which with {option} {found[0]}"
        )
    return found[0] if found else None


def find_column(
    columns: Sequence[str], names: Sequence[str], given: str | None, option: str, form: str
) -> str:
    """As `recognise_column`, but there must be one.

    Args:
        columns: of the table.
        names: what such a column is called, the documented name first.
        given: the name that the user gave; None to recognise one.
        option: under which a user gives it.
        form: how the table was read.

    Raises:
        UnreadableTable: as there, or nothing by a usual name.
    """
    found = recognise_column(columns, names, given, option)
    if found is None:
        header = ", going by its first line" if "separated" in form else ""
        raise UnreadableTable(
            f"it has no column {names[0]!r}, nor one by another usual name; it has "
            f"{all_of(columns)}{header}. Give {option} NAME"
        )
    return found


def plain_column(name: str) -> str:
    """A column's name as lists of usual names spell it."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def all_of(columns: Sequence[str]) -> str:
    """The names of columns, quoted."""
    return ", ".join(map(repr, columns)) or "none"


# --- Separated values ----------------------------------------------------------------------------


def _read_delimited(text: str, encoding: str, *, is_tsv: bool) -> TextTable:
    findings = Findings()
    csv.field_size_limit(sys.maxsize)  # a text may be longer than the 128 KiB that is the default
    text, skipped = _without_hint(text)
    separator = "\t" if is_tsv else _separator(text)
    spaced = _has_spaced_quotes(text, separator)
    if spaced:
        findings.notes.append("spaces between a separator and a value are no part of the value")
    records = _records(text, separator, spaced, skipped, findings)
    first = next(records, None)
    if first is None:
        reasons = [reason for _, reason in findings.problems]
        raise UnreadableTable(f"it has no header: {reasons[0]}" if reasons else "it has no header")
    header = [name.strip() for name in first[1]]
    rows: list[list[str]] = []
    lines: list[int] = []
    spanning: list[int] = []
    for line, fields in records:
        if not any(fields):
            findings.blank.append(line)
        elif len(fields) != len(header):
            reason = (
                f"{_count(len(fields), 'value')}, but the header has "
                f"{_count(len(header), 'column')}; quote a value that holds the separator "
                f"({SEPARATORS[separator]})"
            )
            findings.problems.append((line, reason))
        else:
            if any("\n" in field or "\r" in field for field in fields):
                spanning.append(len(rows))
            rows.append(fields)
            lines.append(line)
    whole = set(range(len(rows))) - set(spanning)
    beginnings = {rows[row][0] for row in whole} - {""}
    endings = {rows[row][-1] for row in whole} - {""}
    for row in spanning:
        if _swallows(rows[row], beginnings, endings, separator):
            end = lines[row] + sum(field.count("\n") for field in rows[row])
            reason = (
                f"a quoted value begins here and goes on to line {end}, over what look like rows; "
                'close it, or write "" for a quote inside it'
            )
            findings.problems.append((lines[row], reason))
    columns = _columns(header, rows, findings)
    form = f"{SEPARATORS[separator]}-separated, {encoding}"
    return TextTable(columns, lines, "line", form, findings)


def _without_hint(text: str) -> tuple[str, int]:
    """The text without the line `sep=;` that spreadsheets write, and how many lines went."""
    first, _, rest = text.partition("\n")
    return (rest, 1) if first.strip().lower().startswith("sep=") else (text, 0)


def _separator(text: str) -> str:
    """The separator of the header, by which the first rows come out as long as it."""
    readings = {}
    for separator in SEPARATORS:
        lengths = []
        try:
            for fields in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
                lengths += [len(fields)] if fields else []
                if len(lengths) == 100:
                    break
        except csv.Error:
            pass  # the real reading says where
        if lengths and lengths[0] > 1:
            readings[separator] = sum(length == lengths[0] for length in lengths) / len(lengths)
    if not readings:
        return ","
    best = [separator for separator, share in readings.items() if share == max(readings.values())]
    if len(best) > 1:
        names = " or the ".join(SEPARATORS[separator] for separator in best)
        raise UnreadableTable(
            f"the separator could be the {names}; both give rows of equal length. "
            "Quote the values that hold the other one, or save the table as .tsv or .jsonl"
        )
    return best[0]


def _has_spaced_quotes(text: str, separator: str) -> bool:
    """Whether a value is quoted behind a space, as in `a, "b"`; the quotes would be part of it."""
    if not re.search(f'{re.escape(separator)} +"', text):
        return False
    try:
        return any(
            field.startswith(" ") and field.lstrip(" ").startswith('"')
            for fields in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            for field in fields
        )
    except csv.Error:
        return False  # the real reading says where


def _records(
    text: str, separator: str, spaced: bool, skipped: int, findings: Findings
) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, each with the line on which it begins."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=spaced
    )
    while True:
        line = reader.line_num + 1 + skipped
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = (
                f"a quoted value begins here that is not closed as it should be ({error}); "
                'close it, or write "" for a quote inside it'
            )
            findings.problems.append((line, reason))
            return
        if fields:
            yield line, fields


def _columns(header: list[str], rows: list[list[str]], findings: Findings) -> dict[str, list[str]]:
    """Values by name, without the empty columns that spreadsheets write at the end."""
    columns = [(name, [fields[place] for fields in rows]) for place, name in enumerate(header)]
    used = [(name, values) for name, values in columns if name or any(map(str.strip, values))]
    findings.empty_columns = len(columns) - len(used)
    if twice := [name for name, count in Counter(name for name, _ in used).items() if count > 1]:
        raise UnreadableTable(f"several columns named {shown(twice)}; rename all but one")
    return dict(used)


def _swallows(fields: list[str], beginnings: set[str], endings: set[str], separator: str) -> bool:
    """Whether a quoted value holds whole rows, which an unclosed quote had made part of it.

    A line of the value gives that away: it has as many values as a row, and ends in one that other
    rows have in their last column, or begins with one that they have in their first.

    Args:
        fields: of the row.
        beginnings: values in the first column of other rows.
        endings: values in their last column.
        separator: between values.
    """
    for position, value in enumerate(fields):
        pieces = [piece.rstrip("\r").split(separator) for piece in value.split("\n")]
        for place, values in enumerate(pieces):
            is_first, is_last = place == 0, place == len(pieces) - 1
            before = position if is_first else 0
            after = len(fields) - 1 - position if is_last else 0
            if len(fields) == 1 or before + len(values) + after != len(fields):
                continue
            if not is_last and values[-1].strip('" ') in endings:
                return True
            if not is_first and values[0].strip('" ') in beginnings:
                return True
    return False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- JSON ----------------------------------------------------------------------------------------


def _read_json(text: str, encoding: str, *, may_be_one: bool) -> TextTable:
    findings = Findings()
    is_array = text.lstrip().startswith("[")
    one = None if is_array else _single_object(text)
    is_one = one is not None and may_be_one
    objects = [(1, one)] if is_one else _array(text) if is_array else _json_lines(text, findings)
    found: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, value in objects:
        if isinstance(value, dict):
            found.append(value)
            numbers.append(number)
        else:
            findings.problems.append((number, "not an object with named values"))
    names = list(dict.fromkeys(name for row in found for name in row))
    columns = {name: [row.get(name) for row in found] for name in names}
    unit, form = ("item", "a JSON array") if is_array else ("line", "JSON lines")
    return TextTable(columns, numbers, unit, f"{form}, {encoding}", findings, found, is_one)


def _single_object(text: str) -> dict[str, Any] | None:
    """The object that the text is; None where it is several, or damaged.

    Raises:
        UnreadableTable: it is one of columns, as pandas writes by default, or of images and
            annotations.
    """
    try:
        found = parse_exactly(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    if all(isinstance(value, dict | list) for value in found.values()):
        raise UnreadableTable(
            f"it holds one object, {shown(list(found))}, and no rows; save it as a list of "
            "rows, in pandas with to_json(orient='records')"
        )
    return found


def _array(text: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(parse_exactly(text), start=1)
    except ValueError as error:
        raise UnreadableTable(f"it is not JSON: {error}") from error


def _json_lines(text: str, findings: Findings) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, parse_exactly(line)
        except ValueError as error:
            findings.problems.append((number, f"not JSON: {error}"))


def parse_exactly(text: str | bytes) -> Any:
    """JSON whose numbers are the characters that stand there.

    Raises:
        ValueError: it is none, nested too deeply, or a name comes twice in one object.
    """
    try:
        return json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=Number,
            object_pairs_hook=_without_repeats,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := [name for name, count in Counter(n for n, _ in pairs).items() if count > 1]:
        raise ValueError(f"the name {twice[0]!r} comes twice in one object")
    return dict(pairs)
