"""Tables to train on: read as `inference.py` reads them, or from where the hub keeps them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..serving.runtime.tables import (
    PARQUET,
    TextTable,
    UnreadableTable,
    read_text_table,
)
from .account import Account

if TYPE_CHECKING:
    import datasets

HUB = "hub:"
TABLES = "CSV, TSV, JSON, JSONL or Parquet"

# names of columns in which a table's index was saved with it, perhaps more than once
INDEX_NAME = re.compile(r"|unnamed: 0(\.\d+)?|__index_level_\d+__")


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
        if path.suffix.lower() == PARQUET:
            return _read_parquet(path)
        found = read_text_table(path)
    except UnreadableTable as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    _account_for(found, path, account)
    return Table(str(path), found.columns, found.numbers, found.unit, found.form)


def _account_for(table: TextTable, path: Path, account: Account) -> None:
    findings = table.findings
    for line in findings.notes:
        account.note(f"{path}: {line}")
    for number in findings.blank:
        account.leave_out(f"{path}, {table.unit} {number}", "a row without values")
    if findings.empty_columns:
        account.leave_out(f"{path}: {findings.empty_columns}", "columns without a name or a value")
    account.problems += [
        f"{path}, {table.unit} {number}: {reason}" for number, reason in findings.problems
    ]


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
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        found: Mapping[str, datasets.Dataset] = datasets.load_dataset(data.removeprefix(HUB))
    except DatasetGenerationError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise DataError(
            f"{data} cannot be loaded: {reason.rstrip('.')}; or download its files, and give their "
            "folder"
        ) from error
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise DataError(f"{data} cannot be loaded: {str(error).splitlines()[0]}") from error
    return found
