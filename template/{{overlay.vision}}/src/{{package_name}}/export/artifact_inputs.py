"""What artifacts take of the batches that a loader makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import preprocessing
from ..config import TrainingConfig
from ..data.module import Batch
from ..task import TaskSpec


def settings(config: TrainingConfig) -> TrainingConfig:
    """Those with which batches hold what any artifact can take: pixels that nobody normalised."""
    return replace(config, normalize_on="device")


def arrays(batch: Batch, names: Sequence[str], task_spec: TaskSpec) -> dict[str, npt.NDArray[Any]]:
    """The inputs of an artifact.

    Args:
        batch: of images, `pixel_values` uint8 [B, C, H, W].
        names: of the inputs.
        task_spec: the task.

    Returns:
        `pixel_values` float32 [B, C, H, W], or for an artifact that normalises images itself what
        it calls them, uint8 [B, H, W, C].
    """
    [name] = names
    pixels = batch["pixel_values"].numpy()
    if name == "pixel_values":
        return {name: preprocessing.normalize(pixels, task_spec.preprocessing_config)}
    return {name: np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))}
