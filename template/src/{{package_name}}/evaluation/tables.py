"""An evaluation in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..training.intervals import Interval
from ..training.metric_names import VALIDATION
from ..training.rivals import verdict
from ..training.summary import Table, lines, shown
from . import Evaluation

# classes that are listed each; of more, those with the lowest F1
LISTED_CLASSES = 20
PAIRS = 5


def report_lines(evaluation: Evaluation) -> Iterator[str]:
    """Metrics, other methods, classes, what is confused with what, and the worst sample."""
    yield from lines(metric_table(evaluation))
    yield from rival_lines(evaluation)
    yield from _class_lines(evaluation)
    for true, predicted, count, total in confused_pairs(evaluation)[:PAIRS]:
        yield f"{true!r} is taken for {predicted!r}: {count} of {total}"
    worst = worst_sample(evaluation)
    yield f"worst sample: {evaluation.places[worst]}{_mistake(evaluation, worst)}"


def metric_table(evaluation: Evaluation) -> Table:
    """Every metric that is not of one class."""
    metrics, trivial = evaluation.metrics, evaluation.trivial_metrics
    table = [["metric", "model", "95 % interval", "trivial answer"]]
    for name in evaluation.overall_names():
        answer = shown(trivial[name]) if name in trivial else ""
        value, ends = shown(metrics[name].value), _ends(metrics[name])
        table.append([name.removeprefix(VALIDATION), value, ends, answer])
    return table if trivial else [row[:3] for row in table]


def rival_lines(evaluation: Evaluation) -> Iterator[str]:
    """Other methods beside the network, and whether one of them is better; none without any."""
    if not (rivals := evaluation.rivals):
        return
    table = [["metric", "model", *(rival.name for rival in rivals)]]
    for name in evaluation.overall_names():
        found = (evaluation.metrics[name], *(rival.metrics[name] for rival in rivals))
        table.append([name.removeprefix(VALIDATION), *map(_with_ends, found)])
    yield from lines(table)
    yield verdict(rivals, evaluation.metrics)


def _with_ends(found: Interval) -> str:
    return f"{shown(found.value)} ({_ends(found)})"


def confused_pairs(evaluation: Evaluation) -> list[tuple[str, str, int, int]]:
    """Class, what it was taken for, how often, and of how many; the most frequent first.

    Nothing where a sample has not one class.
    """
    truth, answers = evaluation.truth, evaluation.answers
    if truth is None or answers is None or truth.ndim != 1:
        return []
    names, predicted = evaluation.task_spec.class_names, answers.argmax(1)
    wrong = np.stack([truth, predicted], axis=1)[truth != predicted]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    totals = np.bincount(truth, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return [
        (names[true], names[guess], int(count), int(totals[true]))
        for (true, guess), count in zip(pairs[order], counts[order], strict=True)
    ]


def worst_sample(evaluation: Evaluation) -> int:
    """The number of the sample with the largest loss; NaN is none."""
    return int(np.nan_to_num(evaluation.losses, nan=-np.inf, posinf=np.inf).argmax())


def _class_lines(evaluation: Evaluation) -> Iterator[str]:
    found = evaluation.class_figures()
    if not found:
        return
    metrics, counts = evaluation.metrics, _occurrences(evaluation)
    chosen = list(found)
    if len(chosen) > LISTED_CLASSES:
        chosen = sorted(chosen, key=lambda name: metrics[found[name][2]].value)[:LISTED_CLASSES]
    rows = [
        [
            name,
            str(counts[name]),
            *(shown(metrics[figure].value) for figure in found[name]),
            _ends(metrics[found[name][2]]),
        ]
        for name in chosen
    ]
    yield from lines([["class", "samples", "recall", "precision", "f1", "95 % interval"], *rows])
    if (more := len(found) - len(chosen)) > 0:
        yield f"and {more} more with a higher f1, all in metrics.json"


def _occurrences(evaluation: Evaluation) -> dict[str, int]:
    names, truth = evaluation.task_spec.class_names, evaluation.truth
    assert truth is not None
    counts = np.bincount(truth, minlength=len(names)) if truth.ndim == 1 else truth.sum(0)
    return dict(zip(names, counts.tolist(), strict=True))


def _ends(one: Interval) -> str:
    return f"{shown(one.low)} to {shown(one.high)}"


def _mistake(evaluation: Evaluation, number: int) -> str:
    loss = f"loss {shown(float(evaluation.losses[number]))}"
    truth, answers = evaluation.truth, evaluation.answers
    if truth is None or answers is None:
        return f" ({loss})"
    names = evaluation.task_spec.class_names
    if truth.ndim == 1:
        true, guess = int(truth[number]), int(answers[number].argmax())
        share = f"{answers[number, guess]:.0%}"
        taken = "taken for it" if true == guess else f"taken for {names[guess]!r}"
        return f" is {names[true]!r}, {taken} with {share} ({loss})"
    if truth.dtype == np.bool_:
        return f" ({loss})"
    column = int(np.abs(answers[number] - truth[number]).argmax())
    return (
        f": {names[column]} is {truth[number, column]:.6g}, {answers[number, column]:.6g} was "
        f"predicted ({loss})"
    )
