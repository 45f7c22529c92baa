"""How rows are shown in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data.reading import ROW
from ..evaluation import Evaluation, Measured
from ..preprocessing import read_row, text_of
from ..training.trained_model import TrainedModel
from .elements import View
from .page import Section

if TYPE_CHECKING:
    import datasets


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """The cells of a row.

    Args:
        measured: what is shown the row.
        rows: of a split.
        number: of the row, from 0.
    """
    cells = read_row(rows[number][ROW].encode())
    return View(excerpt=", ".join(f"{name} {text_of(cell)}" for name, cell in cells.items()))


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """None: rows are trained on as they are."""
    return None


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """None."""
    return []
