"""Whether probabilities are what they claim to be.

C. Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..evaluation import Evaluation
from .charts import Chart, Series
from .elements import Cell, Html, joined, number, paragraph, table
from .page import Section

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Probabilities in bins of equal width, and how often what they were given to is true.

    Attributes:
        counts: int64 [BINS].
        confidence: mean probability in each bin, float64 [BINS]; NaN in an empty one.
        accuracy: share that is true in each, float64 [BINS]; NaN in an empty one.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, probabilities: npt.NDArray[np.float32], is_true: npt.NDArray[np.bool_]
    ) -> Calibration:
        """From probabilities [N] and whether what each was given to is true [N]."""
        bins = np.clip((probabilities * BINS).astype(np.int64), 0, BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        some = np.where(counts, counts, np.nan)
        return cls(
            counts,
            np.bincount(bins, probabilities.astype(np.float64), BINS) / some,
            np.bincount(bins, is_true.astype(np.float64), BINS) / some,
        )

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of both, weighted by the counts."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gaps * self.counts).sum() / max(1, self.counts.sum()))

    @property
    def lean(self) -> float:
        """How much larger probabilities are on average than they should be."""
        gaps = np.nan_to_num(self.confidence - self.accuracy)
        return float((gaps * self.counts).sum() / max(1, self.counts.sum()))


def of_classes(evaluation: Evaluation) -> Section:
    """How sure the network is of its answers, and how often they are right."""
    assert evaluation.truth is not None
    assert evaluation.answers is not None
    is_right = evaluation.answers.argmax(1) == evaluation.truth
    found = Calibration.of(evaluation.answers.max(1), is_right)
    return _section(found, "answers", "probability of the answer", "share right")


def of_labels(evaluation: Evaluation) -> Section:
    """How sure the network is of each label of each sample, and how often the label applies."""
    assert evaluation.truth is not None
    assert evaluation.answers is not None
    found = Calibration.of(evaluation.answers.ravel(), evaluation.truth.ravel())
    return _section(found, "labels of samples", "probability of the label", "share that applies")


def _section(found: Calibration, noun: str, x_title: str, y_title: str) -> Section:
    total = int(found.counts.sum())
    filled = found.counts > 0
    left = np.arange(BINS) / BINS
    reliability = Chart(
        "reliability",
        "Reliability",
        f"{y_title.capitalize()} among {noun} of about the same probability. On the dashed line "
        "probabilities are what they claim; below it, the network is too sure.",
        x_title,
        y_title,
        [Series(y_title, found.confidence[filled], found.accuracy[filled], "points")],
        diagonal=True,
        whole_x=False,
        is_square=True,
        y_domain=(0.0, 1.0),
    )
    how_sure = Chart(
        "certainty",
        "How sure",
        f"How many of {total:,} {noun} got which probability.",
        x_title,
        noun,
        [Series(noun, left, found.counts.astype(np.float64))],
        kind="bars",
        width=1 / BINS,
        whole_x=False,
    )
    lean = "too large" if found.lean > 0 else "too small"
    says = (
        f"The expected calibration error is {number(found.error)} over {total:,} {noun} in {BINS} "
        f"bins of equal width (Guo et al., 2017): by so much a probability is off on average. "
        f"Taken together they are {lean} by {number(abs(found.lean))}."
    )
    rows: list[list[Cell]] = [
        [
            f"{place / BINS:.3f} to {(place + 1) / BINS:.3f}",
            int(found.counts[place]),
            float(found.confidence[place]),
            float(found.accuracy[place]),
        ]
        for place in range(BINS)
    ]
    charts = [reliability, how_sure]
    return Section(
        "Calibration",
        joined(
            [
                paragraph(says),
                Html(f'<div class="charts">{joined(chart.html for chart in charts)}</div>'),
                table([x_title, noun, "mean probability", y_title], rows, f"{BINS} bins"),
            ]
        ),
        charts,
    )
