"""What an evaluation leaves behind: predictions.csv, and metrics.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_whole
from ..errors import DataError
from ..export.metadata import finite
from ..serving.runtime import file_hash
from ..training.intervals import FOLDER as FOLDER
from ..training.intervals import METRICS as METRICS
from ..training.metric_names import VALIDATION, error_name
from . import CONFIDENCE, RESAMPLES, SEED, Evaluation

PREDICTIONS = "predictions.csv"


def write_files(
    evaluation: Evaluation, folder: Path, data: str, subject: Mapping[str, str]
) -> None:
    """Write both files into a folder, which is made where it is missing.

    Args:
        evaluation: what they hold.
        folder: for them.
        data: where the samples lie.
        subject: what was evaluated, as `of_checkpoint` or the like has it.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # a path may hold bytes that are no UTF-8
        table = predictions_table(evaluation).encode("utf-8", "backslashreplace")
        write_whole(folder / PREDICTIONS, table)
        write_whole(folder / METRICS, metrics_json(evaluation, data, subject))
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}") from error


def of_checkpoint(checkpoint: Path) -> dict[str, str]:
    """What says which weights were evaluated, however their file is called."""
    return {"checkpoint": str(checkpoint), "sha256": file_hash(checkpoint)}


# --- metrics.json --------------------------------------------------------------------------------


def metrics_json(evaluation: Evaluation, data: str, subject: Mapping[str, str]) -> str:
    """The metrics with their intervals; null for a number that is none."""
    metrics = {_plain(name): asdict(one) for name, one in evaluation.metrics.items()}
    trivial = {_plain(name): value for name, value in evaluation.trivial_metrics.items()}
    content = {
        "split": evaluation.split,
        "data": data,
        "samples": len(evaluation.places),
        **subject,
        "metrics": metrics,
        "trivial_metrics": trivial,
        "rivals": [rival.to_dict() for rival in evaluation.rivals],
        "interval": {
            "confidence": CONFIDENCE,
            "method": "percentile bootstrap over samples",
            "resamples": RESAMPLES,
            "seed": SEED,
        },
    }
    return json.dumps(finite(content), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _plain(name: str) -> str:
    """The name without what stands before those of validation samples: these may be others."""
    return name.removeprefix(VALIDATION)


# --- predictions.csv -----------------------------------------------------------------------------


def predictions_table(evaluation: Evaluation) -> str:
    """A line for each sample, in the order of the data.

    Returns:
        CSV with `sample`, the file or where it is in its table, and `loss`; between them `truth`,
        `prediction` and its `probability`; lists in JSON's notation for labels; of values `truth`,
        `prediction` and `error`, for each of several with `/` and its name. Of language models
        there are `loss` and `tokens`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows(_table(evaluation))
    return text.getvalue()


def _table(evaluation: Evaluation) -> Iterator[list[Any]]:
    if evaluation.truth is None or evaluation.answers is None:
        header, cells = ["tokens"], ([int(count)] for count in evaluation.targets)
        yield ["sample", "loss", *header]
        for place, loss, cell in zip(evaluation.places, evaluation.losses, cells, strict=True):
            yield [place, _short(loss), *cell]
        return
    names = evaluation.task_spec.class_names
    if evaluation.truth.ndim == 1:
        header, rows = ["truth", "prediction", "probability"], _classes(evaluation, names)
    elif evaluation.truth.dtype == np.bool_:
        header, rows = ["truth", "prediction"], _label_lists(evaluation, names)
    else:
        kinds = ("truth", "prediction", "error")
        header = [error_name(kind, name, names) for name in names for kind in kinds]
        rows = _values(evaluation)
    yield ["sample", *header, "loss"]
    for place, row, loss in zip(evaluation.places, rows, evaluation.losses, strict=True):
        yield [place, *row, _short(loss)]


def _classes(evaluation: Evaluation, names: list[str]) -> Iterator[list[Any]]:
    assert evaluation.truth is not None and evaluation.answers is not None
    predicted = evaluation.answers.argmax(1)
    shares = evaluation.answers[np.arange(len(predicted)), predicted]
    for true, guess, share in zip(evaluation.truth, predicted, shares, strict=True):
        yield [names[true], names[guess], _short(share)]


def _label_lists(evaluation: Evaluation, names: list[str]) -> Iterator[list[Any]]:
    assert evaluation.truth is not None and evaluation.answers is not None
    for true, shares in zip(evaluation.truth, evaluation.answers, strict=True):
        yield [_listed(true, names), _listed(shares > 0.5, names)]


def _listed(applies: Any, names: list[str]) -> str:
    return json.dumps([names[one] for one in np.flatnonzero(applies)], ensure_ascii=False)


def _values(evaluation: Evaluation) -> Iterator[list[Any]]:
    assert evaluation.truth is not None and evaluation.answers is not None
    for true, predicted in zip(evaluation.truth, evaluation.answers, strict=True):
        yield [
            cell
            for value, answer in zip(true, predicted, strict=True)
            for cell in (repr(float(value)), f"{answer:.9g}", _short(answer - value))
        ]


def _short(value: float) -> str:
    return f"{value:.6g}"
