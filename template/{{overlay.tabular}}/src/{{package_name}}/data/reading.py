"""Reading tables: files and sets of the hub become rows, and columns are recognised and fitted.

Nothing here needs torch: whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import Columns, Written, read_row, write_row
from ..serving.runtime import Accepted
from ..serving.runtime.tables import SUFFIXES, Number
from ..task import TaskSpec
from .account import Account, shown
from .column_kinds import LeftOut, Recognised, recognise
from .columns import LABEL, LABELS, find_column, plain_column, warn_of_unused_settings
from .description import summarize
from .folders import FileKind
from .labels import check_classes
from .layout import Expected, table_description
from .sources import SplitSource, is_labelled, read_all_sources, read_sources
from .splits import (
    GROUP,
    Examination,
    Splits,
    digest_of,
    labels_of,
    set_aside,
    set_aside_groups,
    validation_choice,
    warn_of_rare_classes,
    warn_of_shared_groups,
)
from .table_labels import ColumnSettings, Outputs, label_feature, read_labels
from .tables import Table

if TYPE_CHECKING:
    import datasets

# what a table calls a number to predict, the documented name first
TARGET = ("target", "y", "label", "value", "outcome", "response", "dependent")

# what the labels of a task are
OUTPUTS: dict[str, Outputs] = {
    "tabular_classification": "classes",
    "tabular_multilabel": "labels",
    "tabular_regression": "targets",
}

# settings about columns that a task uses
USED_COLUMN_SETTINGS = ("label_column", "target_columns", "group_column", "time_column")

# a table is all that holds rows: no file is one
NO_FILES = FileKind("rows", frozenset(), lambda path: None)
EXPECTED = Expected(
    NO_FILES,
    by_class=False,
    single_files=False,
    description=table_description("a column to predict and others to predict it from"),
)

# in bytes: of one row as JSON
LARGEST_ROW = 1_000_000

# columns of the rows: cells as JSON, and where they are in their table
ROW, ORIGIN = "row", "origin"


@dataclass(frozen=True)
class Part:
    """The rows of one table, apart from what is to be predicted.

    Attributes:
        table: its columns, those to predict and of groups left out.
        labels: of each row.
        names: classes, labels or values.
        groups: of each row, where the settings name a column of groups.
        times: of each row, where the settings name a column of times.
    """

    table: Table
    labels: Sequence[Any]
    names: list[str]
    groups: Sequence[str] | None
    times: npt.NDArray[np.float64] | None

    @property
    def cells(self) -> dict[str, list[Any]]:
        """Cells by column, ready for JSON."""
        return {name: list(map(plain_cell, self.table.values(name))) for name in self.table.columns}

    def rows(self, names: Sequence[str], outputs: Outputs) -> datasets.Dataset:
        """Rows with `row`, JSON of these columns, `labels`, `origin`, and `group` where known."""
        import datasets

        cells = self.cells
        columns: dict[str, Any] = {
            ROW: [
                write_row({name: cells[name][row] for name in names}).decode()
                for row in range(len(self.table))
            ],
            "labels": list(self.labels),
            ORIGIN: [self.table.place(row) for row in range(len(self.table))],
        }
        text = datasets.Value("string")
        features = {ROW: text, "labels": label_feature(outputs), ORIGIN: text}
        if self.groups is not None:
            columns[GROUP], features[GROUP] = list(self.groups), text
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def plain_cell(cell: Any) -> Any:
    """A cell as it may stand in a row of JSON; lists, objects and bytes stay what they are."""
    if isinstance(cell, Number):
        return Written(cell)
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return Written(cell)
    if isinstance(cell, float) and np.isnan(cell):
        return None
    return cell


def read_splits(config: TrainingConfig, processor: Columns | None = None) -> Splits:
    """Read `config.data`: tables or a set of the hub, as the README's table lists them.

    What each column holds is recognised in the training rows, and fitted to them. Without
    validation data, `config.validation_split` of these are set aside as `config.split` says.

    Args:
        config: where the tables lie, and what their columns are.
        processor: columns that were fitted already, used instead.

    Raises:
        DataError: nothing there, nothing that can be read in one way, or rows that cannot be used,
            all of them named.
    """
    account, outputs = Account(), OUTPUTS[config.task]
    sources = read_sources(config.data, EXPECTED, account)
    used = (*USED_COLUMN_SETTINGS, "label_separator")
    warn_of_unused_settings(config, used, sources.has_table, account)
    parts = {"train": _read_part(sources.splits["train"], config, None, account)}
    names = parts["train"].names
    for split, source in sources.splits.items():
        if split == "val" or (split == "test" and _is_labelled(source, config, names, account)):
            parts[split] = _read_part(source, config, names, account)
    account.check(config.data)
    is_classes = outputs == "classes"
    if is_classes:
        check_classes(names, config.data)
    columns = processor or _fit(parts["train"], config, account)
    rows = {}
    for split, part in parts.items():
        _check_columns(part, columns, account)
        rows[split] = part.rows(columns.names, outputs)
        _check_cells(rows[split], columns, account)
    account.check(config.data)
    warn_of_shared_groups(rows, account)
    validation = sources.validation
    if "val" not in rows:
        divided = _set_aside(rows["train"], parts["train"], config)
        rows["train"], rows["val"], validation = divided
    if is_classes:
        warn_of_rare_classes(labels_of(rows["val"]), names, account)
    summary = summarize(
        data=config.data,
        layout=sources.layout,
        validation=str(validation),
        splits={split: rows.get(split) for split in ("train", "val", "test")},
        outputs=outputs,
        names=names,
        account=account,
    )
    return Splits(
        rows["train"], rows["val"], names, columns, test=rows.get("test"), summary=summary
    )


def read_samples(
    config: TrainingConfig, names: list[str], processor: Columns | None
) -> tuple[datasets.Dataset, Account]:
    """Read all rows of `config.data`, whichever splits they belong to, with all of their columns.

    Raises:
        DataError: as `read_splits`, or labels that the network has not learned.
    """
    import datasets

    account, outputs = Account(), OUTPUTS[config.task]
    parts = [
        _read_part(source, config, names, account)
        for source in read_all_sources(config.data, EXPECTED, account)
    ]
    account.check_labels(config.data, names)
    account.check(config.data)
    found = []
    for part in parts:
        plain = [name for name, cells in part.cells.items() if not any(map(_is_nested, cells))]
        found.append(part.rows(plain, outputs))
    return datasets.concatenate_datasets(found), account


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many rows have the cells of a training row in all columns that this one has."""
    if not len(train):
        return 0
    names = list(json.loads(train[0][ROW]))
    known = set(train[ROW][:])
    repeated = 0
    for text in rows[ROW][:]:
        row = read_row(text.encode())
        kept = {name: row[name] for name in names if name in row}
        repeated += write_row(kept).decode() in known
    return repeated


# --- One table -----------------------------------------------------------------------------------


def _read_part(
    source: SplitSource, config: TrainingConfig, names: list[str] | None, account: Account
) -> Part:
    table = source.table
    if table is None:
        raise DataError(f"{source.place} holds no table; give {EXPECTED.description}")
    if not len(table):
        account.check(config.data)
        raise DataError(f"{table.name} has no rows")
    outputs = OUTPUTS[config.task]
    targets = _targets(table, config, names, account)
    settings = ColumnSettings(
        label=targets[0] if len(targets) == 1 and outputs != "targets" else None,
        targets=targets,
        separator=config.label_separator,
    )
    predicted = _only(table, targets)
    labels, found = read_labels(predicted, outputs, settings, names, account)
    groups = _groups(table, config.group_column, account)
    times = _times(table, config.time_column, account)
    rest = [name for name in table.columns if name not in targets and name != config.group_column]
    for name in table.index_columns():
        if name in rest:
            rest.remove(name)
            account.leave_out(f"column {name!r}", "the index of a saved table")
    return Part(_only(table, rest), labels, found, groups, times)


def _only(table: Table, names: Sequence[str]) -> Table:
    for name in [name for name in table.columns if name not in names]:
        table = table.without(name)
    return table


def _targets(
    table: Table, config: TrainingConfig, names: list[str] | None, account: Account
) -> list[str]:
    """Columns to predict: named by the settings, or one by a usual name.

    Raises:
        DataError: there is no such column.
    """
    given = [config.label_column] if config.label_column else []
    given = list(config.target_columns) or given
    if not given and names and OUTPUTS[config.task] == "targets":
        given = list(dict.fromkeys(name.partition("[")[0] for name in names))
    if missing := [name for name in given if name not in table.columns]:
        raise DataError(
            f"{table.name} has no column {shown(missing)}; it has {shown(list(table.columns), 20)}"
        )
    if given:
        return given
    usual = {"classes": LABEL, "labels": LABELS, "targets": TARGET}[OUTPUTS[config.task]]
    return [find_column(table, usual, None, "label_column", account)]


def _is_labelled(
    source: SplitSource, config: TrainingConfig, names: Sequence[str], account: Account
) -> bool:
    given = [config.label_column] if config.label_column else []
    usual = {"classes": LABEL, "labels": LABELS, "targets": (*TARGET, *names)}
    columns = (*config.target_columns, *given) or usual[OUTPUTS[config.task]]
    return is_labelled(source, NO_FILES, [plain_column(name) for name in columns], account)


def _groups(table: Table, column: str | None, account: Account) -> list[str] | None:
    if column is None:
        return None
    _refuse_absent(table, column, "group_column")
    groups = []
    for row, value in enumerate(table.values(column)):
        groups.append("" if value is None else str(value).strip())
        if not groups[-1]:
            account.problems.append(f"{table.place(row)}: the group, {column!r}, is missing")
    account.leave_out(f"column {column!r}", "the groups of the rows")
    return groups


def _refuse_absent(table: Table, column: str, setting: str) -> None:
    if column not in table.columns:
        raise DataError(
            f"{table.name} has no column {column!r} ({setting}); it has "
            f"{shown(list(table.columns), 20)}"
        )


def _times(table: Table, column: str | None, account: Account) -> npt.NDArray[np.float64] | None:
    """When each row was, on a scale of its own."""
    if column is None:
        return None
    _refuse_absent(table, column, "time_column")
    raise NotImplementedError


# --- Columns -------------------------------------------------------------------------------------


def _fit(part: Part, config: TrainingConfig, account: Account) -> Columns:
    """The columns to learn from, fitted to the training rows.

    Raises:
        DataError: there are none, one can be read in two ways, or the settings name one that there
            is not.
    """
    cells, markers = part.cells, config.markers
    for name in config.columns:
        if name not in cells:
            raise DataError(
                f"{part.table.name} has no column {name!r} to learn from (columns); it has "
                f"{shown(list(cells), 20)}"
            )
    found: dict[str, Recognised] = {}
    for name, column in cells.items():
        recognised = recognise(name, column, markers, config.columns.get(name), account)
        if isinstance(recognised, LeftOut):
            account.leave_out(f"column {name!r}", recognised.reason)
        else:
            found[name] = recognised
    if not found:
        raise DataError(f"{part.table.name} has no column to learn from beside what is predicted")
    fitted = (one.fit(name, cells[name], markers, config.scaling) for name, one in found.items())
    return Columns(tuple(fitted), markers)


def _check_columns(part: Part, columns: Columns, account: Account) -> None:
    """Say which columns training lacks.

    Raises:
        DataError: one of training is not there.
    """
    there = list(part.table.columns)
    if missing := [name for name in columns.names if name not in there]:
        raise DataError(
            f"{part.table.name} has no column {shown(missing)}, which the training rows have; it "
            f"has {shown(there, 20)}"
        )


def _check_cells(rows: datasets.Dataset, columns: Columns, account: Account) -> None:
    origins = rows[ORIGIN][:]
    _, faults = columns.encode(cells_of(rows))
    account.problems += [f"{origins[fault.row]}: {fault.reason}" for fault in faults]


def cells_of(rows: datasets.Dataset) -> list[dict[str, Any]]:
    """The cells of each row, by column."""
    return [read_row(text.encode()) for text in rows[ROW][:]]


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, list | tuple | dict | bytes)


def _set_aside(
    rows: datasets.Dataset, part: Part, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset, str]:
    """Rows to train on, those to validate on, and for people how they were chosen."""
    is_classes = OUTPUTS[config.task] == "classes"
    classes = labels_of(rows) if is_classes else None
    by_group = config.split == "group"
    train, val = (set_aside_groups if by_group else set_aside)(rows, classes, config)
    return train, val, validation_choice(config, is_classes, by_group=by_group)


# --- What was found ------------------------------------------------------------------------------


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """No problems: `read_splits` has read every cell and named those it could not read."""
    return Examination(digest=digest_of(rows, (ROW, "labels")))


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> None:
    """None: `examine` opens nothing."""


def review(facts: Mapping[str, Mapping[str, Any]], config: TrainingConfig) -> list[str]:
    """Nothing: `read_splits` has said it."""
    return []


# --- What an export needs later ------------------------------------------------------------------

# none: what was fitted lies in the task
PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: Columns | None, folder: Path) -> None:
    """Write nothing: what was fitted lies in the task."""


def load_processor(folder: Path) -> None:
    """None: what was fitted lies in the task."""


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes: tables, of which each row is an input."""
    return Accepted(suffixes=list(SUFFIXES), columns=[], max_item_size=LARGEST_ROW)


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep a validation row as `example.json`: the bundle stores it with its prediction."""
    cells = read_row(splits.val[0][ROW].encode())
    kept = {name: cells[name] for name in task_spec.columns.names}
    write_whole(run_dir / "example.json", write_row(kept) + b"\n")


def places(rows: datasets.Dataset) -> list[str]:
    """Where each row is in its table."""
    return list(rows[ORIGIN][:])
