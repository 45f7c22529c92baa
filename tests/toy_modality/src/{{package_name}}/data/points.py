"""Points: the dataset and the collator."""

from __future__ import annotations

from collections.abc import Callable
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
from .module import Batch, Method
from .order import Key
from .reading import PROCESSOR_FILES as PROCESSOR_FILES
from .reading import count_repeated as count_repeated
from .reading import examine as examine
from .reading import fingerprint as fingerprint
from .reading import keep_example as keep_example
from .reading import load_processor as load_processor
from .reading import places as places
from .reading import read_samples as read_samples
from .reading import read_splits as read_splits
from .reading import review as review
from .reading import save_processor as save_processor

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule


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

IS_DEAR = False


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


def rivals(task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
    """None."""
    return {}


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Reading a micro-batch."""
    assert data.splits is not None
    dataset = make_dataset(data.splits.train, data.task_spec, config, training=True)
    return {"read": lambda: len([dataset[0, index] for index in range(config.batch_size)])}
