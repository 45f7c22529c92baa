"""What inputs of the command line stand for: files, folders, patterns, rows of tables, texts."""

from __future__ import annotations

import glob
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .engine import Accepted, InvalidInput
from .folders import is_leaving, walk
from .integrity import BundleError
from .messages import one_line, shown
from .named_files import NamedFiles
from .rows import row_payload
from .tables import (
    OTHER_TABLES,
    PARQUET,
    SUFFIXES,
    Number,
    UnreadableTable,
    find_column,
    read_text_table,
)

STDIN = "-"
COLUMN_OPTION = "--column"


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        name: what answers and errors call it.
        read: gives its payload. Raises InvalidInput or OSError where it has none.
        row: that it is of its table, counted from 1 without the header; None for all else.
    """

    name: str
    read: Callable[[], bytes]
    row: int | None = None


@dataclass(frozen=True)
class SourceReader:
    """Finds inputs as training finds samples.

    Attributes:
        accepted: what the bundle takes.
        takes_text: whether the cells of tables are inputs, or name files.
        note: is told, a line each, what was left out or had to be guessed; whether it was left out.
        takes_rows: whether whole rows are inputs.
        column: of tables; None to recognise one by its name.
        output: where answers go, which is no input; None for standard output.
    """

    accepted: Accepted
    takes_text: bool
    note: Callable[[str, bool], None]
    takes_rows: bool = False
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
            yield Source(name, _standard_input)
        elif os.path.lexists(name):  # as it is written, also with brackets
            yield from self._existing(Path(name))
        elif glob.has_magic(name):
            yield from self._matching(name)
        elif not name:
            yield _failing(name, "an empty name")
        else:
            yield self._file(Path(name))

    def _matching(self, pattern: str) -> Iterator[Source]:
        """Each file once, whether it matches itself or lies in a folder that does."""
        matches = _matches(pattern)
        for path in matches:
            yield from self._existing(path)
        if not matches:
            yield _failing(pattern, "no file matches this pattern")

    def _existing(self, path: Path) -> Iterator[Source]:
        suffix = path.suffix.lower()
        if os.path.isdir(path):  # noqa: PTH112 - Path's raises where it may not look
            yield from self._folder(path)
        elif suffix in SUFFIXES:
            self._refuse_output(path)
            yield from self._rows(path)
        elif reason := self.accepted.refused.get(suffix) or OTHER_TABLES.get(suffix):
            yield _failing(str(path), reason)
        else:
            yield self._file(path)

    def _folder(self, folder: Path) -> Iterator[Source]:
        """The inputs in a folder; where there are none, the rows of the tables in it."""
        entries = [entry for entry in walk(folder) if not entry.ignored]
        problems = {entry.path: entry.problem for entry in entries if entry.problem}
        problems |= {
            entry.path: reason
            for entry in entries
            if (reason := self.accepted.refused.get(entry.path.suffix.lower()))
        }
        files = [entry.path for entry in entries if entry.path not in problems]
        taken = self.accepted.suffixes
        if not any(path.suffix.lower() in taken for path in files):
            taken = SUFFIXES
        others = [path for path in files if path.suffix.lower() not in taken]
        for entry in entries:
            if entry.path in problems:
                yield _failing(str(entry.path), problems[entry.path] or "")
            elif entry.path.suffix.lower() in taken:
                yield from self._existing(entry.path)
        if len(others) == len(entries):
            yield _failing(str(folder), "no file in it has a suffix that --help lists")
        if others := [path for path in others if not self._is_output(path)]:
            names = shown([str(path.relative_to(folder)) for path in others], 3)
            self.note(f"{folder}: left out, by the suffix no input ({len(others)}): {names}", True)

    def _file(self, path: Path) -> Source:
        self._refuse_output(path)
        return Source(str(path), partial(_content, path))

    def _refuse_output(self, path: Path) -> None:
        if self._is_output(path):
            raise BundleError(f"{one_line(str(path))} is an input; give another file as --output")

    def _is_output(self, path: Path) -> bool:
        # not Path.resolve, which raises for links in a circle
        return self.output is not None and os.path.realpath(path) == os.path.realpath(self.output)

    # --- tables -----------------------------------------------------------------------------------

    def _rows(self, table: Path) -> Iterator[Source]:
        """One input for each row; a table that cannot be read fails itself."""
        try:
            if table.suffix.lower() == PARQUET:
                yield from self._parquet_rows(table)
            else:
                yield from self._text_rows(table)
        except UnreadableTable as error:
            yield _failing(str(table), str(error))
        except OSError as error:
            yield _failing(str(table), f"it cannot be read: {error.strerror or error}")
        except MemoryError:
            yield _failing(str(table), "it is too large for the memory; divide it")

    def _text_rows(self, path: Path) -> Iterator[Source]:
        table = read_text_table(path)
        for line in table.findings.notes:
            self.note(f"{path}: {line}", False)
        make = self._source_of_row(path, list(table.columns), table.form) if table.numbers else None
        number = 0
        for number, (place, found) in enumerate(table.entries(), start=1):
            name = str(path) if table.is_one else f"{path}, {place}"
            if make is None or isinstance(found, str):
                source = _failing(name, str(found))
            else:
                source = make(table.row(found), name)
            yield replace(source, row=number if self.takes_rows and not table.is_one else None)
        if not number:
            raise UnreadableTable("it has no rows")

    def _parquet_rows(self, path: Path) -> Iterator[Source]:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise UnreadableTable("Parquet needs pyarrow; pip install pyarrow") from None
        try:
            with parquet.ParquetFile(path) as file:
                if not file.metadata.num_rows:
                    raise UnreadableTable("it has no rows")
                names = file.schema_arrow.names
                columns = names if self.takes_rows else [self._column(names, "Parquet")]
                make, number = self._source_of_row(path, columns, "Parquet"), 0
                for batch in file.iter_batches(columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        source = make(row, f"{path}, row {number}")
                        yield replace(source, row=number if self.takes_rows else None)
        except UnreadableTable:
            raise
        except ValueError as error:  # pyarrow's own errors are such
            raise UnreadableTable(f"it cannot be read: {error}") from error

    def _column(self, columns: Sequence[str], form: str) -> str:
        """The column that holds inputs, or names them."""
        return find_column(columns, self.accepted.columns, self.column, COLUMN_OPTION, form)

    def _source_of_row(
        self, table: Path, columns: Sequence[str], form: str
    ) -> Callable[[Mapping[str, Any], str], Source]:
        """What makes an input of a row and its place."""
        if self.takes_rows:
            return lambda row, place: Source(place, partial(row_payload, row))
        column = self._column(columns, form)
        if self.takes_text:
            return lambda row, place: _text_of_cell(column, row.get(column), place)
        folder = table.with_suffix("")
        files = NamedFiles(
            table,
            folder if folder.is_dir() else None,
            self.accepted.suffixes,
            lambda line: self.note(line, False),
        )
        return lambda row, place: self._file_of_cell(files, column, row.get(column), place)

    def _file_of_cell(self, files: NamedFiles, column: str, cell: Any, place: str) -> Source:
        """A file that a table names, or the content that the table holds of it."""
        if isinstance(cell, Mapping):
            content = cell.get("bytes")
            cell = cell.get("path") if content is None else content
        if isinstance(cell, bytes):
            content = cell
            return Source(place, lambda: content)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return _failing(place, f"{column} is empty")
        if isinstance(cell, Number) or not isinstance(cell, str):
            return _failing(place, f"{column} is {cell!s}; it must be a file's name")
        try:
            return self._file(files.find(cell))
        except OSError as error:
            return _failing(place, str(error))


def _text_of_cell(column: str, cell: Any, place: str) -> Source:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return _failing(place, f"{column} is empty")
    if isinstance(cell, Number) or not isinstance(cell, str):
        return _failing(place, f"{column} is {cell!s}; it must be a text")
    return text_source(cell, place)


def text_source(text: str, name: str | None = None) -> Source:
    """A text that is itself the input."""
    try:
        # bytes that were no UTF-8 where they were read are the same bytes again
        payload = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can spell halves of characters
        payload = text.encode("utf-8", "surrogatepass")
    return Source(text if name is None else name, lambda: payload)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content:
        raise InvalidInput("the file is empty")
    return content


def _standard_input() -> bytes:
    content = sys.stdin.buffer.read() if sys.stdin is not None else b""
    if not content:
        raise InvalidInput("nothing came from standard input")
    return content


def _failing(name: str, reason: str) -> Source:
    def fail() -> bytes:
        raise InvalidInput(reason)

    return Source(name, fail)


def _matches(pattern: str) -> list[Path]:
    """What matches a pattern, in order, and lies in no folder that matches as well.

    Hidden things do only where the pattern asks for such. Unlike `glob.glob`, `**` follows no
    links, of which a circle has no end.
    """
    path = Path(pattern)
    parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in path.parts]
    found = Path(path.anchor).glob(os.path.join(*parts[bool(path.anchor) :]))  # noqa: PTH118
    asked = any(is_leaving(part) and glob.has_magic(part) for part in parts)
    kept: list[Path] = []
    folders: set[Path] = set()
    for match in sorted(set(found)):
        is_hidden = not asked and any(map(is_leaving, set(match.parts) - set(parts)))
        if not is_hidden and folders.isdisjoint(match.parents):
            kept.append(match)
            if os.path.isdir(match):  # noqa: PTH112 - Path's raises where it may not look
                folders.add(match)
    return kept
