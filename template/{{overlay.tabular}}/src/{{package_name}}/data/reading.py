"""Reading tables: files and sets of the hub become rows, and columns are recognised and fitted.

Nothing here needs torch: whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import MARKERS, Columns, Fault, read_row, text_of
from ..serving.runtime import Accepted
from ..serving.runtime.rows import row_payload
from ..serving.runtime.tables import SUFFIXES
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
from .table_facts import (
    ColumnCells,
    warn_of_columns,
    warn_of_drift,
    warn_of_far_values,
    warn_of_leaks,
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
USED_COLUMN_SETTINGS: dict[Outputs, Sequence[str]] = {
    "classes": ("label_column", "target_columns", "group_column", "time_column"),
    "labels": (
        "label_column",
        "target_columns",
        "label_separator",
        "group_column",
        "time_column",
    ),
    "targets": ("label_column", "target_columns", "group_column", "time_column"),
}

# cells that are no single value
NESTED = (list, tuple, dict, bytes, timedelta)

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
        predicted: the columns to predict.
        labels: of each row.
        names: classes, labels or values.
        groups: of each row, where the settings name a column of groups.
    """

    table: Table
    predicted: Table
    labels: Sequence[Any]
    names: list[str]
    groups: Sequence[str] | None

    @cached_property
    def cells(self) -> dict[str, list[Any]]:
        """Cells by column, as whoever reads a row of JSON gets them."""
        rows = [read_row(row) for row in self.payloads(list(self.table.columns))]
        return {name: [row[name] for row in rows] for name in self.table.columns}

    def payloads(self, names: Sequence[str]) -> list[bytes]:
        """Each row as JSON, with these columns."""
        columns = [self.table.values(name) for name in names]
        return [
            row_payload(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)
        ]

    def rows(self, names: Sequence[str], outputs: Outputs) -> datasets.Dataset:
        """Rows with `row`, JSON of these columns, `labels`, `origin`, and `group` where known."""
        import datasets

        columns: dict[str, Any] = {
            ROW: [payload.decode() for payload in self.payloads(names)],
            "labels": list(self.labels),
            ORIGIN: [self.table.place(row) for row in range(len(self.table))],
        }
        text = datasets.Value("string")
        features = {ROW: text, "labels": label_feature(outputs), ORIGIN: text}
        if self.groups is not None:
            columns[GROUP], features[GROUP] = list(self.groups), text
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def read_splits(config: TrainingConfig, processor: Columns | None = None) -> Splits:
    """Read `config.data`: tables or a set of the hub, as the README's table lists them.

    What each column holds is recognised in the training rows, and fitted to them. Without
    validation data, `config.validation_split` of these are set aside: at random, whole
    groups, or the latest.

    Args:
        config: where the tables lie, and what their columns are.
        processor: columns that were fitted already, used instead.

    Raises:
        DataError: nothing there, nothing that can be read in one way, or rows that cannot be used,
            all of them named.
    """
    account, outputs = Account(), OUTPUTS[config.task]
    sources = read_sources(config.data, EXPECTED, account)
    warn_of_unused_settings(config, USED_COLUMN_SETTINGS[outputs], sources.has_table, account)
    parts = {"train": _read_part(sources.splits["train"], config, None, account)}
    names = parts["train"].names
    for split, source in sources.splits.items():
        if split == "val" or (split == "test" and _is_labelled(source, config, names, account)):
            parts[split] = _read_part(source, config, names, account)
    account.check(config.data)
    if outputs == "classes":
        check_classes(names, config.data)
    recognised = _recognise(parts["train"], config, account)
    columns = processor or _fit(parts["train"].cells, recognised, config)
    rows = {split: _known_rows(part, columns, outputs, account) for split, part in parts.items()}
    account.check(config.data)
    warn_of_shared_groups(rows, account)
    validation = sources.validation
    if "val" not in rows:
        divided = _set_aside(rows["train"], columns, config)
        rows["train"], rows["val"], validation = divided
        columns = processor or _fit(_by_column(rows["train"]), recognised, config)
    cells = {split: _cells(one, columns) for split, one in rows.items()}
    _warn(rows, cells, names, outputs, account)
    summary = summarize(
        data=config.data,
        layout=sources.layout,
        validation=str(validation),
        splits={split: rows.get(split) for split in ("train", "val", "test")},
        outputs=outputs,
        names=names,
        account=account,
    )
    summary["columns"] = {name: one.describe() for name, one in cells["train"].items()}
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
    found = [part.rows(list(part.table.columns), outputs) for part in parts]
    return datasets.concatenate_datasets(found), account


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many rows have the cells of a training row in all columns that this one has."""
    if not len(train):
        return 0
    trained_on = cells_of(train)
    names = list(trained_on[0])
    known = {tuple(text_of(row[name]) for name in names) for row in trained_on}
    return sum(tuple(text_of(row.get(name)) for name in names) in known for row in cells_of(rows))


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
    rest = [name for name in table.columns if name not in targets and name != config.group_column]
    return Part(
        _without_nested(_only(table, rest), account),
        predicted,
        labels,
        found,
        _groups(table, config.group_column, account),
    )


def _without_nested(table: Table, account: Account) -> Table:
    """The table without columns that no row of JSON has room for, or that are an index."""
    for name in table.columns:
        if name in table.index_columns():
            reason = "the index of a saved table"
        elif any(isinstance(cell, NESTED) for cell in table.values(name)):
            reason = "a column of lists, objects, bytes or durations"
        else:
            continue
        account.leave_out(f"column {name!r}", reason)
        table = table.without(name)
    return table


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


# --- Columns -------------------------------------------------------------------------------------


def _recognise(part: Part, config: TrainingConfig, account: Account) -> dict[str, Recognised]:
    """What the columns are that can be learned from, by their names.

    Raises:
        DataError: there are none, one can be read in two ways, or the settings name one that there
            is not.
    """
    cells, markers = part.cells, frozenset(_markers(config))
    for name in config.columns:
        if name not in cells:
            raise DataError(
                f"{part.table.name} has no column {name!r} to learn from (columns); it has "
                f"{shown(list(cells), 20)}"
            )
    found: dict[str, Recognised] = {}
    for name, column in cells.items():
        recognised = recognise(name, column, markers, config.columns.get(name), account)
        if _is_copy(column, part.predicted):
            recognised = LeftOut("a copy of what is predicted")
        if isinstance(recognised, LeftOut):
            account.leave_out(f"column {name!r}", recognised.reason)
        else:
            found[name] = recognised
    if not found:
        raise DataError(f"{part.table.name} has no column to learn from beside what is predicted")
    return found


def _fit(
    cells: Mapping[str, Sequence[Any]], recognised: Mapping[str, Recognised], config: TrainingConfig
) -> Columns:
    """The columns, fitted to cells of the training rows."""
    markers = _markers(config)
    fitted = (
        one.fit(name, cells[name], markers, config.scaling) for name, one in recognised.items()
    )
    return Columns(tuple(fitted), markers)


def _markers(config: TrainingConfig) -> tuple[str, ...]:
    """Texts that stand for a value that is missing, in lower case."""
    own = (text.strip().casefold() for text in config.missing_values)
    return tuple(dict.fromkeys((*MARKERS, *own)))


def _is_copy(cells: Sequence[Any], predicted: Table) -> bool:
    """Whether a column holds what is predicted, in every row."""
    texts = [text_of(cell).casefold() for cell in cells]
    return any(
        texts == [text_of(value).casefold() for value in predicted.values(name)]
        for name in predicted.columns
    )


def _known_rows(
    part: Part, columns: Columns, outputs: Outputs, account: Account
) -> datasets.Dataset:
    """The rows with the columns that were fitted; the account gets a problem for each bad cell.

    Raises:
        DataError: one of the columns is not there.
    """
    there = list(part.table.columns)
    if missing := [name for name in columns.names if name not in there]:
        raise DataError(
            f"{part.table.name} has no column {shown(missing)}, which the training rows have; it "
            f"has {shown(there, 20)}"
        )
    rows = part.rows(columns.names, outputs)
    account.problems += located(columns.encode(cells_of(rows))[1], rows)
    return rows


def located(faults: Sequence[Fault], rows: datasets.Dataset) -> list[str]:
    """A line for each cell that cannot be read, with where its row is."""
    origins = places(rows)
    return [f"{origins[fault.row]}: {fault.reason}" for fault in faults]


def cells_of(rows: datasets.Dataset) -> list[dict[str, Any]]:
    """The cells of each row, by column."""
    return [read_row(text.encode()) for text in rows[ROW][:]]


# --- Rows to validate on -------------------------------------------------------------------------


def _set_aside(
    rows: datasets.Dataset, columns: Columns, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset, str]:
    """Rows to train on, those to validate on, and for people how they were chosen."""
    if config.time_column is not None:
        return _latest_aside(rows, columns, config)
    is_classes = OUTPUTS[config.task] == "classes"
    by_group = config.group_column is not None
    classes = labels_of(rows) if is_classes else None
    train, val = (set_aside_groups if by_group else set_aside)(rows, classes, config)
    return train, val, validation_choice(config, is_classes, by_group=by_group)


def _latest_aside(
    rows: datasets.Dataset, columns: Columns, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset, str]:
    """The latest rows apart from those before them; rows of one time stay together.

    Raises:
        DataError: the column is not there or holds no times, a row has none, or all are of one.
    """
    name = str(config.time_column)
    one = _cells(rows, columns).get(name)
    times = None if one is None else one.numbers
    if one is None or times is None:
        usable = [column.name for column in columns.columns if column.kind in ("number", "date")]
        raise DataError(
            f"{config.data}: time_column {name!r} is not among the columns of numbers and dates; "
            f"these are {shown(usable, 20)}"
        )
    if without := np.flatnonzero(np.isnan(times)).tolist():
        raise DataError(
            f"{config.data}: {len(without)} rows have no {name!r}, by which they are divided, the "
            f"first in {rows[without[0]][ORIGIN]}"
        )
    ordered = np.sort(times)
    limit = ordered[min(round(len(ordered) * (1 - config.validation_split)), len(ordered) - 1)]
    if limit == ordered[0]:
        limit = ordered[np.searchsorted(ordered, limit, "right") % len(ordered)]
    validates = times >= limit
    if validates.all():
        raise DataError(f"{config.data}: all rows have the same {name!r}, which divides nothing")
    first = text_of(one.cells[int(np.flatnonzero(times == limit)[0])])
    train, val = (rows.select(np.flatnonzero(chosen)) for chosen in (~validates, validates))
    return train, val, f"the latest {len(val) / len(rows):.0%}, of {name!r} from {first} on"


# --- What was found ------------------------------------------------------------------------------


def _cells(rows: datasets.Dataset, columns: Columns) -> dict[str, ColumnCells]:
    """The cells of each fitted column, by its name."""
    cells, markers = _by_column(rows), frozenset(columns.markers)
    return {one.name: ColumnCells(one, cells[one.name], markers) for one in columns.columns}


def _by_column(rows: datasets.Dataset) -> dict[str, list[Any]]:
    """The cells of all rows, by column."""
    found = cells_of(rows)
    return {name: [row[name] for row in found] for name in found[0]}


def _warn(
    rows: Mapping[str, datasets.Dataset],
    cells: Mapping[str, Mapping[str, ColumnCells]],
    names: Sequence[str],
    outputs: Outputs,
    account: Account,
) -> None:
    """What people should know before training."""
    if outputs == "classes":
        warn_of_rare_classes(labels_of(rows["val"]), names, account)
    train = cells["train"]
    labels = labels_of(rows["train"])
    warn_of_columns(train, account)
    warn_of_leaks(train, labels, outputs, names, account)
    for split in rows.keys() - {"train"}:
        warn_of_drift(train, cells[split], split, account)
    if outputs == "targets":
        warn_of_far_values(labels, names, places(rows["train"]), account)


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
    write_whole(run_dir / "example.json", splits.val[0][ROW] + "\n")


def places(rows: datasets.Dataset) -> list[str]:
    """Where each row is in its table."""
    return list(rows[ORIGIN][:])
