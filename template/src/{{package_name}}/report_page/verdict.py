"""What a run has reached, in words and as a table: beside the trivial answer, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..evaluation import Evaluation
from ..training.checkpoints import Judgement
from ..training.intervals import Interval
from ..training.metric_names import VALIDATION, is_of_class
from ..training.objective import MAX
from ..training.rivals import verdict as beside_rivals
from .classes import Confusion, interval
from .elements import Cell, Html, escaped, joined, number, paragraph, percent, table
from .page import Section

# what the trivial answer is, by how the task's name ends
TRIVIAL = {
    "classification": "always answering the most frequent class",
    "multilabel": "always answering the labels that most samples have",
    "regression": "always answering the mean",
    "lm": "guessing tokens by how often they occur",
}


@dataclass(frozen=True)
class Reached:
    """Metrics of a network.

    Attributes:
        metrics: by their names in metrics.csv.
        trivial_metrics: of the answer that looks at no input; empty where nobody knows it.
        judged: by which of them checkpoints were compared; None where none was.
        evaluation: of the same samples, with intervals; None where they are gone.
    """

    metrics: Mapping[str, float]
    trivial_metrics: Mapping[str, float]
    judged: Judgement | None
    evaluation: Evaluation | None

    def interval(self, name: str) -> Interval | None:
        """How far a metric may be from that of all samples of this kind."""
        return None if self.evaluation is None else self.evaluation.metrics.get(name)


def verdict(reached: Reached, task_type: str) -> Html:
    """Whether anything was learned, and what goes wrong most often."""
    judged = reached.judged
    if judged is None or judged.metric not in reached.metrics:
        return _box("", [paragraph("These weights were never validated.", "first")])
    name, value = judged.metric, reached.metrics[judged.metric]
    shown = f"{name.removeprefix(VALIDATION)} {number(value)}{_within(reached.interval(name))}"
    if name not in reached.trivial_metrics:
        return _box("", [paragraph(f"It reaches {shown}.", "first"), *_said(reached)])
    trivial = reached.trivial_metrics[name]
    how = next((says for end, says in TRIVIAL.items() if task_type.endswith(end)), "")
    how = how or "an answer that looks at no input"
    compared = f"{shown}, where {how} reaches {number(trivial)}."
    sign = 1 if judged.mode == MAX else -1
    if not sign * value > sign * trivial:
        says, kind = "No better than the trivial answer: nothing useful was learned.", "bad"
    elif (found := reached.interval(name)) is not None and found.includes(trivial):
        says, kind = "Perhaps better than the trivial answer: the interval includes it.", ""
    else:
        says, kind = "Better than the trivial answer.", "good"
    return _box(kind, [paragraph(says, "first"), paragraph(compared), *_said(reached)])


def section(reached: Reached) -> Section:
    """Every metric that is not of one class."""
    names = [name for name in reached.metrics if not is_of_class(name)]
    rows: list[list[Cell]] = [
        [
            name,
            reached.metrics[name],
            _ends(reached.interval(name)),
            *([reached.trivial_metrics.get(name)] if reached.trivial_metrics else []),
        ]
        for name in names
    ]
    header = ["metric", "network", "95% interval"]
    header += ["trivial answer"] if reached.trivial_metrics else []
    parts = [
        table(header, rows, "Metrics of the network beside those of the trivial answer"),
        *_notes(reached, names),
        *_rivals(reached.evaluation),
    ]
    return Section("Metrics", joined(parts))


def _rivals(evaluation: Evaluation | None) -> list[Html]:
    """Other methods on the same samples, where there are any."""
    if evaluation is None or not evaluation.rivals:
        return []
    rivals = [evaluation.metrics, *(rival.metrics for rival in evaluation.rivals)]
    rows: list[list[Cell]] = [
        [name, *(_with_ends(metrics.get(name)) for metrics in rivals)]
        for name in evaluation.overall_names()
    ]
    header = ["metric", "network", *(rival.name for rival in evaluation.rivals)]
    caption = "Methods that learned from the same training samples, with 95% intervals"
    return [table(header, rows, caption)]


def _notes(reached: Reached, names: list[str]) -> list[Html]:
    evaluation = reached.evaluation
    if evaluation is None:
        return []
    notes = [
        paragraph(
            f"Over all {len(evaluation.places):,} samples of the {evaluation.split} split. An "
            "interval says how far a metric would move with other samples of the same kind "
            "(bootstrap).",
            "note",
        )
    ]
    moved = [
        f"{name} {number(found.value)}"
        for name in names
        if (found := reached.interval(name)) is not None
        and not np.isclose(found.value, reached.metrics[name], rtol=1e-2, atol=1e-4)
    ]
    if moved:
        notes.append(
            paragraph(
                "Measured again for this page, in float32 and on the data as they are now: "
                f"{', '.join(moved)}.",
                "note",
            )
        )
    return notes


def _said(reached: Reached) -> list[Html]:
    """How other methods do on the same samples, and what is mistaken for what."""
    evaluation = reached.evaluation
    if evaluation is None or not evaluation.rivals:
        return _confused(reached)
    line = beside_rivals(evaluation.rivals, evaluation.metrics)
    return [paragraph(f"{line[0].upper()}{line[1:]}."), *_confused(reached)]


def _confused(reached: Reached) -> list[Html]:
    """The most frequent mistake of a classifier."""
    evaluation = reached.evaluation
    if evaluation is None or evaluation.truth is None or evaluation.truth.ndim > 1:
        return []
    confusion = Confusion.of(evaluation)
    if not (pairs := confusion.pairs()):
        return [paragraph("Every sample was answered rightly.")]
    truth, said = pairs[0]
    return [
        paragraph(
            f"Most often {confusion.names[truth]} is taken for {confusion.names[said]}: "
            f"{confusion.counts[truth, said]:,} of {confusion.counts[truth].sum():,} samples "
            f"({percent(float(confusion.shares[truth, said]))})."
        )
    ]


def _box(kind: str, lines: list[Html]) -> Html:
    return Html(f'<div class="verdict{f" {escaped(kind)}" if kind else ""}">{joined(lines)}</div>')


def _within(found: Interval | None) -> str:
    ends = _ends(found)
    return "" if ends == "–" else f" (95% interval {ends})"


def _with_ends(found: Interval | None) -> str:
    return "–" if found is None else f"{number(found.value)} ({_ends(found)})"


def _ends(found: Interval | None) -> str:
    return "–" if found is None else interval(found.low, found.high)
