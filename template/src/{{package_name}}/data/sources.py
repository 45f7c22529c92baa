"""The splits of a data set as they lie on disk or on the hub, tables read, nothing interpreted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .account import Account, shown
from .columns import plain_column
from .folders import FileKind, holds, visible
from .labels import class_text
from .layout import Expected, Source, find_all, find_layout, split_of
from .tables import HUB, Table, read_hub, read_tables, stored_table

# columns that say which split a row belongs to
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "phase")
VALIDATION_FLAGS = ("is_valid", "is_val", "is_validation")


@dataclass(frozen=True)
class SplitSource:
    """One split.

    Attributes:
        place: where it lies, for messages.
        table: its rows; None where it is a folder of files, or a file.
        folder: of the files, or beside the table.
        file: which holds the whole split.
    """

    place: str
    table: Table | None = None
    folder: Path | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Sources:
    """All splits, and how they were recognised, for people.

    Attributes:
        splits: `train` and perhaps `val` and `test`.
        layout: how they lie.
        validation: where validation samples come from; None where there are none.
    """

    splits: Mapping[str, SplitSource]
    layout: str
    validation: str | None

    @property
    def has_table(self) -> bool:
        """Whether any split is a table."""
        return any(source.table is not None for source in self.splits.values())


def read_sources(data: str, expected: Expected, account: Account) -> Sources:
    """Find the splits of a data set and read its tables.

    Raises:
        DataError: nothing there, or nothing that can be read in one way.
    """
    if data.startswith(HUB):
        return _hub_sources(data)
    layout = find_layout(Path(data), expected, account)
    splits = {name: _split_source(source, account) for name, source in layout.splits().items()}
    train = splits["train"]
    if len(splits) == 1 and train.table is not None and (found := _divide(train, train.table)):
        column, splits = found
        how = f"{train.place} ({train.table.form}), divided by its column {column!r}"
        return Sources(splits, how, f"{column!r} says which" if "val" in splits else None)
    lines = [f"{name}: {_form(source, expected)}" for name, source in splits.items()]
    only = _form(train, expected)
    val = splits.get("val")
    return Sources(
        splits, "; ".join(lines) if len(splits) > 1 else only, val.place if val else None
    )


def read_all_sources(data: str, expected: Expected, account: Account) -> list[SplitSource]:
    """All of a data set, whichever splits it is divided into, with its tables read.

    Raises:
        DataError: as `read_sources`.
    """
    if data.startswith(HUB):
        places = {f"{data}, {name}": rows for name, rows in read_hub(data).items()}
        return [SplitSource(p, stored_table(p, rows, "Parquet")) for p, rows in places.items()]
    return [_split_source(source, account) for source in find_all(Path(data), expected, account)]


def _hub_sources(data: str) -> Sources:
    splits: dict[str, SplitSource] = {}
    found = read_hub(data)
    for name, rows in found.items():
        split = split_of(str(name))
        if split is not None and split not in splits:
            place = f"{data}, {name}"
            splits[split] = SplitSource(place, stored_table(place, rows, "Parquet"))
    if "train" not in splits:
        raise DataError(f"{data} has no split 'train'; it has {', '.join(map(str, found))}")
    val = splits.get("val")
    return Sources(splits, f"a set of the hub, {', '.join(splits)}", val.place if val else None)


def _split_source(source: Source, account: Account) -> SplitSource:
    table = read_tables(source.tables, account) if source.tables else None
    return SplitSource(str(source), table, source.folder, source.file)


def _form(source: SplitSource, expected: Expected) -> str:
    if source.table is not None:
        return f"{source.place} ({source.table.form})"
    if source.file is not None:
        return str(source.file)
    what = "a folder for each class" if expected.by_class else f"a folder of {expected.kind.noun}"
    return f"{source.place} ({what})"


def is_labelled(
    source: SplitSource, kind: FileKind, columns: Sequence[str], account: Account
) -> bool:
    """Whether a test split says what its samples are; those of competitions do not.

    Args:
        source: the test split.
        kind: of its files; folders of them are classes.
        columns: any of them holds labels.
        account: gets a split that is not labelled as left out.
    """
    if source.table is None:
        folders = [path for path in visible(source.folder or Path(), Account()) if path.is_dir()]
        labelled = any(holds(folder, kind) for folder in folders)
    else:
        there = [name for name in source.table.columns if plain_column(name) in columns]
        values = (value for name in there for value in source.table.columns[name])
        labelled = any(value not in (None, "") for value in values)
    if not labelled:
        account.leave_out(source.place, "a test split without labels")
    return labelled


# --- A column that divides a table ---------------------------------------------------------------


def _divide(source: SplitSource, table: Table) -> tuple[str, dict[str, SplitSource]] | None:
    """The column that says which split each row belongs to, and the splits; None without one.

    Raises:
        DataError: it names a split that is none, or nothing to train on.
    """
    for name, values in table.columns.items():
        plain = name.strip().lower()
        if plain not in SPLIT_COLUMNS + VALIDATION_FLAGS:
            continue
        texts = [class_text(value).strip().lower() for value in values]
        splits = [_flagged(text) if plain in VALIDATION_FLAGS else split_of(text) for text in texts]
        if not any(splits):
            continue
        _refuse_unknown_splits(table, name, texts, splits)
        rows: dict[str, list[int]] = {}
        for row, split in enumerate(splits):
            rows.setdefault(str(split), []).append(row)
        if "train" not in rows:
            raise DataError(f"{table.name}: column {name!r} leaves nothing to train on")
        order = [split for split in ("train", "val", "test") if split in rows]
        return name, {split: _part(source, table, rows[split], name) for split in order}
    return None


def _flagged(text: str) -> str | None:
    return {"true": "val", "1": "val", "false": "train", "0": "train"}.get(text)


def _refuse_unknown_splits(
    table: Table, column: str, texts: Sequence[str], splits: Sequence[str | None]
) -> None:
    unknown = [text for text, split in zip(texts, splits, strict=True) if split is None]
    if unknown:
        raise DataError(
            f"{table.name}: column {column!r} divides the rows into splits, but also holds "
            f"{shown(sorted(set(unknown)))}; give train, val or test in every row, or rename it"
        )


def _part(source: SplitSource, table: Table, rows: list[int], column: str) -> SplitSource:
    return SplitSource(source.place, table.select(rows).without(column), source.folder)
