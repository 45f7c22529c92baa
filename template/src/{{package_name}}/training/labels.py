"""What the training labels say before training begins, in a line each."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import TrainingConfig
from ..data.splits import Splits
from ..errors import DataError
from ..task import TaskSpec

# a class this many times as frequent as another makes it easy never to answer the other
IMBALANCE = 10

# float32 answers come in steps; this many of them in a standard deviation are enough
STEPS_IN_STD = 100


def warn_of_labels(task_spec: TaskSpec, config: TrainingConfig, splits: Splits) -> None:
    """Warn of classes that are rare, and of values that float32 cannot tell apart.

    Raises:
        DataError: values too large for float32.
    """
    if task_spec.standardisation is not None:
        values = np.asarray(splits.train["labels"][:], dtype=np.float64)
        for column, name in enumerate(task_spec.class_names):
            if line := _rounded(name, values[:, column]):
                warnings.warn(line, stacklevel=2)
    elif line := _imbalance(task_spec, config):
        warnings.warn(line, stacklevel=2)


def _imbalance(task_spec: TaskSpec, config: TrainingConfig) -> str:
    counts = task_spec.label_counts
    balanced = config.class_weights != "none" or config.balanced_sampling
    if counts is None or balanced or sum(counts) != task_spec.train_samples:
        return ""  # labels, of which a sample has any number, are not each other's rivals
    occurring = [place for place, count in enumerate(counts) if count]
    largest, smallest = (
        max(occurring, key=counts.__getitem__),
        min(occurring, key=counts.__getitem__),
    )
    if counts[largest] < IMBALANCE * counts[smallest]:
        return ""
    names = task_spec.class_names
    return (
        f"{counts[largest]} training samples are {names[largest]!r}, {counts[smallest]} are "
        f"{names[smallest]!r}, which may never be answered; balanced_sampling: true or "
        "class_weights: balanced makes up for it"
    )


def _rounded(name: str, values: npt.NDArray[np.float64]) -> str:
    """What float32 does to a value; empty where it is enough."""
    largest = np.abs(values).max()
    if largest > np.finfo(np.float32).max:
        raise DataError(f"{name}: {largest:.3g} is too large for float32; give another unit")
    std: Any = values.std()
    if std == 0:
        return ""
    step = float(np.spacing(np.float32(largest)))
    if step * STEPS_IN_STD > std:
        return (
            f"{name}: its values differ by about {std:.2g}, but answers of float32 around "
            f"{largest:.6g} come in steps of {step:.2g}; subtract a constant from the column"
        )
    standardised = ((values - values.mean()) / std).astype(np.float32)
    distinct, kept = len(np.unique(values)), len(np.unique(standardised))
    if kept < 0.9 * distinct:
        return (
            f"{name}: {distinct} different values become {kept} in float32, for most lie close "
            "together beside a few far away; train on their logarithm, or without those"
        )
    return ""
