"""Rows of tables: the dataset and the collator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ..config import TrainingConfig
from ..errors import BadSamples
from ..task import TaskSpec
from .known import samples_of
from .module import Batch
from .order import Key, as_key
from .reading import PROCESSOR_FILES as PROCESSOR_FILES
from .reading import accepted_inputs as accepted_inputs
from .reading import cells_of, located
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
from .rivals import rivals as rivals
from .splits import labels_of

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule

# all rows are numbers in memory
IS_DEAR = False


class TableDataset(Dataset[dict[str, Any]]):
    """Samples `{"numbers": float32 [N], "categories": int64 [C], "labels": ...}`.

    They are addressed by (epoch, index).

    Fields that the task has no columns for are not there, nor labels where the rows have none.

    Args:
        rows: table with `row`, `labels` and `origin`.
        task_spec: the columns, and how they become numbers.

    Raises:
        BadSamples: rows lack a column, or hold what cannot be read; all are named.
    """

    def __init__(self, rows: datasets.Dataset, task_spec: TaskSpec) -> None:
        arrays, faults = task_spec.columns.encode(cells_of(rows))
        if faults:
            raise BadSamples("the table", located(faults, rows))
        self.fields = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if "labels" in rows.column_names:
            labels = torch.from_numpy(labels_of(rows))
            is_multi_hot = labels.ndim == 2 and task_spec.standardisation is None
            self.fields["labels"] = labels.float() if is_multi_hot else labels
        self.size = len(rows)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, given: Sequence[Key | int]) -> list[dict[str, Any]]:
        """The samples of a batch."""
        places = [as_key(key)[1] for key in given]
        return [{name: values[place] for name, values in self.fields.items()} for place in places]


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> TableDataset:
    """The rows as samples."""
    return TableDataset(rows, task_spec)


# rows are cheap to read
make_blanks = make_dataset


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """Nothing: a row is what it is."""
    return ""


def collate(batch: list[dict[str, Any]]) -> Batch:
    """Stack samples.

    Returns:
        `numbers` float32 [B, N] and `categories` int64 [B, C], each where the samples have it;
        `labels` int64 [B], or [B, K], float32 for labels and float64 for values.
    """
    return {name: torch.stack([sample[name] for sample in batch]) for name in batch[0]}


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, processor: object
) -> Callable[[list[dict[str, Any]]], Batch]:
    """The one collator there is."""
    return collate


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Rows need no further work on the device."""
    return nn.Identity()


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Reading a micro-batch."""
    assert data.splits is not None
    dataset = make_dataset(data.splits.train, data.task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, len(dataset)))]
    samples = samples_of(dataset, keys)
    return {
        "read": lambda: len(samples_of(dataset, keys)),
        "collate": lambda: len(data.collator(samples)["labels"]),
    }
