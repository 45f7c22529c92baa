"""Which column of a table is which: named by the user, or recognised and said."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import TrainingConfig
from ..errors import DataError
from ..serving.runtime import tables
from ..serving.runtime.tables import UnreadableTable
from ..serving.runtime.tables import plain_column as plain_column
from .account import Account
from .tables import Table

# The first name is the documented one and wins; the others are what people call it as well.
IMAGE = (
    "image", "images", "img", "file_name", "filename", "file", "image_path", "img_path", "filepath",
    "file_path", "path", "image_file", "image_name", "img_name", "image_id", "id_code", "picture",
    "photo", "fname", "name",
)  # fmt: skip
TEXT = (
    "text", "texts", "sentence", "content", "review", "comment", "document", "body", "message",
    "tweet", "utterance", "comment_text", "review_text", "text_content", "description", "title",
)  # fmt: skip
LABEL = (
    "label", "class", "category", "target", "y", "class_name", "label_name", "classname",
    "category_name", "labels", "class_id", "label_id", "sentiment", "species", "diagnosis",
)  # fmt: skip
LABELS = (
    "labels", "label", "tags", "classes", "categories", "targets", "attributes", "genres", "tag",
)  # fmt: skip
# how the names of settings end that say which columns play a part, and how to read them
COLUMN_SETTINGS = ("_column", "_columns", "_separator")
# names of columns that count the rows, where their values do
ROW_NUMBERS = ("index", "Index", "id", "ID", "Id", "idx", "row", "no", "number", "#")


def find_column(
    table: Table, names: Sequence[str], given: str | None, setting: str, account: Account
) -> str:
    """The column that plays a role.

    Args:
        table: where to look.
        names: what such a column is called, the documented name first.
        given: the name that the user gave; None to recognise one.
        setting: under which a user gives it.
        account: says which one was recognised, unless it has the documented name.

    Raises:
        DataError: no such column, or several that could be it.
    """
    try:
        found = tables.find_column(list(table.columns), names, given, f"--{setting}", table.form)
    except UnreadableTable as error:
        raise DataError(f"{table.name}: {error}") from error
    if found != names[0] and given is None:
        account.note(f"column {found!r} is taken for {names[0]!r}")
    return found


def recognise_column(
    table: Table, names: Sequence[str], given: str | None, setting: str
) -> str | None:
    """As `find_column`, but None where there is no such column and none was given."""
    try:
        return tables.recognise_column(list(table.columns), names, given, f"--{setting}")
    except UnreadableTable as error:
        raise DataError(f"{table.name}: {error}") from error


def warn_of_unused_settings(
    config: TrainingConfig, used: Sequence[str], has_table: bool, account: Account
) -> None:
    """Say which settings about columns were given for nothing.

    Args:
        config: the settings.
        used: those that the task uses where there is a table.
        has_table: whether there is one.
        account: gets the warnings.
    """
    settings = config.to_dict()
    for name in settings:
        if name.endswith(COLUMN_SETTINGS) and settings[name] and not (has_table and name in used):
            why = f"{config.task} has no use for it" if has_table else "there is no table"
            account.warn(f"{name} is {settings[name]!r}, but {why}")


def account_for_columns(table: Table, used: Sequence[str], account: Account) -> None:
    """Say which columns of a table have no part in the task."""
    for name in table.columns:
        if name not in used:
            account.leave_out(
                f"{table.name}: column {name!r}", "a column without a part in the task"
            )
