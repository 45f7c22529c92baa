"""Answers as lines: JSON or CSV, to standard output or to a file that is whole or absent."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from .integrity import BundleError
from .streams import JSON_ESCAPES, discard, escape_what_it_lacks

Answer: TypeAlias = Mapping[str, Any]
ERROR = "error"
# of a table: by it answers can be joined with the rows
ROW = "row"


class Lines:
    """Writes answers.

    Args:
        file: where to.
        names: of the model's outputs.
        note_names: of what some answers tell beside.
    """

    def __init__(self, file: TextIO, names: Sequence[str], note_names: Sequence[str]) -> None:
        self._file, self._names, self._note_names = file, list(names), list(note_names)

    def write(self, answer: Answer) -> None:
        """One more."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand on what was written."""
        self._file.flush()

    def end(self) -> None:
        """Write what was held back; nothing by default."""


class JsonLines(Lines):
    """One JSON object per answer."""

    def write(self, answer: Answer) -> None:
        """One more."""
        print(json.dumps(answer, ensure_ascii=False), file=self._file)


class CsvLines(Lines):
    """A table: a column for each plain value, and for each output where all of them are told.

    Other values, such as the likeliest of many classes, are JSON in their cell. Notes and errors
    have the last columns; the first answer that is no error says what the others are.
    """

    def __init__(self, file: TextIO, names: Sequence[str], note_names: Sequence[str]) -> None:
        super().__init__(file, names, note_names)
        self._table: csv.DictWriter[str] | None = None
        self._failed: list[Answer] = []

    def write(self, answer: Answer) -> None:
        """One more."""
        if self._table is not None:
            self._table.writerow(self._cells(answer))
        elif ERROR in answer:
            self._failed.append(answer)
        else:
            own = [name for name in self._cells(answer) if name not in self._note_names]
            self._begin([*own, *self._note_names, ERROR])
            self.write(answer)

    def end(self) -> None:
        """Write the errors that waited for columns."""
        if self._failed:
            self._begin([*dict.fromkeys(key for answer in self._failed for key in answer)])

    def _begin(self, columns: list[str]) -> None:
        self._table = csv.DictWriter(_UnixLines(self._file), columns, lineterminator="\r\n")
        self._table.writeheader()
        failed, self._failed = self._failed, []
        self._table.writerows(failed)

    def _cells(self, answer: Answer) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        for key, value in answer.items():
            if isinstance(value, dict) and value.keys() == set(self._names):
                cells |= {f"{key}/{name}": value[name] for name in self._names}
            elif isinstance(value, (dict, list)):
                cells[key] = json.dumps(value, ensure_ascii=False)
            else:
                cells[key] = value
        return cells


class _UnixLines:
    """Rows that end in a newline alone, with any line break inside a cell still quoted.

    The csv module quotes those characters only that end its own rows.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")


FORMS: dict[str, type[Lines]] = {"jsonl": JsonLines, "csv": CsvLines}


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Where answers go: standard output, or a file that appears once all of them are in it.

    Raises:
        BundleError: it cannot be written.
    """
    if path is None:
        with _standard_output() as stdout:
            yield stdout
        return
    if not path.parent.is_dir():
        raise BundleError(f"{path} cannot be written: make the folder {path.parent} first")
    is_device = path.exists() and not path.is_file()
    path = path if is_device else Path(os.path.realpath(path))  # behind a link, which stays
    partial = path if is_device else path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors=JSON_ESCAPES, newline="") as file:
            yield file
        if not is_device:
            partial.replace(path)
    except BrokenPipeError:  # a device may be one
        raise
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        if not is_device and partial.exists():
            partial.unlink()


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    if sys.stdout is None:
        raise BundleError("standard output is closed; give --output FILE")
    escape_what_it_lacks(sys.stdout)
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise BundleError(f"standard output cannot be written: {error.strerror}") from error
