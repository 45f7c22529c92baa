"""Predict points with this bundle: `python inference.py --input FILE [FILE ...]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from runtime import Array, ClassPrediction, InferenceEngine, InvalidInput, Item, Prediction
from runtime.commandline import run

BUNDLE = Path(__file__).resolve().parent


class PointsInferenceEngine(InferenceEngine):
    """Points in, classes out."""

    media_types = ("text/*", "application/octet-stream")
    suffixes = (".txt",)
    columns = ("point", "file")
    item_unit = "bytes"
    default_max_item_size = 10_000

    def decode(self, payload: bytes) -> Item:
        """One point as `points`, float32 [F].

        Raises:
            InvalidInput: it is too large or no point.
        """
        import preprocessing

        if len(payload) > self.max_item_size:
            limit = f"the limit is {self.max_item_size:,}; --max_item_size allows more"
            raise InvalidInput(f"{len(payload)} bytes; {limit}")
        try:
            dimensions = self.metadata["input_schema"]["dimensions"]
            return Item(points=preprocessing.read_point(payload, dimensions))
        except preprocessing.InvalidPoint as error:
            raise InvalidInput(str(error)) from error

    def from_json(self, instance: object) -> bytes:
        """The point in `{"point": "0.5 0.5"}`.

        Raises:
            InvalidInput: another form.
        """
        text = instance.get("point") if isinstance(instance, dict) else None
        if not isinstance(text, str):
            raise InvalidInput('an instance is {"point": "0.5 0.5"}')
        return text.encode("utf-8", "surrogatepass")

    def interpret(self, item: Item, logits: Array) -> Prediction:
        """The likeliest class."""
        return ClassPrediction.from_logits(logits, self.metadata["class_names"])

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of what `answer` gives."""
        schema: dict[str, Any] = ClassPrediction.SCHEMA
        return schema


Engine = PointsInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(PointsInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
