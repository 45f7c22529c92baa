"""Labels, of which a sample has any number: found, missed and wrong."""

from __future__ import annotations

import numpy as np

from ..evaluation import Evaluation
from ..training.metric_names import CLASS_FIGURES
from .classes import interval
from .elements import Cell, Html, escaped, paragraph, percent, table
from .page import Section

# what is told of one sample
MOST_TOLD = 4


def section(evaluation: Evaluation) -> Section:
    """Each label with how often it applies, is found, is missed, and is seen where it is not."""
    assert evaluation.truth is not None
    assert evaluation.answers is not None
    true, found = evaluation.truth, evaluation.answers > 0.5
    rows: list[list[Cell]] = []
    for place, name in enumerate(evaluation.task_spec.class_names):
        figures = [evaluation.metrics.get(f"val/{figure}/{name}") for figure in CLASS_FIGURES]
        rows.append(
            [
                name,
                int(true[:, place].sum()),
                int((found & true)[:, place].sum()),
                int((~found & true)[:, place].sum()),
                int((found & ~true)[:, place].sum()),
                *(None if one is None else one.value for one in figures),
                "–" if figures[-1] is None else interval(figures[-1].low, figures[-1].high),
            ]
        )
    rows.sort(key=lambda row: (row[7] is None, row[7]))
    header = ["label", "applies", "found", "missed", "wrongly found", "recall", "precision", "F1"]
    caption = "Figures of each label, the lowest F1 first; the headers sort"
    body = table([*header, "F1, 95% interval"], rows, caption, sortable=True)
    says = f"{len(true):,} samples; a label is found where its probability is over 50%."
    return Section("Labels", Html(f'{paragraph(says)}\n<div class="scroll-y">{body}</div>'))


def describe(evaluation: Evaluation, sample: int) -> list[Html]:
    """Labels of a sample, and what is wrong about those found."""
    assert evaluation.truth is not None
    assert evaluation.answers is not None
    true, probabilities = evaluation.truth[sample], evaluation.answers[sample]
    names = evaluation.task_spec.class_names
    found = probabilities > 0.5
    lines = [escaped(f"truth: {', '.join(names[k] for k in np.flatnonzero(true)) or 'no label'}")]
    for says, chosen in (("missed", true & ~found), ("wrongly found", found & ~true)):
        told = [f"{names[k]} ({percent(float(probabilities[k]))})" for k in np.flatnonzero(chosen)]
        if told:
            more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
            listed = escaped(", ".join(told[:MOST_TOLD]) + more)
            lines.append(Html(f'{says}: <span class="wrong">{listed}</span>'))
    return lines if len(lines) > 1 else [*lines, Html("all of them found")]
