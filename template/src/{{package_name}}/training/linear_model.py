"""A linear model of any task, to hold a network against."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[Any]
"""Classes int64 [N], or labels or values [N, K]."""
Scores: TypeAlias = Callable[[Any], Floats]
"""From inputs [M, F], an array or a sparse one, to numbers for each."""

Kind: TypeAlias = Literal["classes", "labels", "values"]

# of the solver; enough for inputs that are scaled
MOST_ITERATIONS = 1000


def fit_linear_model(inputs: Any, labels: Labels, outputs: int, kind: Kind) -> Scores:
    """Logistic regression, of each label by itself; ridge regression of values.

    Args:
        inputs: float64 [N, F], scaled; an array or a sparse one.
        labels: of the N.
        outputs: K, classes, labels or values.
        kind: which of them.

    Returns:
        what gives logits [M, K]: log-probabilities, log-odds, or values in their own units.
    """
    from sklearn.linear_model import Ridge

    if kind == "values":
        scores: list[Scores] = [Ridge().fit(inputs, labels).predict]
    elif kind == "classes":
        scores = [_log_probabilities(inputs, labels, outputs)]
    else:
        scores = [_log_odds(_log_probabilities(inputs, one, 2)) for one in labels.T]
    return lambda found: np.column_stack([score(found) for score in scores])


def _log_probabilities(inputs: Any, classes: Labels, outputs: int) -> Scores:
    """Of all classes [M, outputs]; a class that no training sample has is half a sample to it."""
    from scipy.special import log_softmax
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    there = np.unique(classes).astype(np.int64)
    model = LogisticRegression(max_iter=MOST_ITERATIONS)
    if len(there) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is near enough by then
            model.fit(inputs, classes)

    def predict(found: Any) -> Floats:
        logits = np.full((found.shape[0], outputs), np.log(0.5 / len(classes)))
        logits[:, there] = model.predict_log_proba(found) if len(there) > 1 else 0
        normalized: Floats = log_softmax(logits, axis=1)
        return normalized

    return predict


def _log_odds(predict: Scores) -> Scores:
    """Of two classes: log-odds [M] of the second."""

    def difference(found: Any) -> Floats:
        logits = predict(found)
        return logits[:, 1] - logits[:, 0]

    return difference
