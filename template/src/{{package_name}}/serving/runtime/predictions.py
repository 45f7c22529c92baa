"""What an engine answers, and what logits mean where they mean the same for every modality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np

from .sessions import Array

TOP = 5
NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}


class NotFinite(RuntimeError):
    """The network gave NaN or infinity where no answer can be made of it."""

    def __init__(self) -> None:
        super().__init__("the network gave NaN or infinity for this input")


def object_schema(**properties: Any) -> dict[str, Any]:
    """JSON schema of an object that has all these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


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

    SCHEMA: ClassVar = object_schema(
        **{"class": {"type": "string"}},
        index={"type": "integer"},
        probability={"type": "number"},
        probabilities=NUMBERS,
    )

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


@dataclass(frozen=True)
class LabelsPrediction:
    """Any number of labels.

    Attributes:
        labels: those with a probability of at least one half.
        probabilities: of every label.
    """

    labels: list[str]
    probabilities: dict[str, float]

    SCHEMA: ClassVar = object_schema(
        labels={"type": "array", "items": {"type": "string"}}, probabilities=NUMBERS
    )

    @classmethod
    def from_logits(cls, logits: Array, names: Sequence[str]) -> LabelsPrediction:
        """Each of K labels by itself; logits [K], of one input."""
        scores = comparable(logits)
        probabilities = np.exp(-np.logaddexp(0, -scores)).tolist()
        by_name = dict(zip(names, probabilities, strict=True))
        return cls([name for name, share in by_name.items() if share >= 0.5], by_name)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"labels": self.labels, "probabilities": self.probabilities}


@dataclass(frozen=True)
class ValuesPrediction:
    """Numbers, by name."""

    values: dict[str, float]

    SCHEMA: ClassVar = object_schema(values=NUMBERS)

    @classmethod
    def from_logits(cls, values: Array, names: Sequence[str]) -> ValuesPrediction:
        """The K outputs [K] for one input as they are."""
        if not np.isfinite(values).all():
            raise NotFinite
        return cls(dict(zip(names, values.astype(np.float64).tolist(), strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"values": self.values}


Plain: TypeAlias = ClassPrediction | LabelsPrediction | ValuesPrediction
# by how the name of a task ends
_PLAIN: dict[str, type[Plain]] = {
    "classification": ClassPrediction,
    "multilabel": LabelsPrediction,
    "regression": ValuesPrediction,
}


def plain_prediction(task_type: str) -> type[Plain]:
    """What a task of any modality answers: a class, labels or values.

    Raises:
        ValueError: a task of another kind.
    """
    kind = task_type.rpartition("_")[2]
    if kind not in _PLAIN:
        raise ValueError(f"{task_type} answers neither a class, labels nor values")
    return _PLAIN[kind]


def comparable(logits: Array) -> Array:
    """Logits [..., K] as float64, of which minus infinity says: never.

    Raises:
        NotFinite: there is NaN or infinity among them, or of some K nothing is possible.
    """
    scores = logits.astype(np.float64)
    # the largest of numbers among which one is NaN is NaN
    if not np.isfinite(scores.max(axis=-1, initial=-np.inf)).all():
        raise NotFinite
    return scores


def softmax(scores: Array) -> Array:
    """Probabilities [K] of K scores.

    Raises:
        NotFinite: as `comparable`.
    """
    largest = scores.max()
    if not math.isfinite(largest):
        raise NotFinite
    exponentials = np.exp(scores - largest)  # shifted: a large logit would overflow
    probabilities: Array = exponentials / exponentials.sum()
    return probabilities


def likeliest(logits: Array) -> dict[int, float]:
    """Index and probability of the likeliest of K logits [K], best first, at most five."""
    probabilities = softmax(logits.astype(np.float64))
    order = np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    return {index: float(probabilities[index]) for index in order}
