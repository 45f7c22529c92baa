"""Values to predict: truth against prediction, and what is left over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..evaluation import Evaluation
from .charts import Chart, Series
from .elements import Cell, Html, escaped, joined, number, paragraph, table
from .page import Section

# points of a scatter plot, targets that have plots, bars of a histogram
MOST_DOTS, MOST_PLOTTED, BARS = 1500, 6, 30

SEED = 0


def section(evaluation: Evaluation) -> Section:
    """A table of all targets, and two plots of each."""
    truth, answers, names = _values(evaluation)
    charts = [
        chart
        for place, name in enumerate(names[:MOST_PLOTTED])
        for chart in (
            _scatter(place, name, truth[:, place], answers[:, place]),
            _residuals(place, name, answers[:, place] - truth[:, place]),
        )
    ]
    more = (
        [paragraph(f"Plots show the first {MOST_PLOTTED} of {len(names)} values.", "note")]
        if len(names) > MOST_PLOTTED
        else []
    )
    body = [
        _table(evaluation),
        *more,
        Html(f'<div class="charts">{joined(chart.html for chart in charts)}</div>'),
    ]
    return Section("Values", joined(body), charts)


def describe(evaluation: Evaluation, sample: int) -> list[Html]:
    """Truth and prediction of a sample, and by how much they differ."""
    truth, answers, names = _values(evaluation)
    return [
        escaped(
            f"{name}: {number(float(truth[sample, place]))}, answered "
            f"{number(float(answers[sample, place]))} "
            f"({float(answers[sample, place] - truth[sample, place]):+.4g})"
        )
        for place, name in enumerate(names[:MOST_PLOTTED])
    ]


def _values(
    evaluation: Evaluation,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[str]]:
    assert evaluation.truth is not None
    assert evaluation.answers is not None
    names = evaluation.task_spec.class_names or [
        str(place) for place in range(evaluation.truth.shape[1])
    ]
    return evaluation.truth, evaluation.answers, names


def _table(evaluation: Evaluation) -> Html:
    truth, answers, names = _values(evaluation)
    residuals = answers - truth
    rows: list[list[Cell]] = [
        [
            name,
            float(truth[:, place].min()),
            float(truth[:, place].max()),
            float(np.abs(residuals[:, place]).mean()),
            float(np.sqrt(np.square(residuals[:, place]).mean())),
            float(residuals[:, place].mean()),
        ]
        for place, name in enumerate(names)
    ]
    header = ["value", "smallest", "largest", "mean absolute error", "root mean square error"]
    caption = f"Values of {len(truth):,} samples, each in its own unit; the headers sort"
    return table([*header, "mean error"], rows, caption, sortable=True)


def _scatter(
    place: int, name: str, truth: npt.NDArray[np.float64], answers: npt.NDArray[np.float64]
) -> Chart:
    chosen = np.arange(len(truth))
    if len(truth) > MOST_DOTS:
        chosen = np.sort(stratified(truth, MOST_DOTS))
    part = f"{len(chosen):,} of {len(truth):,} samples"
    return Chart(
        f"scatter-{place}",
        f"{name}: truth and answer",
        "Each dot is a sample; on the dashed line the answer is the truth.",
        "truth",
        "answer",
        [Series(name, truth[chosen], answers[chosen], "dots").finite()],
        diagonal=True,
        whole_x=False,
        is_square=True,
        note=part if len(chosen) == len(truth) else f"{part}, drawn at random over the whole range",
    )


def _residuals(place: int, name: str, residuals: npt.NDArray[np.float64]) -> Chart:
    counts, edges = _histogram(residuals[np.isfinite(residuals)])
    return Chart(
        f"residuals-{place}",
        f"{name}: what is left over",
        f"Answer minus truth, over all {len(residuals):,} samples.",
        "answer minus truth",
        "samples",
        [Series("samples", edges[:-1], counts.astype(np.float64))],
        kind="bars",
        width=float(edges[1] - edges[0]),
        whole_x=False,
    )


def _histogram(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Counts and the edges between them; a single bar where all values are about the same."""
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        counts, edges = np.histogram(values, bins=BARS)
        return counts, edges
    middle = low if len(values) else 0.0
    half = max(0.5, abs(middle) / 2)
    return np.array([len(values)]), np.array([middle - half, middle + half])


def stratified(values: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.int64]:
    """Numbers of values that cover their range: one at random of each stretch of their order."""
    generator = np.random.default_rng(SEED)
    order = np.argsort(values, kind="stable")
    edges = np.linspace(0, len(order), most + 1).astype(np.int64)
    return order[generator.integers(edges[:-1], edges[1:])]
