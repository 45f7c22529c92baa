"""What a network must beat on sounds: a linear model that knows no time, only how loud bands are.

It learns from the network's training samples, as they are without random changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidAudio, Preprocessing
from ..task import TaskSpec
from ..training.linear_model import Kind, fit_linear_model
from .audio_facts import explain
from .file_facts import source_of
from .splits import labels_of

if TYPE_CHECKING:
    import datasets

    from .module import Method, Predictor

Floats: TypeAlias = npt.NDArray[np.float64]

NAME = "linear model on mean features"
KINDS: dict[str, Kind] = {
    "audio_classification": "classes",
    "audio_multilabel": "labels",
    "audio_regression": "values",
}


def rivals(task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
    """Logistic regression, for values ridge regression, on `mean_features`."""
    recipe = task_spec.preprocessing
    features = partial(mean_features, recipe, config.max_seconds)
    return {NAME: partial(_linear_model, task_spec, features)}


def mean_features(recipe: Preprocessing, max_seconds: float, rows: datasets.Dataset) -> Floats:
    """Mean level of each band in dB, as the network's windows have it: float64 [N, n_mels].

    Raises:
        DataError: a file cannot be read.
    """
    bands = replace(recipe, features="log_mel")

    def mean(number: int, row: dict[str, Any]) -> Floats:
        try:
            window = bands.fit(bands.read(source_of(row["audio"]), max_seconds))
        except (InvalidAudio, FileNotFoundError) as error:
            raise DataError(explain(row, number, error)) from error
        averaged: Floats = bands.log_mel(window).mean(axis=1)
        return averaged

    return np.stack([mean(number, row) for number, row in enumerate(rows)])


def _linear_model(
    task_spec: TaskSpec, features: Callable[[datasets.Dataset], Floats], train: datasets.Dataset
) -> Predictor:
    from sklearn.preprocessing import StandardScaler

    scaler, kind = StandardScaler(), KINDS[task_spec.task_type]
    inputs = scaler.fit_transform(features(train))
    scores = fit_linear_model(inputs, labels_of(train), task_spec.num_outputs, kind)
    return lambda rows: scores(scaler.transform(features(rows)))
