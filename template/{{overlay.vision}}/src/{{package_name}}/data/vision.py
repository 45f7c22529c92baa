"""Images: reading folders and manifests, the dataset, and VisionDataCollator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from .. import preprocessing
from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import ConfigError, DataError
from ..preprocessing import InvalidImage
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
from .image_facts import explain
from .image_facts import fingerprint as fingerprint
from .image_facts import review as review
from .image_files import IMAGES
from .image_paths import ImageFinder
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
from .module import Batch
from .order import Key, sample_seed
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

    from .module import UniversalDataModule

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# in pixels: every bundle takes an image of this size, whatever training allows
LARGEST_EXAMPLE = 10_000_000


# --- Reading -------------------------------------------------------------------------------------

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
    finder = ImageFinder(path if path.exists() else None, source.folder, account)
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


def _image_path(value: Any, origin: str, finder: ImageFinder, account: Account) -> str:
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
    finder = ImageFinder(Path(table.name) if Path(table.name).exists() else None, None, account)
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
            f"--target_columns [{','.join(others) or 'NAME'}]"
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


# --- Samples -------------------------------------------------------------------------------------


class ImageDataset(Dataset[dict[str, Any]]):
    """Samples `{"pixel_values": uint8 [C, H, W], "labels": ...}`, addressed by (epoch, index).

    Images stay uint8: a quarter of the bytes to move, and nobody can take them for normalised.

    Args:
        rows: table with `image` (path or bytes) and `labels`.
        task_spec: size and resize of an image.
        augment: `none`, `light` or `photo`.
        seed: with the key, fixes every random choice.
        max_pixels: largest image; Pillow's own limit by default.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        task_spec: TaskSpec,
        *,
        augment: str = "none",
        seed: int = 0,
        max_pixels: int | None = None,
    ) -> None:
        self.rows = rows
        self.image_size = task_spec.input_schema["image_size"]
        self.preprocessing_config = task_spec.preprocessing_config
        self.augment = augment
        self.transform = augmentation(augment, self.image_size)
        self.seed = seed
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        key = key if isinstance(key, tuple) else (0, key)
        row = self.rows[key[1]]
        try:
            pixels = self._read(row["image"]["bytes"] or row["image"]["path"])
        except (InvalidImage, FileNotFoundError) as error:
            raise DataError(explain(row, key[1], error)) from error
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):
                # torch.manual_seed seeds every kind of device, which costs far more
                torch.default_generator.manual_seed(sample_seed(self.seed, key))
                pixels = self.transform(pixels)
        return {"pixel_values": pixels, "labels": row["labels"]}

    def _read(self, source: str | bytes) -> Tensor:
        if self.augment == "photo":  # crops from the whole picture
            value_range = self.preprocessing_config.get("value_range")
            image = preprocessing.open_image(
                source, self.image_size[0], value_range, self.max_pixels
            )
            return torch.from_numpy(preprocessing.to_channels_first(image))
        pixels = preprocessing.read_pixels(
            source, self.image_size, self.preprocessing_config, self.max_pixels
        )
        return torch.from_numpy(pixels)


def augmentation(name: str, image_size: Sequence[int]) -> v2.Transform | None:
    """Random changes from uint8 [C, h, w] to uint8 [C, H, W]; None where nothing changes."""
    channels, height, width = image_size
    bilinear = InterpolationMode.BILINEAR
    if name == "light":
        return v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=bilinear)
    if name == "photo":
        crop = v2.RandomResizedCrop((height, width), scale=(0.35, 1.0), interpolation=bilinear)
        colour = [v2.ColorJitter(0.2, 0.2, 0.2, 0.05)] if channels == 3 else []
        return v2.Compose([crop, v2.RandomHorizontalFlip(), *colour])
    return None


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> ImageDataset:
    """Augmented for training, as inference will see them otherwise."""
    augment = config.augment if training else "none"
    return ImageDataset(
        rows, task_spec, augment=augment, seed=config.seed, max_pixels=config.max_pixels
    )


class BlankImages(Dataset[dict[str, Any]]):
    """Labels of the rows, each with an image of zeros, uint8 [C, H, W]: no file is opened.

    Args:
        rows: table with `labels`.
        image_size: channels, height, width.
    """

    def __init__(self, rows: datasets.Dataset, image_size: Sequence[int]) -> None:
        self.labels = rows.select_columns("labels")
        self.pixels = torch.zeros(1, dtype=torch.uint8).expand(*image_size)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return {"pixel_values": self.pixels, "labels": self.labels[key[1]]["labels"]}


def make_blanks(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> BlankImages:
    """The labels alone."""
    return BlankImages(rows, task_spec.input_schema["image_size"])


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """Augmentation, and samples that are mixed."""
    mixing = [name for name in ("mixup", "cutmix") if getattr(config, name)]
    augment = [] if config.augment == "none" else [f"augment: {config.augment}"]
    return " and ".join([*augment, *mixing])


# --- Batches -------------------------------------------------------------------------------------


class VisionDataCollator:
    """Stack samples into a batch and normalise its pixels.

    A sample is `{"pixel_values": [C, H, W], "labels": ...}`, labels being optional: an int (a
    class), a float or a list of floats (values, or a multi-hot vector). uint8 pixels count 0..255
    and are brought to 0..1 first; float pixels are taken to lie there already.

    Args:
        normalize: subtract `mean`, divide by `std`.
        mean, std: one value per channel, on the 0..1 scale; ImageNet's by default.
        defer: leave uint8 batches as they are, for `DeviceNormalize` after the transfer.
        value_dtype: of labels that are values; float64 keeps every digit until they are
            standardised.

    Raises:
        ValueError: mean and std differ in length, or std is not positive.
    """

    def __init__(
        self,
        normalize: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        defer: bool = False,
        value_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.normalize = normalize
        self.mean = tuple(mean) if mean is not None else IMAGENET_MEAN
        self.std = tuple(std) if std is not None else IMAGENET_STD
        self.defer = defer
        self.value_dtype = value_dtype
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have same length, got {len(self.mean)} vs {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate samples.

        Returns:
            `pixel_values` [B, C, H, W], float32, or uint8 where that is deferred; `labels` [B] or
            [B, K], int64 for classes and `value_dtype` for values, where the samples have them.

        Raises:
            ValueError: shapes differ, channels do not match mean and std, some labels are missing.
        """
        images = [sample["pixel_values"] for sample in batch]
        self._check_shapes(images)
        collated = {"pixel_values": self._stack(images)}
        labelled = sum("labels" in sample for sample in batch)
        if labelled:
            if labelled < len(batch):
                raise ValueError(f"{len(batch) - labelled} of {len(batch)} samples have no labels")
            collated["labels"] = self._stack_labels([sample["labels"] for sample in batch])
        return collated

    def _stack_labels(self, labels: list[Any]) -> Tensor:
        # numpy keeps the digits of Python's floats, torch would round them to float32
        stacked = torch.from_numpy(np.stack([np.asarray(label) for label in labels]))
        return stacked.to(self.value_dtype if stacked.is_floating_point() else torch.int64)

    def _check_shapes(self, images: list[Tensor]) -> None:
        shape = images[0].shape
        for position, image in enumerate(images):
            if image.shape != shape:
                raise ValueError(
                    f"images of one batch must have one size: sample 0 is {list(shape)}, "
                    f"sample {position} is {list(image.shape)}; resize them in the dataset"
                )
        if len(shape) != 3:
            raise ValueError(f"pixel_values must be [C, H, W], got {list(shape)}")
        if self.normalize and shape[0] != len(self.mean):
            raise ValueError(f"images have {shape[0]} channels, mean and std {len(self.mean)}")

    def _stack(self, images: list[Tensor]) -> Tensor:
        raw = images[0].dtype == torch.uint8
        if raw and self.defer:
            return torch.stack(images)
        if not self.normalize:
            return torch.stack(images).div(255) if raw else torch.stack(images).float()
        # row by row into one buffer: large temporaries cost more than the arithmetic
        mean, std = torch.tensor(self.mean).double(), torch.tensor(self.std).double()
        scale = (1 / (std * 255 if raw else std)).float().view(-1, 1, 1)
        bias = (-mean / std).float().view(-1, 1, 1)
        pixels = torch.empty(len(images), *images[0].shape)
        for image, row in zip(images, pixels, strict=True):
            torch.mul(image, scale, out=row).add_(bias)
        return pixels


class DeviceNormalize(nn.Module):
    """Normalise uint8 pixels of a batch on whatever device it lies; floats are normalised already.

    Args:
        task_spec: channels, mean and std.
    """

    # bytes of float output written at a time on a CPU: more, and page faults cost most of the time
    CHUNK_BYTES = 512 * 1024

    def __init__(self, task_spec: TaskSpec) -> None:
        super().__init__()
        scale, bias = preprocessing.scale_and_bias(
            task_spec.input_schema["image_size"][0], task_spec.preprocessing_config
        )
        self.register_buffer("scale", torch.from_numpy(scale), persistent=False)
        self.register_buffer("bias", torch.from_numpy(bias), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        """The batch with `pixel_values` as float32 [B, C, H, W]."""
        pixels = batch["pixel_values"]
        if pixels.dtype != torch.uint8:
            return batch
        scale, bias = cast(Tensor, self.scale), cast(Tensor, self.bias)
        normalized = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        rows = len(pixels)
        if pixels.device.type == "cpu":
            rows = max(1, self.CHUNK_BYTES // (4 * pixels[0].numel()))
        for chunk, out in zip(*(torch.split(t, rows) for t in (pixels, normalized)), strict=True):
            torch.mul(chunk, scale, out=out).add_(bias)
        return {**batch, "pixel_values": normalized}


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, processor: Any = None
) -> VisionDataCollator:
    """The collator with the task's normalisation."""
    preprocessing_config = task_spec.preprocessing_config
    return VisionDataCollator(
        normalize=preprocessing_config.get("normalize", True),
        mean=preprocessing_config.get("mean"),
        std=preprocessing_config.get("std"),
        defer=config.normalize_on == "device",
        value_dtype=torch.float64 if task_spec.standardisation else torch.float32,
    )


class MixSamples(nn.Module):
    """In training, mixes each image of a micro-batch with the one before it.

    H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018; S. Yun et al., "CutMix:
    Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019. Every
    sample lends as much of its class as it gets of another's, so that the targets of a micro-batch
    weigh together what they weighed before.

    Args:
        mixup, cutmix: alpha of each; one of them is not 0. Chance chooses between two.
        num_classes: of the task.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        super().__init__()
        kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self.mix = v2.RandomChoice(
            [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha > 0]
        )

    def forward(self, batch: Batch) -> Batch:
        """The batch with mixed `pixel_values`, and `labels` as float32 [B, K] that add up to 1."""
        if not self.training:
            return batch
        images, labels = self.mix(batch["pixel_values"], batch["labels"])
        return {**batch, "pixel_values": images, "labels": labels}


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Normalisation on the device, where the collator has not done it, and mixing in training.

    Raises:
        ConfigError: this task has no classes to mix.
    """
    steps: list[nn.Module] = []
    if config.normalize_on == "device":
        steps.append(DeviceNormalize(task_spec))
    if config.mixup or config.cutmix:
        if task_spec.task_type != "vision_classification":
            raise ConfigError(
                [
                    f"{name}: {task_spec.task_type} does not know it; it is for tasks with one "
                    "class a sample"
                    for name in ("mixup", "cutmix")
                    if getattr(config, name)
                ]
            )
        steps.append(MixSamples(config.mixup, config.cutmix, task_spec.num_outputs))
    return nn.Sequential(*steps)


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Ways to bring one micro-batch to the network as floats; each returns its number of images."""
    assert data.splits is not None
    task_spec, splits = data.task_spec, data.splits
    channels = task_spec.input_schema["image_size"][0]
    preprocessing_config = task_spec.preprocessing_config
    mean = preprocessing_config["mean"] if config.normalize else [0.0] * channels
    std = preprocessing_config["std"] if config.normalize else [1.0] * channels
    plain = make_dataset(splits.train, task_spec, config, training=False)
    augmented = make_dataset(splits.train, task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, len(plain)))]
    samples = [plain[key] for key in keys]
    collate = VisionDataCollator(True, mean, std)
    stack = VisionDataCollator(True, mean, std, defer=True)
    on_device = DeviceNormalize(task_spec)
    normalize_one = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    )

    def per_sample() -> int:
        return len(torch.stack([normalize_one(sample["pixel_values"]) for sample in samples]))

    def in_collator() -> int:
        return len(collate(samples)["pixel_values"])

    def after_transfer() -> int:
        return len(on_device(stack(samples))["pixel_values"])

    return {
        "collate, Normalize per image": per_sample,
        "collate, normalize_on: collator": in_collator,
        "collate, normalize_on: device": after_transfer,
        "read and resize": lambda: len([plain[key] for key in keys]),
        f"read, resize, augment: {config.augment}": lambda: len([augmented[key] for key in keys]),
    }
