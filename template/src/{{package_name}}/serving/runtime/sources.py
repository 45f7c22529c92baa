"""What inputs of the command line stand for: files, folders, patterns, rows of tables, texts."""

from __future__ import annotations

import csv
import glob
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from .engine import InferenceEngine, InvalidInput
from .integrity import BundleError

STDIN = "-"
PARQUET = ".parquet"
# what divides the cells of a table, by its suffix; the most frequent one of its first line
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (*DELIMITERS, *JSON_LINES, PARQUET)
# a cell may hold a book
MAX_CELL = 2**31 - 1

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        name: what answers and errors call it.
        read: gives its payload. Raises InvalidInput or OSError where it has none.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class SourceReader:
    """Finds inputs.

    Attributes:
        kind: the engine's class; its `suffixes` are searched for, its `columns` are recognised.
        column: of tables; None to recognise one by its name.
        output: where answers go, which is no input; None for standard output.
    """

    kind: type[InferenceEngine]
    column: str | None = None
    output: Path | None = None

    def find(self, names: Sequence[str]) -> Iterator[Source]:
        """Every input that the names stand for, in order; one that stands for none fails itself.

        Raises:
            BundleError: answers would overwrite an input.
        """
        for name in names:
            yield from self._found(name)

    def _found(self, name: str) -> Iterator[Source]:
        if name == STDIN:
            yield Source(name, sys.stdin.buffer.read)
        elif os.path.lexists(name):  # as it is written, also with brackets
            yield from self._existing(Path(name))
        elif glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path takes no /a/*
            yield from chain.from_iterable(map(self._existing, map(Path, matches)))
            if not matches:
                yield _failing(name, "no file matches this pattern")
        else:
            yield self._file(Path(name))

    def _existing(self, path: Path) -> Iterator[Source]:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            fitting = [file for file in files if file.suffix.lower() in self.kind.suffixes]
            yield from map(self._file, fitting)
            if not fitting:
                yield _failing(str(path), f"no {', '.join(self.kind.suffixes)} file lies in it")
        elif path.suffix.lower() in TABLES:
            self._refuse_output(path)
            yield from self._rows(path)
        else:
            yield self._file(path)

    def _file(self, path: Path) -> Source:
        self._refuse_output(path)
        return Source(str(path), path.read_bytes)

    def _refuse_output(self, path: Path) -> None:
        if self.output is not None and path.resolve() == self.output.resolve():
            raise BundleError(f"{path} is an input; give another file as --output")

    # --- tables -----------------------------------------------------------------------------------

    def _rows(self, table: Path) -> Iterator[Source]:
        try:
            for number, row in enumerate(_read(table), start=1):
                yield self._cell(table, f"{table} row {number}", row)
        except InvalidInput as error:
            yield _failing(str(table), str(error))
        except (OSError, csv.Error) as error:
            yield _failing(str(table), f"it cannot be read: {error}")

    def _cell(self, table: Path, name: str, row: Row | InvalidInput) -> Source:
        if isinstance(row, InvalidInput):
            return _failing(name, str(row))
        column = self._column(row)
        cell = row.get(column)
        if not isinstance(cell, str) or not cell:
            return _failing(name, f"{column} is no text, or empty")
        if self.kind.takes_text:
            return text_source(cell, name)
        return self._file(table.parent / cell)

    def _column(self, row: Row) -> str:
        """The column that holds inputs, or where they lie.

        Raises:
            InvalidInput: none does, or nobody can say which.
        """
        listed = ", ".join(map(repr, row)) or "none"
        if self.column is not None:
            if self.column not in row:
                raise InvalidInput(f"it has no column {self.column!r}; there are {listed}")
            return self.column
        for usual in self.kind.columns:
            for name in row:
                if str(name).strip().lower() == usual:
                    return name
        if len(row) == 1:
            return next(iter(row))
        raise InvalidInput(f"say which column holds inputs: --column NAME, one of {listed}")


def text_source(text: str, name: str | None = None) -> Source:
    """A text that is itself the input."""
    try:
        # bytes that were no UTF-8 where they were read are the same bytes again
        payload = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can spell halves of characters
        payload = text.encode("utf-8", "surrogatepass")
    return Source(text if name is None else name, lambda: payload)


def _failing(name: str, reason: str) -> Source:
    def fail() -> bytes:
        raise InvalidInput(reason)

    return Source(name, fail)


def _read(table: Path) -> Iterator[Row | InvalidInput]:
    """Rows of a table; a line that is none has its error instead.

    Raises:
        InvalidInput, OSError, csv.Error: it is no such table.
    """
    suffix = table.suffix.lower()
    if suffix == PARQUET:
        yield from _read_parquet(table)
        return
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if suffix in JSON_LINES:
            yield from (_json_row(line) for line in file if line.strip())
            return
        first = file.readline()
        file.seek(0)
        delimiter = max(DELIMITERS[suffix], key=first.count)
        csv.field_size_limit(MAX_CELL)
        yield from csv.DictReader(file, delimiter=delimiter)


def _json_row(line: str) -> Row | InvalidInput:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return InvalidInput(f"this line is not JSON: {error}")
    return row if isinstance(row, dict) else InvalidInput("this line is no JSON object")


def _read_parquet(table: Path) -> Iterator[Row]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InvalidInput("Parquet needs pyarrow; pip install pyarrow") from None
    try:
        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ValueError as error:  # pyarrow's own errors are such
        raise InvalidInput(f"it cannot be read: {error}") from error
