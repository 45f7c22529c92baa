"""How sounds are shown in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation import Evaluation, Measured
from ..training.trained_model import TrainedModel
from .elements import View
from .page import Section

if TYPE_CHECKING:
    import datasets


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """Nothing but the file's name, which stands beside it."""
    return View()


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """None."""
    return None


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """None: classes, labels and values are all that is predicted of sounds."""
    return []
