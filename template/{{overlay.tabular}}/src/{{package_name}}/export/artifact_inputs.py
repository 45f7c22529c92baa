"""What artifacts take of the batches that a loader makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ..config import TrainingConfig
from ..data.module import Batch
from ..task import TaskSpec


def settings(config: TrainingConfig) -> TrainingConfig:
    """Those with which batches hold what any artifact can take."""
    return config


def arrays(batch: Batch, names: Sequence[str], task_spec: TaskSpec) -> dict[str, npt.NDArray[Any]]:
    """The inputs of an artifact: `numbers` float32 [B, N] and `categories` int64 [B, C].

    Args:
        batch: of rows.
        names: of the inputs.
        task_spec: the task.
    """
    return {name: batch[name].numpy() for name in names}
