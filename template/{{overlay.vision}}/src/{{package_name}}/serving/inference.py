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
from pathlib import Path

from runtime import (
    Array,
    ClassPrediction,
    InferenceEngine,
    InvalidInput,
    Item,
    LabelsPrediction,
    Prediction,
    ValuesPrediction,
)
from runtime.commandline import run

BUNDLE = Path(__file__).resolve().parent


class VisionInferenceEngine(InferenceEngine):
    """Images in, predictions out; the size of an image is that in which it arrives."""

    media_types = ("image/*", "application/octet-stream")
    suffixes = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
    item_unit = "pixels"
    default_max_item_size = 50_000_000

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
        except preprocessing.ImageTooLarge as error:
            raise InvalidInput(f"{error}; --max_item_size allows more") from error
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

    def interpret(self, item: Item, logits: Array) -> Prediction:
        """What the logits [K] of one image mean."""
        names = self.metadata["class_names"] or [str(index) for index in range(len(logits))]
        match self.metadata["task_type"]:
            case "vision_classification":
                return ClassPrediction.from_logits(logits, names)
            case "vision_multilabel":
                return LabelsPrediction.from_logits(logits, names)
            case "vision_regression":
                return ValuesPrediction.from_logits(logits, names)
            case other:
                raise ValueError(f"{other} is no vision task")


Engine = VisionInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(VisionInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
