"""Points: reading folders, the dataset, and the collator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidPoint, read_point
from ..task import TaskSpec
from .account import Account
from .folders import FileKind
from .layout import Expected, find_layout
from .module import Batch
from .order import Key
from .splits import Examination, Splits

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule

POINTS = FileKind("points", frozenset({".txt"}), lambda path: None)
LAYOUT = "a folder with train and val, each holding a folder per class"


def read_splits(config: TrainingConfig, processor: None = None) -> Splits:
    """Read `config.data`.

    Raises:
        DataError: nothing there, or no validation points.
    """
    layout = find_layout(Path(config.data), Expected(POINTS, True, False, LAYOUT), Account())
    train = layout.train.folder
    val = layout.val.folder if layout.val else None
    if train is None or val is None:
        raise DataError(f"{config.data} has no val; give {LAYOUT}")
    names = sorted(folder.name for folder in train.iterdir() if folder.is_dir())
    return Splits(_table(train, names), _table(val, names), names)


def _table(root: Path, names: list[str]) -> datasets.Dataset:
    import datasets

    files = [path for name in names for path in sorted((root / name).glob("*.txt"))]
    if not files:
        raise DataError(f"{root} holds no points; give {LAYOUT}")
    labels = [names.index(path.parent.name) for path in files]
    return datasets.Dataset.from_dict({"path": [str(path) for path in files], "labels": labels})


def read_samples(
    config: TrainingConfig, names: list[str], processor: None
) -> tuple[datasets.Dataset, Account]:
    """Read a folder per class."""
    account = Account()
    root = Path(config.data)
    account.unknown |= {path.name for path in root.iterdir() if path.is_dir()} - set(names)
    account.check_labels(config.data, names)
    return _table(root, names), account


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many points are the same files."""
    return len(set(rows["path"][:]) & set(train["path"][:]))


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """Nothing: every point is read when it is needed."""
    return Examination()


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> None:
    """None: `examine` opens nothing."""


def review(facts: Mapping[str, Mapping[str, Any]], config: TrainingConfig) -> list[str]:
    """Nothing."""
    return []


PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: points have no processor."""


def load_processor(folder: Path) -> None:
    """None: points have no processor."""


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep a validation point as `example.txt`."""
    (run_dir / "example.txt").write_bytes(Path(splits.val[0]["path"]).read_bytes())


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each point."""
    return list(rows["path"][:])


class PointDataset(Dataset[dict[str, Any]]):
    """Samples `{"points": float32 [F], "labels": int}`, addressed by (epoch, index)."""

    def __init__(self, rows: datasets.Dataset, dimensions: int) -> None:
        self.rows, self.dimensions = rows, dimensions

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.rows[key[1]]
        try:
            point = read_point(Path(row["path"]).read_bytes(), self.dimensions)
        except InvalidPoint as error:
            raise DataError(f"{row['path']}: {error}") from error
        return {"points": torch.from_numpy(point), "labels": row["labels"]}


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> PointDataset:
    """The rows as samples."""
    return PointDataset(rows, task_spec.input_schema["dimensions"])


# points are cheap to read
make_blanks = make_dataset


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """Nothing."""
    return ""


def collate(batch: list[dict[str, Any]]) -> Batch:
    """`points` float32 [B, F] and `labels` int64 [B]."""
    points = np.stack([sample["points"] for sample in batch])
    labels = torch.tensor([sample["labels"] for sample in batch])
    return {"points": torch.from_numpy(points), "labels": labels}


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, processor: None
) -> Callable[[list[dict[str, Any]]], Batch]:
    """The one collator there is."""
    return collate


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Points need no further work on the device."""
    return nn.Identity()


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Reading a micro-batch."""
    assert data.splits is not None
    dataset = make_dataset(data.splits.train, data.task_spec, config, training=True)
    return {"read": lambda: len([dataset[0, index] for index in range(config.batch_size)])}
