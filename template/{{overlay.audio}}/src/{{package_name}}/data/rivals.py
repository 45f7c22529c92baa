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
from .audio_facts import explain
from .file_facts import source_of
from .splits import labels_of

if TYPE_CHECKING:
    import datasets

    from .module import Method, Predictor

Floats: TypeAlias = npt.NDArray[np.float64]

NAME = "linear model on mean features"
# of the solver; enough for features that are scaled
MOST_ITERATIONS = 2000


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
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    inputs, labels = scaler.fit_transform(features(train)), labels_of(train)
    predictors: list[Callable[[Floats], Floats]]
    if task_spec.task_type == "audio_regression":
        predictors = [make_pipeline(Ridge()).fit(inputs, labels).predict]
    elif task_spec.task_type == "audio_classification":
        predictors = [_log_probabilities(inputs, labels, task_spec.num_outputs)]
    else:
        predictors = [_log_odds(inputs, one) for one in labels.T]

    def predict(rows: datasets.Dataset) -> Floats:
        found = scaler.transform(features(rows))
        return np.column_stack([one(found) for one in predictors])

    return predict


def _log_probabilities(
    inputs: Floats, classes: npt.NDArray[np.int64], outputs: int
) -> Callable[[Floats], Floats]:
    """Of all classes [N, K]; of one that training has no sample of it is that of an impossible."""
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(classes)
    model = None
    if len(seen) > 1:
        model = LogisticRegression(max_iter=MOST_ITERATIONS).fit(inputs, classes)

    def predict(found: Floats) -> Floats:
        logs = np.full((len(found), outputs), np.log(np.finfo(np.float64).tiny))
        logs[:, seen] = 0.0 if model is None else model.predict_log_proba(found)
        return logs

    return predict


def _log_odds(inputs: Floats, labels: npt.NDArray[Any]) -> Callable[[Floats], Floats]:
    """Of a label [N]."""
    both = _log_probabilities(inputs, labels.astype(np.int64), 2)

    def predict(found: Floats) -> Floats:
        logs = both(found)
        return logs[:, 1] - logs[:, 0]

    return predict
