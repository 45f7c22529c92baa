"""Finding and reading tables of samples, whatever they describe: manifests, and sets of the hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError

if TYPE_CHECKING:
    import datasets

HUB = "hub:"
MANIFESTS = (".csv", ".jsonl", ".parquet")
VAL_NAMES = ("val", "valid", "validation")


def find_sources(root: Path, suffixes: Sequence[str], layouts: str) -> tuple[Path, Path | None]:
    """Where training rows come from and, where given, validation rows.

    Args:
        root: a file, or a folder that may hold `train` and `val` as folders or files.
        suffixes: of the files that will do.
        layouts: what to tell people who have something else.

    Raises:
        DataError: nothing there, or a file of another kind.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist; --data names {layouts}")
    if root.is_file():
        if root.suffix.lower() not in suffixes:
            raise DataError(f"{root} is not a {', '.join(suffixes)} file; --data names {layouts}")
        return root, None
    train = _entry(root, ("train",), suffixes)
    if train is None:
        return root, None
    return train, _entry(root, VAL_NAMES, suffixes)


def _entry(root: Path, names: Iterable[str], suffixes: Sequence[str]) -> Path | None:
    """The folder or file among root's children that bears one of the names."""
    for name in names:
        for candidate in (root / name, *(root / f"{name}{suffix}" for suffix in suffixes)):
            if candidate.exists():
                return candidate
    return None


def read_manifest(path: Path) -> datasets.Dataset:
    """Rows of a CSV, JSONL or Parquet table.

    Raises:
        DataError: not readable.
    """
    from datasets import Dataset as Table
    from datasets import disable_progress_bars
    from datasets.exceptions import DatasetGenerationError

    disable_progress_bars()
    try:
        if path.suffix.lower() == ".csv":
            return Table.from_csv(str(path), keep_default_na=False)  # "None" can be a class
        if path.suffix.lower() == ".jsonl":
            return Table.from_json(str(path))
        return Table.from_parquet(str(path))
    except (DatasetGenerationError, ValueError, OSError) as error:
        reason = error.__cause__ or error
        raise DataError(f"{path} cannot be read: {str(reason).splitlines()[0]}") from error


def read_hub(data: str) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """Training and, where there are any, validation rows of a set of the Hugging Face hub.

    Args:
        data: `hub:NAME`, or `hub:` and a folder in the hub's form.

    Raises:
        DataError: it cannot be loaded, or has nothing to train on.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    try:
        splits = datasets.load_dataset(data.removeprefix(HUB))
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise DataError(f"{data} cannot be loaded: {str(error).splitlines()[0]}") from error
    if "train" not in splits:
        raise DataError(f"{data} has no split 'train'; it has {', '.join(splits)}")
    held_out = next((splits[name] for name in (*VAL_NAMES, "test") if name in splits), None)
    return splits["train"], held_out


def column_values(
    path: Path, rows: datasets.Dataset, name: str, *, allow_empty: bool = False
) -> list[Any]:
    """Values of a column.

    Raises:
        DataError: there is no such column, no row, or a value is missing; rows count from 1.
    """
    if name not in rows.column_names:
        raise DataError(f"{path} has no column {name!r}; it has {', '.join(rows.column_names)}")
    values = list(rows[name])
    if not values:
        raise DataError(f"{path} has no rows")
    for row, value in enumerate(values):
        if not allow_empty and value in (None, ""):
            raise DataError(f"{path}, row {row + 1}: {name} is missing")
    return values


def class_labels(
    path: Path, rows: datasets.Dataset, names: list[str] | None
) -> tuple[list[int], list[str]]:
    """The column `label` as positions in the list of classes, and that list.

    Args:
        path: for messages.
        rows: the table.
        names: the training data's classes; None to take those of this table.

    Raises:
        DataError: a label is missing, or is not among the names.
    """
    values = [str(value) for value in column_values(path, rows, "label")]
    if hasattr(feature := rows.features["label"], "int2str"):  # the hub stores classes as numbers
        values = feature.int2str(list(rows["label"]))
    names = names or sorted(set(values))
    return [class_index(path, row, value, names) for row, value in enumerate(values)], names


def class_index(path: Path, row: int, label: str, names: list[str]) -> int:
    """Position of a label among the training data's.

    Raises:
        DataError: it is none of them.
    """
    if label not in names:
        raise DataError(f"{path}, row {row + 1}: label {label!r} is not in the training data")
    return names.index(label)


def hold_out(groups: npt.NDArray[Any], share: float, seed: int) -> list[int]:
    """Positions of validation samples, in order: the same share of every group.

    Args:
        groups: the group of each sample [N]; a group of one is never held out.
        share: of each group, at least one sample of it.
        seed: chooses them.
    """
    generator = np.random.default_rng(seed)
    held_out: list[int] = []
    for group in np.unique(groups):
        members = generator.permutation(np.flatnonzero(groups == group))
        count = max(1, round(len(members) * share)) if len(members) > 1 else 0
        held_out += members[:count].tolist()
    return sorted(held_out)
