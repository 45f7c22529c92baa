"""Classes: how often each is taken for each other, figures of each, and the samples behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation import Evaluation
from ..training.metric_names import CLASS_FIGURES
from .elements import (
    Cell,
    Html,
    Share,
    captioned,
    escaped,
    heading,
    joined,
    number,
    paragraph,
    percent,
    scrolling,
    table,
)
from .page import Section
from .samples import Gallery, answer

# with more classes, the confusion matrix is a picture, and its largest cells are a table
MOST_CLASSES_OF_TABLE = 30
LISTED_PAIRS = 40

# samples behind the cells that the page keeps: in each cell, in each on the diagonal, bytes in all
PER_CELL, PER_RIGHT_CELL, SAMPLE_BYTES = 24, 6, 450_000

SEED = 0


@dataclass(frozen=True)
class Confusion:
    """What was answered for which class.

    Attributes:
        names: of the K classes.
        truth: int64 [N].
        probabilities: float32 [N, K].
    """

    names: Sequence[str]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @classmethod
    def of(cls, evaluation: Evaluation) -> Confusion:
        """From an evaluation of a task with one class a sample."""
        assert evaluation.truth is not None
        assert evaluation.answers is not None
        return cls(evaluation.task_spec.class_names, evaluation.truth, evaluation.answers)

    @cached_property
    def answers(self) -> npt.NDArray[np.int64]:
        """The class with the largest probability, int64 [N]."""
        largest: npt.NDArray[np.int64] = self.probabilities.argmax(1)
        return largest

    @cached_property
    def runners_up(self) -> npt.NDArray[np.int64]:
        """The class with the second largest probability, int64 [N]."""
        others = self.probabilities.copy()
        others[np.arange(len(others)), self.answers] = -1
        largest: npt.NDArray[np.int64] = others.argmax(1)
        return largest

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Samples of each class (row) that were taken for each (column), [K, K]."""
        size = len(self.names)
        cells = self.truth * size + self.answers
        return np.bincount(cells, minlength=size * size).reshape(size, size)

    @cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """The counts as shares of their rows, [K, K]; 0 for a class without samples."""
        totals = self.counts.sum(1, keepdims=True)
        shares: npt.NDArray[np.float64] = self.counts / np.maximum(totals, 1)
        return shares

    def pairs(self) -> list[tuple[int, int]]:
        """Classes and what they were wrongly taken for, the most frequent first."""
        wrong = self.counts * ~np.eye(len(self.names), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
        return [divmod(cell, len(self.names)) for cell in order.tolist()]

    def describe(self, sample: int) -> list[Html]:
        """Truth, answer and runner-up of a sample."""
        truth, said = int(self.truth[sample]), int(self.answers[sample])
        second, probabilities = int(self.runners_up[sample]), self.probabilities[sample]
        lines = [
            escaped(f"truth: {self.names[truth]} ({percent(float(probabilities[truth]))})"),
            Html("answer: " + answer(self.names[said], float(probabilities[said]), said == truth)),
        ]
        if len(self.names) > 1:
            runner_up = f"runner-up: {self.names[second]} ({percent(float(probabilities[second]))})"
            lines.append(escaped(runner_up))
        return lines

    def drawn(self) -> npt.NDArray[np.int64]:
        """Numbers of samples in a random order, in which those of every cell come in turn.

        Each cell has at most `PER_CELL` of them. Those of the pairs that are listed come first, and
        all wrong answers before right ones.
        """
        order = np.random.default_rng(SEED).permutation(len(self.truth))
        cells = (self.truth * len(self.names) + self.answers)[order]
        by_cell = np.argsort(cells, kind="stable")
        _, first, sizes = np.unique(cells[by_cell], return_index=True, return_counts=True)
        rank = np.empty(len(order), dtype=np.int64)
        rank[by_cell] = np.arange(len(order)) - np.repeat(first, sizes)
        is_right = self.truth[order] == self.answers[order]
        listed = [truth * len(self.names) + said for truth, said in self.pairs()[:LISTED_PAIRS]]
        kept = rank < np.where(is_right, PER_RIGHT_CELL, PER_CELL)
        turns = np.lexsort((rank[kept], is_right[kept], ~np.isin(cells, listed)[kept]))
        return order[kept][turns]


def section(evaluation: Evaluation, gallery: Gallery) -> Section:
    """The confusion matrix with its samples, and the figures of each class."""
    confusion = Confusion.of(evaluation)
    is_table = len(confusion.names) <= MOST_CLASSES_OF_TABLE
    wrong = int(len(confusion.truth) - np.trace(confusion.counts))
    says = (
        f"{wrong:,} of {len(confusion.truth):,} samples were taken for another class. A row is the "
        "truth, a column the answer. Choose a cell to see its samples"
        f"{'; arrow keys move between cells' if is_table else ''}."
    )
    body = [
        paragraph(says),
        _matrix(confusion) if is_table else _heatmap(confusion),
        Html('<div id="chosen-cell" class="chosen" role="status">No cell is chosen.</div>'),
        heading("Most confused pairs"),
        _pairs(confusion, evaluation.places),
    ]
    return Section(
        "Confusion", joined(body), data={"confusion": _of_cells(confusion, evaluation, gallery)}
    )


def figures(evaluation: Evaluation) -> Section:
    """Recall, precision and F1 of each class, the worst first."""
    confusion = Confusion.of(evaluation)
    counts = confusion.counts * ~np.eye(len(confusion.names), dtype=bool)
    rows: list[list[Cell]] = []
    for place, name in enumerate(confusion.names):
        found = [evaluation.metrics.get(f"val/{figure}/{name}") for figure in CLASS_FIGURES]
        rows.append(
            [
                name,
                int(confusion.counts[place].sum()),
                *(None if one is None else one.value for one in found),
                "–" if found[-1] is None else interval(found[-1].low, found[-1].high),
                confusion.names[int(counts[place].argmax())] if counts[place].any() else "–",
            ]
        )
    rows.sort(key=lambda row: (row[4] is None, row[4]))
    header = ["class", "samples", "recall", "precision", "F1", "F1, 95% interval", "taken for"]
    caption = "Figures of each class, the lowest F1 first; the headers sort"
    body = table(header, rows, caption, sortable=True)
    return Section("Classes", Html(f'<div class="scroll-y">{body}</div>'))


def interval(low: float, high: float) -> str:
    """The ends of an interval, as long as there is one."""
    return "–" if np.isnan(low) or np.isnan(high) else f"{number(low)} to {number(high)}"


def _matrix(confusion: Confusion) -> Html:
    """A table whose cells are buttons."""
    names = confusion.names
    is_long = max(map(len, names)) > 4
    header = "".join(
        f'<th scope="col" title="{escaped(name)}"><span>{escaped(name)}</span></th>'
        for name in names
    )
    rows = "\n".join(
        f'<tr><th scope="row" title="{escaped(name)}">{escaped(name)}</th>'
        + "".join(_cell(confusion, row, column) for column in range(len(names)))
        + "</tr>"
        for row, name in enumerate(names)
    )
    caption = "Confusion: rows are the truth, columns the answer"
    return joined(
        [
            Html(
                '<div class="choice" role="group" aria-label="What cells show">'
                '<button type="button" data-show="counts" aria-pressed="true">samples</button>'
                '<button type="button" data-show="shares" aria-pressed="false">'
                "share of the row</button></div>"
            ),
            scrolling(
                Html(
                    f'<table class="confusion{" long" if is_long else ""}">'
                    f"{captioned(caption)}\n<thead><tr><td></td>{header}</tr></thead>\n"
                    f"<tbody>\n{rows}\n</tbody></table>"
                ),
                caption,
            ),
        ]
    )


def _cell(confusion: Confusion, row: int, column: int) -> str:
    count, share = int(confusion.counts[row, column]), float(confusion.shares[row, column])
    if not count:
        return '<td aria-label="0">·</td>'
    truth, said = confusion.names[row], confusion.names[column]
    says = f"{count} of {truth} answered {said}, {percent(share)}"
    # rare confusions are what one looks for: the root lets them be seen
    return (
        f'<td style="--share:{share**0.5:.3f}"><button type="button" aria-pressed="false" '
        f'data-cell="{row},{column}" data-count="{count}" data-share="{share:.0%}" '
        f'aria-label="{escaped(says)}">{count}</button></td>'
    )


def _heatmap(confusion: Confusion) -> Html:
    size = len(confusion.names)
    return Html(
        f'<figure class="heatmap"><canvas role="img" aria-label="Confusion of {size} classes; the '
        'table of the most confused pairs below says the same in words"></canvas>'
        '<p class="note" id="pointed-cell">Point at the picture to read a cell, click to see its '
        "samples; dark is a large share of a row.</p></figure>"
    )


def _pairs(confusion: Confusion, places: Sequence[str]) -> Html:
    """Each with its share and a sample; the rows lead to the samples."""
    pairs = confusion.pairs()
    if not pairs:
        return paragraph("None: every sample was answered rightly.")
    rows: list[list[Cell]] = []
    for truth, said in pairs[:LISTED_PAIRS]:
        members = np.flatnonzero((confusion.truth == truth) & (confusion.answers == said))
        surest = members[confusion.probabilities[members, said].argmax()]
        link = Html(
            f'<button type="button" class="cell" data-cell="{truth},{said}">'
            f"{escaped(confusion.names[truth])}</button>"
        )
        rows.append(
            [
                link,
                confusion.names[said],
                len(members),
                Share(confusion.shares[truth, said]),
                Html(f'<span class="file">{escaped(places[surest])}</span>'),
            ]
        )
    caption = f"{len(rows)} of {len(pairs):,} pairs of classes that were confused"
    header = ["truth", "taken for", "samples", "share of the class", "the surest mistake"]
    return Html(f'<div class="scroll-y">{table(header, rows, caption)}</div>')


def _of_cells(confusion: Confusion, evaluation: Evaluation, gallery: Gallery) -> dict[str, Any]:
    """For the page's script: all counts, and samples of each cell as far as there is room."""
    cells: dict[str, list[Any]] = {}
    pictures: dict[int, str] = {}
    excerpts: dict[int, str] = {}
    sounds: dict[int, str] = {}
    room = SAMPLE_BYTES
    for place in confusion.drawn().tolist():
        sample = _sample(confusion, evaluation.places[place], place)
        seen = gallery.view(place)
        room -= len(str(sample)) + len(seen.excerpt)
        if room < 0:
            break
        cells.setdefault(f"{sample[1]},{sample[2]}", []).append(sample)
        if seen.picture:
            pictures[place] = seen.picture
        if seen.excerpt:
            excerpts[place] = seen.excerpt
        if seen.sound:
            sounds[place] = seen.sound
    filled = zip(*np.nonzero(confusion.counts), strict=True)
    return {
        "names": list(confusion.names),
        "counts": {f"{row},{column}": int(confusion.counts[row, column]) for row, column in filled},
        "cells": cells,
        "pictures": pictures,
        "excerpts": excerpts,
        "sounds": sounds,
    }


def _sample(confusion: Confusion, place: str, sample: int) -> list[Any]:
    """Place, truth, answer, runner-up, probability of both, number of a sample."""
    said, second = int(confusion.answers[sample]), int(confusion.runners_up[sample])
    probabilities = confusion.probabilities[sample]
    return [
        place,
        int(confusion.truth[sample]),
        said,
        second if len(confusion.names) > 1 else None,
        round(float(probabilities[said]), 4),
        round(float(probabilities[second]), 4),
        sample,
    ]
