"""A CSV file that rows are appended to, and cut off again where a run resumes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from .trackers import Row


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

    def truncate(self, count: int) -> int:
        """Keep the first `count` rows; returns how many there were."""
        if self.path is None or not self.path.exists():
            return 0
        rows = self._read()
        self._columns = {}
        kept = rows[:count]
        self._rewrite(kept, [name for row in kept for name, value in row.items() if value])
        return len(rows)

    def _read(self) -> list[dict[str, str]]:
        if self.path is None or not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if None not in row.values()]

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
