"""Opening every sample once, before anything is learned from them."""

from __future__ import annotations

from .module import Modality, Splits


def find_problems(modality: Modality, splits: Splits) -> list[str]:
    """One line for each sample of either split that cannot be read, with its path."""
    return [
        problem for rows in (splits.train, splits.val) for problem in modality.find_problems(rows)
    ]
