"""Reading tables exactly: what is written in a cell stays what was written there.

Cells of CSV, and numbers of JSON, are kept as text; only whoever needs a number makes one of them.
Inferring types would turn `007` into 7, merge `1.1` with `1.10`, and refuse what comes late.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .account import Account, shown
from .encodings import UnknownEncoding, decode_text

if TYPE_CHECKING:
    import datasets

HUB = "hub:"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
TABLES = "CSV, TSV, JSON, JSONL or Parquet"

# names of columns in which a table's index was saved with it, perhaps more than once
INDEX_NAME = re.compile(r"|unnamed: 0(\.\d+)?|__index_level_\d+__")

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


@dataclass(frozen=True)
class Table:
    """A table whose cells nobody has interpreted.

    Attributes:
        name: its file, or set of the hub, for messages.
        columns: values by name; text, `Number`, None, or what Parquet and JSON nest.
        numbers: of each row in its file, from 1: the line on which it begins, for instance.
        unit: what they count: `line`, `item` or `row`.
        form: how it was read, for people.
        stored: the same rows on disk, for values too large to hold in memory; None for text files.
        files: of each row its file, where the table has several.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]
    unit: str
    form: str
    stored: datasets.Dataset | None = None
    files: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def values(self, name: str) -> list[Any]:
        """A whole column, in memory."""
        return list(self.columns[name][:])

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        file = self.files[row] if self.files else self.name
        return f"{file}, {self.unit} {self.numbers[row]}"

    def select(self, rows: Sequence[int]) -> Table:
        """Some of the rows; messages still say where they were."""
        stored = self.stored.select(rows) if self.stored is not None else None
        columns = (
            {name: [values[row] for row in rows] for name, values in self.columns.items()}
            if stored is None
            else stored_columns(stored)
        )
        numbers = [self.numbers[row] for row in rows]
        files = [self.files[row] for row in rows] if self.files else ()
        return replace(self, columns=columns, numbers=numbers, files=files, stored=stored)

    def without(self, column: str) -> Table:
        """All columns but one."""
        return replace(self, columns={n: v for n, v in self.columns.items() if n != column})

    def index_columns(self) -> list[str]:
        """Columns in which a row's number was saved with the table."""
        return [name for name in self.columns if INDEX_NAME.fullmatch(name.strip().lower())]


def read_table(path: Path, account: Account) -> Table:
    """Read a table; rows that cannot be read become problems of the account, each with its line.

    Raises:
        DataError: the file cannot be read at all.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        text, encoding = decode_text(path.read_bytes())
    except UnknownEncoding as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{path} is empty")
    if path.suffix.lower() in (".csv", ".tsv"):
        return _read_delimited(path, text, encoding, account)
    return _read_json(path, text, encoding, account)


# --- Separated values ----------------------------------------------------------------------------


def _read_delimited(path: Path, text: str, encoding: str, account: Account) -> Table:
    csv.field_size_limit(sys.maxsize)  # a text may be longer than the 128 KiB that is the default
    text, skipped = _without_hint(text)
    separator = "\t" if path.suffix.lower() == ".tsv" else _separator(path, text)
    spaced = _has_spaced_quotes(text, separator)
    if spaced:
        account.note(f"{path}: spaces between a separator and a value are no part of the value")
    records = _records(path, text, separator, spaced, skipped, account)
    header = [name.strip() for name in next(records)[1]]
    rows: list[list[str]] = []
    lines: list[int] = []
    spanning: list[int] = []
    for line, fields in records:
        if not any(fields):
            account.leave_out(f"{path}, line {line}", "a row without values")
        elif len(fields) != len(header):
            account.problems.append(
                f"{path}, line {line}: {_count(len(fields), 'value')}, but the header has "
                f"{_count(len(header), 'column')}; quote a value that holds the separator "
                f"({SEPARATORS[separator]})"
            )
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
            account.problems.append(
                f"{path}, line {lines[row]}: a quoted value begins here and goes on to line {end}, "
                'over what look like rows; close it, or write "" for a quote inside it'
            )
    columns = _columns(path, header, rows, account)
    return Table(
        str(path), columns, lines, "line", f"{SEPARATORS[separator]}-separated, {encoding}"
    )


def _without_hint(text: str) -> tuple[str, int]:
    """The text without the line `sep=;` that spreadsheets write, and how many lines went."""
    first, _, rest = text.partition("\n")
    return (rest, 1) if first.strip().lower().startswith("sep=") else (text, 0)


def _separator(path: Path, text: str) -> str:
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
        raise DataError(
            f"{path}: the separator could be the {names}; both give rows of equal length. "
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
    path: Path, text: str, separator: str, spaced: bool, skipped: int, account: Account
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
            account.problems.append(
                f"{path}, line {line}: a quoted value begins here that is not closed as it should "
                f'be ({error}); close it, or write "" for a quote inside it'
            )
            return
        if fields:
            yield line, fields


def _columns(
    path: Path, header: list[str], rows: list[list[str]], account: Account
) -> dict[str, list[str]]:
    """Values by name, without the empty columns that spreadsheets write at the end."""
    columns = [(name, [fields[place] for fields in rows]) for place, name in enumerate(header)]
    used = [(name, values) for name, values in columns if name or any(map(str.strip, values))]
    if len(used) < len(columns):
        blank = len(columns) - len(used)
        account.leave_out(f"{path}: {blank}", "columns without a name or a value")
    if twice := [name for name, count in Counter(name for name, _ in used).items() if count > 1]:
        raise DataError(f"{path} has several columns named {shown(twice)}; rename all but one")
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
    for position, field in enumerate(fields):
        pieces = [piece.rstrip("\r").split(separator) for piece in field.split("\n")]
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


def _read_json(path: Path, text: str, encoding: str, account: Account) -> Table:
    is_array = text.lstrip().startswith("[")
    _refuse_columns(path, text)
    objects = _array(path, text) if is_array else _json_lines(path, text, account)
    found: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, value in objects:
        if isinstance(value, dict):
            found.append(value)
            numbers.append(number)
        else:
            noun = "item" if is_array else "line"
            account.problems.append(f"{path}, {noun} {number}: not an object with named values")
    names = list(dict.fromkeys(name for row in found for name in row))
    columns = {name: [row.get(name) for row in found] for name in names}
    unit, form = ("item", "a JSON array") if is_array else ("line", "JSON lines")
    return Table(str(path), columns, numbers, unit, f"{form}, {encoding}")


def _refuse_columns(path: Path, text: str) -> None:
    """A single object of columns, as pandas writes by default, or of images and annotations."""
    try:
        found = _parse(text)
    except ValueError:
        return  # several lines, or damaged
    if isinstance(found, dict) and all(isinstance(value, dict | list) for value in found.values()):
        raise DataError(
            f"{path} holds one object, {shown(list(found))}, and no rows; save it as a list of "
            "rows, in pandas with to_json(orient='records')"
        )


def _array(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(_parse(text), start=1)
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def _json_lines(path: Path, text: str, account: Account) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, _parse(line)
        except ValueError as error:
            account.problems.append(f"{path}, line {number}: not JSON: {error}")


def _parse(text: str) -> Any:
    return json.loads(
        text,
        parse_float=Number,
        parse_int=Number,
        parse_constant=Number,
        object_pairs_hook=_without_repeats,
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := [name for name, count in Counter(n for n, _ in pairs).items() if count > 1]:
        raise ValueError(f"the name {twice[0]!r} comes twice in one object")
    return dict(pairs)


# --- Parquet and the hub -------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    """Rows stay on disk, in a cache that goes by the file's content, not by its name and time."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    datasets.disable_progress_bars()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "by-content" / digest
    try:
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(cache))
    except (DatasetGenerationError, ValueError, OSError) as error:
        reason = error.__cause__ or error
        raise DataError(f"{path} cannot be read: {str(reason).splitlines()[0]}") from error
    return stored_table(str(path), rows, "Parquet")


def stored_table(name: str, rows: datasets.Dataset, form: str) -> Table:
    """A table of rows that lie on disk."""
    return Table(name, stored_columns(rows), range(1, len(rows) + 1), "row", form, rows)


def stored_columns(rows: datasets.Dataset) -> dict[str, Sequence[Any]]:
    """Columns by name; classes stored as numbers get their names back."""
    columns: dict[str, Sequence[Any]] = {}
    for name in rows.column_names:
        feature = rows.features[name]
        columns[name] = rows[name]
        if hasattr(feature, "int2str"):
            # the hub marks a sample without a class by -1
            columns[name] = [
                None if number is None or number < 0 else feature.int2str(number)
                for number in rows[name]
            ]
    return columns


def read_tables(paths: Sequence[Path], account: Account) -> Table:
    """Read one table, or the parts of one.

    Raises:
        DataError: one cannot be read, or they have other columns than the first.
    """
    tables = [read_table(path, account) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if list(table.columns) != list(first.columns):
            raise DataError(
                f"{table.name} has the columns {', '.join(table.columns)}, but {first.name} has "
                f"{', '.join(first.columns)}"
            )
    return first if len(tables) == 1 else _joined(tables)


def _joined(tables: Sequence[Table]) -> Table:
    """Parts of one table."""
    import datasets

    first = tables[0]
    name = f"{Path(first.name).parent} ({len(tables)} tables)"
    numbers = [number for table in tables for number in table.numbers]
    files = [table.name for table in tables for _ in table.numbers]
    if first.stored is not None:
        rows = datasets.concatenate_datasets([table.stored for table in tables])
        return replace(stored_table(name, rows, first.form), numbers=numbers, files=files)
    columns = {
        column: [value for table in tables for value in table.values(column)]
        for column in first.columns
    }
    return replace(first, name=name, columns=columns, numbers=numbers, files=files)


def read_hub(data: str) -> Mapping[str, datasets.Dataset]:
    """The splits of a set of the Hugging Face hub, by the names they have there.

    Args:
        data: `hub:NAME`, or `hub:` and a folder in the hub's form.

    Raises:
        DataError: it cannot be loaded.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    try:
        found: Mapping[str, datasets.Dataset] = datasets.load_dataset(data.removeprefix(HUB))
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise DataError(f"{data} cannot be loaded: {str(error).splitlines()[0]}") from error
    return found
