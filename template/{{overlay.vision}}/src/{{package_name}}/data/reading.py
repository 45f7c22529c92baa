"""Reading images: folders, tables and sets of the hub become rows. Nothing here needs torch.

Whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import preprocessing
from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidImage
from ..serving.runtime import Accepted
from ..serving.runtime.named_files import NamedFiles
from ..task import TaskSpec
from .account import Account, shown
from .class_folders import read_class_folders
from .columns import (
    IMAGE,
    LABEL,
    LABELS,
    ROW_NUMBERS,
    account_for_columns,
    find_column,
    plain_column,
    recognise_column,
    warn_of_unused_settings,
)
from .description import summarize
from .folders import visible
from .image_facts import examine as examine
from .image_facts import fingerprint as fingerprint
from .image_facts import review as review
from .image_files import IMAGES, unreadable_suffixes
from .labels import (
    check_classes,
    holds_numbers,
    is_one_hot,
    is_row_number,
    read_classes,
    read_multi_hot,
    read_one_hot,
    read_values,
)
from .layout import Expected, table_description
from .sources import SplitSource, is_labelled, read_all_sources, read_sources
from .splits import (
    Splits,
    labels_of,
    set_aside,
    validation_choice,
    warn_of_rare_classes,
)
from .tables import Table

if TYPE_CHECKING:
    import datasets

# in pixels: every bundle takes an image of this size, whatever training allows
LARGEST_EXAMPLE = 10_000_000

# what the labels of a task are called in data.json
OUTPUTS = {
    "vision_classification": "classes",
    "vision_multilabel": "labels",
    "vision_regression": "targets",
}


# settings about columns that a task uses
USED_COLUMN_SETTINGS = {
    "vision_classification": ("image_column", "label_column"),
    "vision_multilabel": ("image_column", "label_column", "target_columns", "label_separator"),
    "vision_regression": ("image_column", "target_columns"),
}


def read_splits(config: TrainingConfig, processor: None = None) -> Splits:
    """Read `config.data`: folders, tables or a set of the hub, as the README's table lists them.

    Without validation data, `config.validation_split` of the training rows are set aside, with the
    same share of every class, chosen by `config.seed`. A test split is read, but never trained on.

    Raises:
        DataError: nothing there, nothing that can be read in one way, or samples that cannot be
            used, all of them named.
    """
    account = Account()
    sources = read_sources(config.data, _expected(config.task), account)
    train, names = _read_split(sources.splits["train"], config, None, account)
    columns = _labelling_columns(config, names)
    held_out = {
        split: _read_split(source, config, names, account)[0]
        for split, source in sources.splits.items()
        if split == "val" or (split == "test" and is_labelled(source, IMAGES, columns, account))
    }
    if account.problems:  # in rows; whoever mends those wants to know of the images as well
        account.problems += _unreadable_images([train, *held_out.values()], config)
    account.check(config.data)
    _account_for_unnamed(sources.splits.values(), [train, *held_out.values()], account)
    _warn_of_repeated_images({"train": train, **held_out}, config.task, account)
    warn_of_unused_settings(config, USED_COLUMN_SETTINGS[config.task], sources.has_table, account)
    is_classes = config.task == "vision_classification"
    if is_classes:
        check_classes(names, config.data)
    validation = sources.validation or validation_choice(config, is_classes)
    if "val" not in held_out:
        train, held_out["val"] = set_aside(train, labels_of(train) if is_classes else None, config)
    val, test = held_out["val"], held_out.get("test")
    if is_classes:
        warn_of_rare_classes(labels_of(val), names, account)
    summary = summarize(
        data=config.data,
        layout=sources.layout,
        validation=validation,
        splits={"train": train, "val": val, "test": test},
        outputs=OUTPUTS[config.task],
        names=names,
        account=account,
    )
    return Splits(train, val, names, test=test, summary=summary)


def read_samples(
    config: TrainingConfig, names: list[str], processor: None
) -> tuple[datasets.Dataset, Account]:
    """Read all images of `config.data`, whichever splits they belong to.

    Raises:
        DataError: as `read_splits`, or labels that the network has not learned.
    """
    import datasets

    account = Account()
    sources = read_all_sources(config.data, _expected(config.task), account)
    parts = [_read_split(source, config, names, account)[0] for source in sources]
    account.check_labels(config.data, names)
    if account.problems:
        account.problems += _unreadable_images(parts, config)
    account.check(config.data)
    rows = datasets.concatenate_datasets(parts)
    if Path(config.data).is_dir():  # a single table need not name what lies beside it
        _account_for_unnamed(sources, parts, account)
    _warn_of_repeated_images({"all": rows}, config.task, account)
    return rows, account


# bytes of files that are compared with each other at most: to read a whole training set takes long
MOST_COMPARED = 2**30


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many images are among those of the training: the same files, or files of equal content.

    Contents are compared where sizes agree, unless that would be too much to read.
    """
    mine, others = _statuses(rows), _statuses(train)
    files = {(status.st_dev, status.st_ino) for _, status in others}
    sizes = {status.st_size for _, status in mine}
    alike = {path: status.st_size for path, status in others if status.st_size in sizes}
    if sum(alike.values()) > MOST_COMPARED:
        alike = {}
    compared, contents = set(alike.values()), {_file_digest(path) for path in alike}
    return sum(
        (status.st_dev, status.st_ino) in files
        or (status.st_size in compared and _file_digest(path) in contents)
        for path, status in mine
    )


def _statuses(rows: datasets.Dataset) -> list[tuple[str, os.stat_result]]:
    return [(path, Path(path).stat()) for path in _files(rows)]


def _file_digest(path: str) -> bytes:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()


def _expected(task: str) -> Expected:
    by_class = task == "vision_classification"
    column = {"vision_classification": "label", "vision_multilabel": "labels"}.get(task, "values")
    table = table_description(f"a column image and {column}")
    description = f"a folder per class, or {table}" if by_class else table
    return Expected(IMAGES, by_class, single_files=False, description=description)


def _labelling_columns(config: TrainingConfig, names: Sequence[str]) -> list[str]:
    """Columns of which a labelled table has one, as `plain_column` spells them."""
    usual = {"vision_classification": LABEL, "vision_multilabel": (*LABELS, *names)}
    given = [config.label_column] if config.label_column else []
    return [*map(plain_column, (*given, *names)), *usual.get(config.task, ())]


def _read_split(
    source: SplitSource, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[datasets.Dataset, list[str]]:
    if source.table is not None:
        return _read_table(source, source.table, config, names, account)
    root = source.folder or Path()
    if config.task != "vision_classification":
        raise DataError(
            f"{root} is a folder of images, but {config.task} needs a table with labels"
        )
    files, labels, names = read_class_folders(root, IMAGES, names, account)
    return _rows([str(file) for file in files], labels, config.task), names


def _read_table(
    source: SplitSource,
    table: Table,
    config: TrainingConfig,
    names: list[str] | None,
    account: Account,
) -> tuple[datasets.Dataset, list[str]]:
    if not len(table):
        account.check(config.data)
        raise DataError(f"{table.name} has no rows")
    column = find_column(table, IMAGE, config.image_column, "image_column", account)
    labels, names = _LABEL_READERS[config.task](table.without(column), config, names, account)
    origins = [table.place(row) for row in range(len(table))]
    if table.stored is not None and not _are_texts(table.stored, column):
        return _stored_images(table, column, labels, config.task, origins, account), names
    path = Path(table.name)
    finder = _finder(path, source.folder, account)
    images = [
        _image_path(value, origin, finder, account)
        for value, origin in zip(table.values(column), origins, strict=True)
    ]
    return _rows(images, labels, config.task, origins), names


def _account_for_unnamed(
    sources: Iterable[SplitSource], splits: Sequence[datasets.Dataset], account: Account
) -> None:
    """Say which images lie among those of a table without being named by it."""
    tables = [source.table for source in sources if source.table is not None]
    if not tables or any(table.stored is not None for table in tables):
        return  # images inside a table are all used, and too large to look through for this
    named = {path for rows in splits for path in _files(rows)}
    for folder in sorted({Path(path).parent for path in named}):
        for path in visible(folder, Account()):
            if IMAGES.takes(path) and str(path) not in named:
                account.leave_out(path, "an image that no table names")


def _warn_of_repeated_images(
    splits: Mapping[str, datasets.Dataset], task: str, account: Account
) -> None:
    """A file that several rows name may be validated on after it was trained on."""
    named: dict[str, list[tuple[str, bytes]]] = {}
    for split, rows in splits.items():
        labels = labels_of(rows)
        for row, (path, is_stored) in enumerate(zip(*_paths(rows), strict=True)):
            if path and not is_stored:
                named.setdefault(os.path.normpath(path), []).append((split, labels[row].tobytes()))
    across, differently, again = [], [], []
    for path, places in named.items():
        if len({split for split, _ in places}) > 1:
            across.append(path)
        elif len({label for _, label in places}) > 1:
            differently.append(path)
        elif len(places) > 1:
            again.append(path)
    if across:
        account.warn(
            f"images in several splits: {shown(across)}; what a model answers for images it was "
            "trained on says little"
        )
    if differently:
        is_multilabel = task == "vision_multilabel"
        remedy = "join them in one row" if is_multilabel else "keep the row that is right"
        account.warn(
            f"images that several rows name, with different labels: {shown(differently)}; {remedy}"
        )
    if again:
        account.warn(f"images that several rows name: {shown(again)}; one row for each will do")


def _unreadable_images(splits: Sequence[datasets.Dataset], config: TrainingConfig) -> list[str]:
    """Problems of the images that were found at all."""
    problems = []
    for rows in splits:
        found = np.flatnonzero(
            [bool(path) or stored for path, stored in zip(*_paths(rows), strict=True)]
        )
        problems += examine(rows.select(found), config).problems
    return problems


def _files(rows: datasets.Dataset) -> Iterator[str]:
    """Paths of the images that are files."""
    return (path for path, is_stored in zip(*_paths(rows), strict=True) if path and not is_stored)


def _paths(rows: datasets.Dataset) -> tuple[list[str | None], list[bool]]:
    """Path of each image, and whether its bytes are stored, which are not read for that."""
    paths: list[str | None] = []
    stored: list[bool] = []
    for chunk in rows.with_format("arrow")[:]["image"].chunks:
        paths += chunk.field("path").to_pylist()
        stored += chunk.field("bytes").is_valid().to_pylist()
    return paths, stored


def _finder(table: Path, folder: Path | None, account: Account) -> NamedFiles:
    return NamedFiles(table if table.exists() else None, folder, IMAGES.suffixes, account.note)


def _image_path(value: Any, origin: str, finder: NamedFiles, account: Account) -> str:
    if value is None or not str(value).strip():
        account.problems.append(f"{origin}: the image is missing")
    elif not isinstance(value, str):
        account.problems.append(f"{origin}: the image is {value!r}; it must be a file's name")
    else:
        try:
            return str(finder.find(value))
        except FileNotFoundError as error:
            account.problems.append(f"{origin}: {error}")
    return ""


def _are_texts(rows: datasets.Dataset, column: str) -> bool:
    return str(getattr(rows.features[column], "dtype", "")) in ("string", "large_string")


def _stored_images(
    table: Table,
    column: str,
    labels: Sequence[Any],
    task: str,
    origins: list[str],
    account: Account,
) -> datasets.Dataset:
    """Images whose bytes are in the table, or structures of bytes and path; they stay on disk."""
    import datasets

    assert table.stored is not None
    feature = datasets.Image(decode=False)
    images = table.stored.select_columns(column)
    images = images if column == "image" else images.rename_column(column, "image")
    images = images.cast_column("image", feature)
    finder = _finder(Path(table.name), None, account)
    paths, has_bytes = _paths(images)
    without_bytes = [row for row, stored in enumerate(has_bytes) if not stored]
    if without_bytes:  # then the path is all there is
        found = {
            row: _image_path(paths[row], origins[row], finder, account) for row in without_bytes
        }
        images = images.map(
            lambda row, number: (
                {"image": {**row["image"], "path": found[number]}} if number in found else row
            ),
            with_indices=True,
            features=datasets.Features({"image": feature}),
            load_from_cache_file=False,
        )
    rest = _rows([""] * len(origins), labels, task, origins).remove_columns("image")
    return datasets.concatenate_datasets([images, rest], axis=1)


def _class_labels(
    table: Table, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[list[int], list[str]]:
    column = find_column(table, LABEL, config.label_column, "label_column", account)
    account_for_columns(table, [column], account)
    return read_classes(table.values(column), table.place, names, account)


def _multi_hot_labels(
    table: Table, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[list[list[float]], list[str]]:
    """One column of labels, or a column of zeros and ones for each."""
    column = recognise_column(table, LABELS, config.label_column, "label_column")
    if column is None:
        columns = names or config.target_columns or _columns_of_values(table, account)
        if columns and all(
            name in table.columns and is_one_hot(table.values(name)) for name in columns
        ):
            account.note(f"each of the columns {shown(columns)} is a label, 1 where it applies")
            account_for_columns(table, columns, account)
            return read_one_hot(table, columns, account)
        column = find_column(table, LABELS, None, "label_column", account)
    elif column != LABELS[0] and config.label_column is None:
        account.note(f"column {column!r} is taken for {LABELS[0]!r}")
    account_for_columns(table, [column], account)
    values = table.values(column)
    return read_multi_hot(values, table.place, names, config.label_separator, account)


def _regression_values(
    table: Table, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[list[list[float]], list[str]]:
    """Every column but the image's is a value to predict, unless the configuration names them."""
    if names is not None:
        columns = [name if name in table.columns else name.rpartition("[")[0] for name in names]
        columns = list(dict.fromkeys(columns))
    else:
        columns = config.target_columns or _columns_of_values(table, account)
    if missing := [name for name in columns if name not in table.columns]:
        raise DataError(
            f"{table.name} has no column {shown(missing)}; it has {shown(list(table.columns), 20)}"
        )
    if not columns:
        raise DataError(f"{table.name} has no column of values beside the image's")
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


_LABEL_READERS: dict[str, Callable[..., tuple[list[Any], list[str]]]] = {
    "vision_classification": _class_labels,
    "vision_multilabel": _multi_hot_labels,
    "vision_regression": _regression_values,
}


def _rows(
    images: list[str], labels: Sequence[Any], task: str, origins: list[str] | None = None
) -> datasets.Dataset:
    """Rows with `image`, `labels`, and, of a table, `origin`: where the row is in it."""
    import datasets

    kinds = {
        "vision_classification": datasets.Value("int64"),
        "vision_multilabel": datasets.List(datasets.Value("float32")),
        "vision_regression": datasets.List(datasets.Value("float64")),
    }
    columns: dict[str, Any] = {"image": images, "labels": list(labels)}
    features = {"image": datasets.Image(decode=False), "labels": kinds[task]}
    if origins is not None:
        columns["origin"], features["origin"] = origins, datasets.Value("string")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes for an image: what was one here."""
    _, height, width = task_spec.input_schema["image_size"]
    return Accepted(
        suffixes=sorted(IMAGES.suffixes),
        refused=unreadable_suffixes(),
        columns=list(dict.fromkeys((config.image_column or IMAGE[0], *IMAGE))),
        # the example that a bundle draws itself is as large as the network's input
        max_item_size=max(config.max_pixels, height * width),
    )


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep one validation image as `example.*`: the bundle stores it with its prediction."""
    image = splits.val[0]["image"]
    suffix = Path(image["path"] or "image.png").suffix  # a hub's images may have no name
    content = image["bytes"] or Path(image["path"]).read_bytes()
    try:
        with preprocessing.opened(content, LARGEST_EXAMPLE):
            pass
    except InvalidImage:  # no bundle could take it
        return
    write_whole(run_dir / f"example{suffix.lower()}", content)


# what `save_processor` writes: pixels need nothing that was learned from data
PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: images have no processor."""


def load_processor(folder: Path) -> None:
    """None: images have no processor."""


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each image, or where it is in its table."""
    paths, _ = _paths(rows)
    has_origin = "origin" in rows.column_names
    origins = rows["origin"][:] if has_origin else [None] * len(rows)
    return [place(*one, number) for number, one in enumerate(zip(paths, origins, strict=True))]


def place(path: str | None, origin: str | None, number: int) -> str:
    """The file of an image, or its row, counted from 1, where it has none."""
    return path or origin or f"row {number + 1}"
