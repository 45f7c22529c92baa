"""Pictures of how a trained network does on its validation points."""

from __future__ import annotations

from matplotlib.figure import Figure

from .data.doctor import Findings
from .training.trained_model import TrainedModel


def evaluation_figures(trained: TrainedModel) -> list[tuple[str, Figure]]:
    """None."""
    return []


def doctor_figures(trained: TrainedModel, findings: Findings) -> list[tuple[str, Figure]]:
    """None."""
    return []
