"""What a network must beat on tables: boosted trees, and a linear model.

Both learn from the network's training rows, with the settings that their libraries have by default.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..config import TrainingConfig
from ..preprocessing import MISSING, Columns
from ..task import TaskSpec
from ..training.linear_model import Kind, fit_linear_model
from .reading import cells_of
from .splits import labels_of

if TYPE_CHECKING:
    import datasets
    from scipy.sparse import csr_array

    from .module import Method, Predictor

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[Any]
"""Classes int64 [R], or labels or values [R, K]."""

TREES, LINEAR = "LightGBM", "linear model"
REGRESSION, CLASSIFICATION = "tabular_regression", "tabular_classification"

KINDS: dict[str, Kind] = {
    CLASSIFICATION: "classes",
    "tabular_multilabel": "labels",
    REGRESSION: "values",
}


def rivals(task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
    """The methods by their names; none where the setting `rivals` is false.

    Where LightGBM is not installed the linear model stands alone, and a warning says so.
    """
    if not config.rivals:
        return {}
    methods: dict[str, Method] = {LINEAR: partial(_linear_model, task_spec)}
    if importlib.util.find_spec("lightgbm") is not None:
        return {TREES: partial(_boosted_trees, task_spec, config.seed), **methods}
    warnings.warn(
        f"{TREES} is not installed, so a {LINEAR} alone stands beside the network; "
        "uv sync --inexact --extra lightgbm",
        stacklevel=2,
    )
    return methods


# --- Boosted trees -------------------------------------------------------------------------------


def _boosted_trees(task_spec: TaskSpec, seed: int, train: datasets.Dataset) -> Predictor:
    """G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", 2017."""
    import lightgbm

    columns, task, outputs = task_spec.columns, task_spec.task_type, task_spec.num_outputs
    inputs, categories = tree_inputs(columns, cells_of(train))
    settings = {
        "seed": seed % 2**31,  # it takes no larger one
        "deterministic": True,
        "num_threads": torch.get_num_threads(),
        "verbosity": -1,
    }

    def fit(targets: Labels, objective: str, **more: Any) -> Callable[[Floats], Floats]:
        data = lightgbm.Dataset(inputs, targets, categorical_feature=categories)
        booster: Any = lightgbm.train({**settings, **more, "objective": objective}, data)
        return partial(booster.predict, raw_score=True)

    labels = labels_of(train)
    if task == CLASSIFICATION and outputs > 2:
        scores = [fit(labels, "multiclass", num_class=outputs)]
    elif task == REGRESSION:
        scores = [fit(values, "regression") for values in labels.T]
    else:
        scores = [fit(one, "binary") for one in (labels.T if labels.ndim == 2 else [labels])]

    def predict(rows: datasets.Dataset) -> Floats:
        found, _ = tree_inputs(columns, cells_of(rows))
        logits = np.column_stack([score(found) for score in scores])
        if task != CLASSIFICATION:
            return logits
        both = logits if outputs > 2 else np.column_stack([np.zeros(len(logits)), logits])
        return _log_softmax(both)

    return predict


def tree_inputs(columns: Columns, rows: Sequence[Mapping[str, Any]]) -> tuple[Floats, list[int]]:
    """Rows as trees take them: NaN where a value is missing, and categories as such.

    Args:
        columns: of the task.
        rows: R rows, by column.

    Returns:
        float64 [R, F], and which of the F are categories: rows of their tables. Numbers are scaled
        as the network's are; of them trees see the order alone.
    """
    found: list[Floats] = []
    categories: list[int] = []
    for column in columns.columns:
        encoded = column.encode([row[column.name] for row in rows], columns.markers)
        if encoded.numbers:  # a category beside them says where they are missing
            missing = encoded.categories[0] == 1 if encoded.categories else False
            found += [np.where(missing, np.nan, numbers) for numbers in encoded.numbers]
        else:
            [codes] = encoded.categories
            categories.append(len(found))
            found.append(np.where(codes == MISSING, np.nan, codes))
    return np.column_stack(found), categories


# --- A linear model ------------------------------------------------------------------------------


def _linear_model(task_spec: TaskSpec, train: datasets.Dataset) -> Predictor:
    columns, kind = task_spec.columns, KINDS[task_spec.task_type]
    inputs, labels = linear_inputs(columns, cells_of(train)), labels_of(train)
    scores = fit_linear_model(inputs, labels, task_spec.num_outputs, kind)
    return lambda rows: scores(linear_inputs(columns, cells_of(rows)))


def linear_inputs(columns: Columns, rows: Sequence[Mapping[str, Any]]) -> csr_array:
    """Rows as a linear model takes them: numbers as the network gets them, categories one-hot.

    Args:
        columns: of the task.
        rows: R rows, by column.

    Returns:
        float64 [R, F].
    """
    from scipy.sparse import csr_array, hstack

    arrays, _ = columns.encode(rows)
    parts = [csr_array(arrays["numbers"].astype(np.float64))] if "numbers" in arrays else []
    tables = columns.tables.values()
    for codes, size in zip(arrays["categories"].T if tables else (), tables, strict=True):
        ones, ends = np.ones(len(codes)), np.arange(len(codes) + 1)
        parts.append(csr_array((ones, codes, ends), shape=(len(codes), size)))
    return csr_array(hstack(parts))


def _log_softmax(logits: Floats) -> Floats:
    from scipy.special import log_softmax

    found: Floats = log_softmax(logits, axis=1)
    return found
