"""CSV files that rows are appended to, and cut off again where a run resumes.

What a kill or a bad disk has damaged is left out with a warning; it never stops the run.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from .trackers import STEP, Row

# of a run: a row for each optimizer step, and one for each value of a micro-batch
ROWS = "metrics.csv"
TABLE = "micro_batches.csv"


class RowFile:
    """A header and a line per row; a new column rewrites the file once.

    Args:
        path: the file; None to keep nothing, as on every process but the first.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._columns: dict[str, None] = {}
        self._file: IO[str] | None = None

    def append(self, row: Row) -> None:
        """Add a row; what it has no value for stays empty."""
        if self.path is None:
            return
        if self._file is None or not row.keys() <= self._columns.keys():
            self._rewrite(self._read(), row)
        assert self._file is not None
        self._writer.writerow([row.get(name, "") for name in self._columns])
        self._file.flush()  # a killed process loses nothing that the system has

    def read(self) -> list[Row]:
        """Rows that are whole."""
        return [] if self.path is None else _numbers(self._read())

    def truncate(self, count: int, last_step: int) -> tuple[list[Row], list[Row]]:
        """Cut the file off at a checkpoint.

        Args:
            count: rows that the run had written there; a warning says which are damaged.
            last_step: optimizer steps taken there.

        Returns:
            the rows kept, and those dropped behind them.
        """
        if self.path is None:
            return [], []
        rows = self._read()
        # where rows are lost, those of later steps have moved up
        kept = [row for row in rows[:count] if float(row[STEP]) <= last_step]
        if len(kept) < count:
            _warn_of_lost_rows(self.path, count, last_step, kept)
        self._columns = {}
        self._rewrite(kept, [name for row in kept for name, value in row.items() if value])
        return _numbers(kept), _numbers(rows[len(kept) :])

    def _read(self) -> list[dict[str, str]]:
        assert self.path is not None
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            lines = csv.reader(line for line in file if line.endswith(("\n", "\r")))
            header = next(lines, [])
            if STEP not in header:
                return []
            whole = [line for line in lines if len(line) == len(header)]
        rows = [dict(zip(header, line, strict=True)) for line in whole]
        return [row for row in rows if row[STEP] and all(map(_is_number_or_empty, row.values()))]

    def _rewrite(self, rows: list[dict[str, str]], names: Iterable[str]) -> None:
        """Write the file anew with a column for each of these names, too."""
        assert self.path is not None
        self._columns |= dict.fromkeys(names)
        partial = self.path.with_suffix(".partial")
        if self._file is not None:
            self._file.close()
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)


def mend_table(path: Path, columns: Sequence[str], size: int, *, last_step: int) -> int:
    """Leave out damaged lines of a table, in the part of it that a checkpoint knows.

    Args:
        path: the table; its first column counts micro-batches.
        columns: its header.
        size: bytes it had at the checkpoint; more may follow, or fewer be left.
        last_step: the last micro-batch before the checkpoint.

    Returns:
        bytes of the table up to the checkpoint; a damaged one is written anew, with a warning.
    """
    if not size:
        return 0
    header = ",".join(columns).encode() + b"\r\n"
    lines = list(_lines_within(path, size))
    if sum(map(len, lines)) == size and lines[0] == header and all(map(_is_whole, lines[1:])):
        return size
    steps = {int(line.split(b",", 1)[0]): None for line in lines if _is_whole(line)}
    kept = [header, *(line for line in lines if _is_whole(line) and _step(line) <= last_step)]
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join(kept))
    partial.replace(path)
    missing = _ranges(step for step in range(last_step + 1) if step not in steps)
    what = f"all values of micro-batches {missing}" if missing else "some values"
    warnings.warn(f"{path} was damaged: {what} are lost, the run goes on", stacklevel=2)
    return sum(map(len, kept))


def _lines_within(path: Path, size: int) -> Iterator[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if size <= 0:
                return
            yield line[:size]
            size -= len(line)


def _is_whole(line: bytes) -> bool:
    """Whether a line begins with a count and ends as every line does; quotes may hold commas."""
    first, *others = line.split(b",")
    return first.isdigit() and len(others) >= 4 and line.endswith(b"\r\n") and b"\0" not in line


def _step(line: bytes) -> int:
    return int(line.split(b",", 1)[0])


def _warn_of_lost_rows(path: Path, count: int, last_step: int, kept: list[dict[str, str]]) -> None:
    steps = {int(float(row[STEP])) for row in kept}
    missing = _ranges(step for step in range(1, last_step + 1) if step not in steps)
    which = f"those of optimizer steps {missing}" if missing else "of validations"
    warnings.warn(
        f"{path} was damaged: {count - len(kept)} of {count} rows are lost, {which}; "
        "the run goes on",
        stacklevel=3,
    )


def _ranges(numbers: Iterable[int]) -> str:
    """`1-3, 5` for 1, 2, 3 and 5."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in ranges)


def _is_number_or_empty(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _numbers(rows: list[dict[str, str]]) -> list[Row]:
    return [{name: float(value) for name, value in row.items() if value} for row in rows]
