"""Curves of one run, or of several over each other, by optimizer step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ..training.runs import EpochPace
from .charts import Chart, Series, Values
from .elements import Html, joined
from .page import Section

STEP, EPOCH, TRAINING_LOSS, VALIDATION_LOSS = "optimizer_step", "epoch", "train/loss", "val/loss"

# points of a curve; of more, the extremes are kept
MOST_POINTS = 1000

# metrics whose best value is 1 share a chart
SHARES = ("accuracy", "f1", "balanced_accuracy", "r2")

# columns with a chart of their own, where a run has them
OF_STEPS = {
    "learning_rate": ("Learning rate", "learning rate"),
    "grad_norm": ("Gradient norm", "norm before clipping"),
}


@dataclass(frozen=True)
class Thinned:
    """A curve of few points.

    Attributes:
        x, y: float64 [n].
        count: how many points there were.
    """

    x: Values
    y: Values
    count: int


def thinned(x: Values, y: Values, most: int = MOST_POINTS) -> Thinned:
    """At most so many points, the smallest and the largest of each stretch among them.

    Args:
        x: float64 [N], ascending.
        y: float64 [N].
        most: points to keep, at least 2.
    """
    count = len(x)
    if count <= most:
        return Thinned(x, y, count)
    edges = np.linspace(0, count, most // 2 + 1).astype(int)
    kept = {0, count - 1}
    for start, end in pairwise(edges.tolist()):
        kept |= {start + int(np.argmin(y[start:end])), start + int(np.argmax(y[start:end]))}
    # the ends take the place of two others where they are extremes of nothing
    places = np.array(sorted(kept))
    return Thinned(x[places], y[places], count)


def section(metrics: pd.DataFrame) -> Section:
    """Loss, validation metrics, and what else each step has told.

    Args:
        metrics: of a run, as `read_metrics` gives them.
    """
    charts = [*_loss(metrics), *_scores(metrics), *_of_steps(metrics)]
    return _section("Training", charts)


def pace(paces: Sequence[EpochPace]) -> Section:
    """Throughput by epoch, and what the time of each was spent on.

    Args:
        paces: as a run keeps them.
    """
    x = np.array([one.step for one in paces], dtype=float)
    parts = {
        "training": [one.working for one in paces],
        "waiting for data": [one.waiting for one in paces],
        "validating": [one.validating for one in paces],
    }
    speeds = np.array([one.samples_per_second for one in paces])
    drawn = [Series(name, x, np.array(values), "points") for name, values in parts.items()]
    charts = [
        _chart(
            "throughput",
            "Throughput",
            "Training samples a second in each epoch, its validation left out.",
            [Series("samples a second", x, speeds, "points")],
            "samples a second",
        ),
        _chart("time", "Time of an epoch", "Seconds that each epoch spent.", drawn, "seconds"),
    ]
    return _section("Pace", charts)


def compared(runs: Mapping[str, pd.DataFrame]) -> Section:
    """The same column of several runs in one chart each.

    Args:
        runs: their metrics, by name.
    """
    columns = dict.fromkeys(
        name for metrics in runs.values() for name in metrics.columns if _is_compared(name)
    )
    charts = []
    for column in columns:
        drawn = {
            name: _column(metrics, column) for name, metrics in runs.items() if column in metrics
        }
        look = "points" if column.startswith("val/") else "line"
        series = [Series(name, *points, look) for name, points in drawn.items()]
        charts.append(_chart(column, column, f"{column} of each run by optimizer step.", series))
    return _section("Training", charts)


def _section(title: str, charts: Sequence[Chart]) -> Section:
    body = Html(f'<div class="charts">\n{joined(chart.html for chart in charts)}\n</div>')
    return Section(title, body, charts)


def _is_compared(name: str) -> bool:
    return bool(re.fullmatch("val/[^/]+", name)) or name in (TRAINING_LOSS, *OF_STEPS)


def _loss(metrics: pd.DataFrame) -> list[Chart]:
    series = []
    if TRAINING_LOSS in metrics:
        series.append(Series("training, each step", *_column(metrics, TRAINING_LOSS), "raw"))
        series.append(_epoch_means(metrics))
    if VALIDATION_LOSS in metrics:
        series.append(Series("validation", *_column(metrics, VALIDATION_LOSS), "points"))
    if not series:
        return []
    says = "Loss of the training samples in each optimizer step and on average over each epoch"
    says += f", and of the validation samples.{_lowest(metrics)}"
    return [_chart("loss", "Loss", says, series, smooths=TRAINING_LOSS in metrics)]


def _lowest(metrics: pd.DataFrame) -> str:
    if VALIDATION_LOSS not in metrics or metrics[VALIDATION_LOSS].dropna().empty:
        return ""
    steps, losses = _column(metrics, VALIDATION_LOSS)
    return f" Validation was lowest after step {steps[losses.argmin()]:,.0f}."


def _epoch_means(metrics: pd.DataFrame) -> Series:
    """Mean over the steps of each epoch, at its last one."""
    steps = metrics[[STEP, EPOCH, TRAINING_LOSS]].dropna()
    by_epoch = steps.groupby(EPOCH)
    x = by_epoch[STEP].max().to_numpy(float)
    return Series(
        "training, mean of the epoch", x, by_epoch[TRAINING_LOSS].mean().to_numpy(float), "points"
    )


def _scores(metrics: pd.DataFrame) -> list[Chart]:
    """Validation metrics; those of single classes are a table, and values have their own units."""
    names = [c for c in metrics.columns if re.fullmatch("val/[^/]+", c) and c != VALIDATION_LOSS]
    shares = [name for name in names if name.removeprefix("val/") in SHARES]
    charts = []
    if shares:
        series = [_score(metrics, name) for name in shares]
        listed = ", ".join(one.name for one in series)
        says = f"{listed} on the validation samples; 1 is perfect."
        charts.append(_chart("scores", "Validation metrics", says, series))
    for name in names:
        if name not in shares:
            shown = name.removeprefix("val/")
            says = f"{shown} on the validation samples."
            charts.append(_chart(name, shown, says, [_score(metrics, name)]))
    return charts


def _score(metrics: pd.DataFrame, name: str) -> Series:
    return Series(name.removeprefix("val/"), *_column(metrics, name), "points")


def _of_steps(metrics: pd.DataFrame) -> list[Chart]:
    """What each step tells beside its loss, under the column's own name where it has no better."""
    names = [
        name
        for name in metrics.columns
        if name not in (STEP, EPOCH, TRAINING_LOSS) and not name.startswith("val/")
    ]
    charts = []
    for name in names:
        title, y_title = OF_STEPS.get(name, (name.replace("_", " "), name.replace("_", " ")))
        series = [Series(title, *_column(metrics, name))]
        charts.append(_chart(name, title, f"{title} in each optimizer step.", series, y_title))
    return charts


def _column(metrics: pd.DataFrame, name: str) -> tuple[Values, Values]:
    points = metrics[[STEP, name]].dropna()
    return points[STEP].to_numpy(float), points[name].to_numpy(float)


def _chart(
    name: str,
    title: str,
    says: str,
    series: Sequence[Series],
    y_title: str = "",
    *,
    smooths: bool = False,
) -> Chart:
    """A chart whose series have few points; a note says how many there were."""
    drawn, notes = [], []
    for one in (one.finite() for one in series):
        few = thinned(one.x, one.y)
        drawn.append(Series(one.name, few.x, few.y, one.look))
        if len(few.x) < few.count:
            notes.append(
                f"{one.name}: {len(few.x):,} of {few.count:,} points, with the smallest and "
                f"the largest of every {few.count // (MOST_POINTS // 2):,}"
            )
    return Chart(
        name,
        title,
        says,
        "optimizer step",
        y_title or title,
        drawn,
        smooths=smooths,
        note="; ".join(notes),
    )
