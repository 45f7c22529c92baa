"""What an engine answers; what every modality's classification means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .sessions import Array

TOP = 5


class Prediction(Protocol):
    """What the network says of one input."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""


@dataclass(frozen=True)
class ClassPrediction:
    """One class of several.

    Attributes:
        name, index: the likeliest class.
        probability: how likely it is.
        probabilities: the likeliest classes, best first, at most five.
    """

    name: str
    index: int
    probability: float
    probabilities: dict[str, float]

    @classmethod
    def from_logits(cls, logits: Array, names: Sequence[str]) -> ClassPrediction:
        """The likeliest of K classes.

        Args:
            logits: [K], of one input.
            names: of the K classes.
        """
        top = likeliest(logits)
        best, probability = next(iter(top.items()))
        return cls(
            names[best], best, probability, {names[index]: share for index, share in top.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "class": self.name,
            "index": self.index,
            "probability": self.probability,
            "probabilities": self.probabilities,
        }


def softmax(scores: Array) -> Array:
    """Probabilities [K] of K scores."""
    exponentials = np.exp(scores - scores.max())  # shifted: a large logit would overflow
    probabilities: Array = exponentials / exponentials.sum()
    return probabilities


def likeliest(logits: Array) -> dict[int, float]:
    """Index and probability of the likeliest of K logits [K], best first, at most five."""
    probabilities = softmax(logits.astype(np.float64))
    order = np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    return {index: float(probabilities[index]) for index in order}
