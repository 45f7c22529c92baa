"""Predict images with this bundle: `python inference.py --input FILE [FILE ...]`.

In Python:

    from inference import VisionInferenceEngine
    engine = VisionInferenceEngine("path/of/the/bundle")
    engine.predict("picture.jpg")
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from runtime import Array, InferenceEngine, InvalidInput, Item

BUNDLE = Path(__file__).resolve().parent
TOP = 5


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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"labels": self.labels, "probabilities": self.probabilities}


@dataclass(frozen=True)
class ValuesPrediction:
    """Numbers, by name."""

    values: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"values": self.values}


Prediction = ClassPrediction | LabelsPrediction | ValuesPrediction


class VisionInferenceEngine(InferenceEngine):
    """Images in, predictions out; `max_item_size` counts the pixels of an image as it arrives."""

    media_types = ("image/*", "application/octet-stream")
    suffixes = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
    default_max_item_size = 50_000_000

    def predict(self, source: str | Path | bytes) -> Prediction:
        """Predict one image.

        Args:
            source: path of an image file, or its bytes.

        Raises:
            InvalidInput: it cannot be read as an image.
            OSError: the file cannot be opened.
        """
        return next(iter(self.batch_predict([source])))

    def batch_predict(
        self, sources: Iterable[str | Path | bytes], batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Predict images in order, `batch_size` at a time.

        Raises:
            InvalidInput, OSError: as `predict`.
        """
        remaining = iter(sources)
        while batch := list(islice(remaining, batch_size)):
            payloads = (s if isinstance(s, bytes) else Path(s).read_bytes() for s in batch)
            yield from map(self.interpret, self.logits([self.decode(p) for p in payloads]))

    def decode(self, payload: bytes) -> Item:
        """One image file as `pixel_values`, float32 [C, H, W].

        Raises:
            InvalidInput: it is damaged, too large, or no image.
        """
        # imported late: --verify compares this file with its hash before it runs
        import preprocessing

        config = self.metadata["preprocessing"]
        try:
            pixels = preprocessing.read_pixels(
                payload, self.metadata["input_schema"]["image_size"], config, self.max_item_size
            )
        except preprocessing.InvalidImage as error:
            raise InvalidInput(str(error)) from error
        return {"pixel_values": preprocessing.normalize(pixels, config)}

    def from_json(self, instance: object) -> bytes:
        """The image in `{"b64": "<the file in base64>"}`.

        Raises:
            InvalidInput: another form, or not base64.
        """
        text = instance.get("b64") if isinstance(instance, dict) else None
        if not isinstance(text, str):
            raise InvalidInput('an instance is {"b64": "<the image file in base64>"}')
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"b64 is not base64: {error}") from error

    def interpret(self, logits: Array) -> Prediction:
        """What the logits [K] of one image mean."""
        names = self.metadata["class_names"] or [str(index) for index in range(len(logits))]
        scores = logits.astype(np.float64)
        match self.metadata["task_type"]:
            case "vision_classification":
                return _classify(scores, names)
            case "vision_multilabel":
                probabilities = np.exp(-np.logaddexp(0, -scores)).tolist()
                by_name = dict(zip(names, probabilities, strict=True))
                return LabelsPrediction([n for n, p in by_name.items() if p >= 0.5], by_name)
            case "vision_regression":
                return ValuesPrediction(dict(zip(names, scores.tolist(), strict=True)))
            case other:
                raise ValueError(f"{other} is no vision task")

    def to_json(self, logits: Array) -> dict[str, Any]:
        """`interpret` as plain data."""
        return self.interpret(logits).to_json()


Engine = VisionInferenceEngine


def _classify(scores: Array, names: Sequence[str]) -> ClassPrediction:
    exponentials = np.exp(scores - scores.max())  # shifted: a large logit would overflow
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    best = order[0]
    top = {names[index]: float(probabilities[index]) for index in order}
    return ClassPrediction(names[best], best, float(probabilities[best]), top)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    from commandline import run

    return run(VisionInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
