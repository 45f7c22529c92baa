"""What artifacts take of the batches that a loader makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..config import TrainingConfig
from ..data.module import Batch
from ..task import TaskSpec


def settings(config: TrainingConfig) -> TrainingConfig:
    """Those with which batches hold what any artifact can take: as they are."""
    return config


def arrays(
    batch: Batch, names: Sequence[str], task_spec: TaskSpec
) -> dict[str, npt.NDArray[np.float32]]:
    """The input of an artifact: `features` float32 [B, C, M, F], or `waveform` float32 [B, T]."""
    return {name: batch[name].numpy() for name in names}
