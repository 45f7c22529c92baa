"""What a table says its samples are: classes, labels, or values to predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..errors import DataError
from .account import Account, shown
from .columns import (
    LABEL,
    LABELS,
    ROW_NUMBERS,
    account_for_columns,
    find_column,
    plain_column,
    recognise_column,
)
from .labels import (
    holds_numbers,
    is_one_hot,
    is_row_number,
    read_classes,
    read_multi_hot,
    read_one_hot,
    read_values,
)
from .tables import Table

Outputs: TypeAlias = Literal["classes", "labels", "targets"]
"""What the labels of a task are: one class each, any number of labels, or values to predict."""


@dataclass(frozen=True)
class ColumnSettings:
    """Which columns of a table play a part, as the configuration has it.

    Attributes:
        input: what holds the input, or names its file; None to recognise it.
        label: what holds the class or the labels; None to recognise it.
        targets: what is predicted; empty for all that is left.
        separator: between labels in one text; None to recognise it.
        group: what samples share that belong together; None to recognise it.
    """

    input: str | None = None
    label: str | None = None
    targets: Sequence[str] = field(default_factory=list)
    separator: str | None = None
    group: str | None = None


def labelling_columns(
    outputs: Outputs, settings: ColumnSettings, names: Sequence[str]
) -> list[str]:
    """Columns of which a labelled table has one, as `plain_column` spells them.

    Args:
        outputs: what the labels are.
        settings: of the columns.
        names: classes, labels or values of the training data.
    """
    usual = {"classes": LABEL, "labels": (*LABELS, *names), "targets": ()}
    given = [settings.label] if settings.label else []
    return [*map(plain_column, (*given, *names)), *usual[outputs]]


def read_labels(
    table: Table,
    outputs: Outputs,
    settings: ColumnSettings,
    names: list[str] | None,
    account: Account,
) -> tuple[list[Any], list[str]]:
    """The label of each row, and what classes, labels or values are called.

    Args:
        table: without the columns that hold inputs or groups.
        outputs: what the labels are.
        settings: of the columns.
        names: those of the training data; None to take those of this table.
        account: gets a problem for each row that has none.

    Returns:
        labels as `label_feature` has them, and K names.

    Raises:
        DataError: there are no such columns.
    """
    return _READERS[outputs](table, settings, names, account)


def label_feature(outputs: Outputs) -> Any:
    """How labels are stored: int64, float32 [K] of zeros and ones, or float64 [K]."""
    import datasets

    kinds = {
        "classes": datasets.Value("int64"),
        "labels": datasets.List(datasets.Value("float32")),
        "targets": datasets.List(datasets.Value("float64")),
    }
    return kinds[outputs]


def _class_labels(
    table: Table, settings: ColumnSettings, names: list[str] | None, account: Account
) -> tuple[list[int], list[str]]:
    column = find_column(table, LABEL, settings.label, "label_column", account)
    account_for_columns(table, [column], account)
    return read_classes(table.values(column), table.place, names, account)


def _multi_hot_labels(
    table: Table, settings: ColumnSettings, names: list[str] | None, account: Account
) -> tuple[list[list[float]], list[str]]:
    """One column of labels, or a column of zeros and ones for each."""
    column = recognise_column(table, LABELS, settings.label, "label_column")
    if column is None:
        columns = names or settings.targets or _columns_of_values(table, account)
        if columns and all(
            name in table.columns and is_one_hot(table.values(name)) for name in columns
        ):
            account.note(f"each of the columns {shown(columns)} is a label, 1 where it applies")
            account_for_columns(table, columns, account)
            return read_one_hot(table, columns, account)
        column = find_column(table, LABELS, None, "label_column", account)
    elif column != LABELS[0] and settings.label is None:
        account.note(f"column {column!r} is taken for {LABELS[0]!r}")
    account_for_columns(table, [column], account)
    values = table.values(column)
    return read_multi_hot(values, table.place, names, settings.separator, account)


def _target_values(
    table: Table, settings: ColumnSettings, names: list[str] | None, account: Account
) -> tuple[list[list[float]], list[str]]:
    """Every column is a value to predict, unless the configuration names them."""
    if names is not None:
        columns = [name if name in table.columns else name.rpartition("[")[0] for name in names]
        columns = list(dict.fromkeys(columns))
    else:
        columns = list(settings.targets) or _columns_of_values(table, account)
    if missing := [name for name in columns if name not in table.columns]:
        raise DataError(
            f"{table.name} has no column {shown(missing)}; it has {shown(list(table.columns), 20)}"
        )
    if not columns:
        raise DataError(f"{table.name} has no column of values beside that of the inputs")
    _refuse_texts(table, columns)
    account_for_columns(table, columns, account)
    values, found = read_values(table, columns, account)
    if names is not None and found != names:
        raise DataError(f"{table.name} has the targets {shown(found)}; training has {shown(names)}")
    return values.tolist(), found


def _refuse_texts(table: Table, columns: Sequence[str]) -> None:
    """A column without a single number is no target, rather than full of bad rows."""
    texts = [name for name in columns if not holds_numbers(table.values(name))]
    if texts:
        others = [name for name in columns if name not in texts]
        raise DataError(
            f"{table.name}: column {shown(texts)} holds no numbers; name the targets with "
            f"--target_columns {','.join(others) or 'NAME'}"
        )


def _columns_of_values(table: Table, account: Account) -> list[str]:
    """All columns, except those that only count the rows."""
    counting = [
        *table.index_columns(),
        *(name for name in ROW_NUMBERS if is_row_number(table.columns.get(name, ())[:])),
    ]
    found = [name for name in table.columns if name not in counting]
    if numbering := [
        name for name in found if plain_column(name).split("_")[-1] in ("id", "index")
    ]:
        account.warn(
            f"column {shown(numbering)} is taken for something to predict; name what is with "
            "--target_columns"
        )
    return found


_READERS: dict[Outputs, Callable[..., tuple[list[Any], list[str]]]] = {
    "classes": _class_labels,
    "labels": _multi_hot_labels,
    "targets": _target_values,
}
