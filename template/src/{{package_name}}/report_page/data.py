"""The data that a run was trained on: what was understood of them, and how they are changed."""

from __future__ import annotations

import numpy as np

from ..data.description import lines
from ..data.splits import Splits
from ..errors import DataError
from ..training.trained_model import TrainedModel
from .elements import Cell, Html, View, heading, items, joined, paragraph, picture, player, table
from .page import Section
from .views import augmented

# training samples that are shown before and after their augmentation
PAIRS = 8


def section(trained: TrainedModel, splits: Splits | None) -> Section:
    """What was told before training, and a few samples as training sees them.

    Args:
        trained: the network, with what its run has kept of the data.
        splits: the data as they are now; None where they are gone.
    """
    described = trained.data
    told: list[list[Cell]] = [_parted(line) for line in lines(described)]
    parts = (
        [table(["what", "was understood"], told, "The data as they were read before training")]
        if told
        else [paragraph("The run has kept nothing about its data.")]
    )
    if warnings := described.get("warnings", ()):
        parts += [heading("Warnings"), items(warnings)]
    if splits is not None:
        parts += _pairs(trained, splits)
    return Section("Data", joined(parts))


def _parted(line: str) -> list[Cell]:
    """What a line is about, and what it says of that."""
    about, colon, rest = line.strip().partition(": ")
    return [about, rest] if colon else ["note", about]


def _pairs(trained: TrainedModel, splits: Splits) -> list[Html]:
    generator = np.random.default_rng(trained.config.seed)
    count = len(splits.train)
    chosen = np.sort(generator.choice(count, min(PAIRS, count), replace=False)).tolist()
    try:
        pairs = [augmented(trained, splits.train, number) for number in chosen]
    except DataError:  # a file is gone since
        return []
    shown = [_pair(*pair) for pair in pairs if pair is not None]
    if not shown:
        return []
    return [
        heading("Augmentation"),
        paragraph(
            f"{len(shown)} of {count:,} training samples, drawn at random: as they are, and as the "
            "first epoch saw them.",
            "quiet",
        ),
        Html(f'<ul class="pairs">{joined(shown)}</ul>'),
    ]


def _pair(before: View, after: View) -> Html:
    sides = ((before, "a training sample"), (after, "the same, changed"))
    return Html(f"<li>{joined(_side(*side) for side in sides)}</li>")


def _side(seen: View, says: str) -> Html:
    sound = player(seen.sound, says) if seen.sound else ""
    return Html(f"<div>{picture(seen.picture, says)}{sound}</div>")
