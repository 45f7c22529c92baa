"""Predict sounds with this bundle: `python inference.py --input FILE [FILE ...]`.

In Python:

    from inference import AudioInferenceEngine
    engine = AudioInferenceEngine("path/of/the/bundle")
    engine.predict("sound.wav")
"""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import Any

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
# what each task answers
PREDICTIONS: dict[str, type[ClassPrediction | LabelsPrediction | ValuesPrediction]] = {
    "audio_classification": ClassPrediction,
    "audio_multilabel": LabelsPrediction,
    "audio_regression": ValuesPrediction,
}


class AudioInferenceEngine(InferenceEngine):
    """Sounds in, predictions out."""

    media_types = ("audio/*", "application/octet-stream")
    suffixes = (".flac", ".mp3", ".ogg", ".wav")
    columns = ("audio", "path")
    item_unit = "seconds"
    default_max_item_size = 600

    def decode(self, payload: bytes) -> Item:
        """The middle of one sound file as `features`, float32 [C, M, F], or `waveform` [T].

        Raises:
            InvalidInput: it is damaged, too long, or no sound.
        """
        # imported late: --verify compares this file with its hash before it runs
        import preprocessing

        config = preprocessing.Preprocessing.from_config(self.metadata["preprocessing"])
        try:
            window = config.fit(config.read(payload, self.max_item_size))
        except preprocessing.AudioTooLong as error:
            raise InvalidInput(f"{error}; --max_item_size allows more") from error
        except preprocessing.InvalidAudio as error:
            raise InvalidInput(str(error)) from error
        name = self.metadata["inputs"][0]["name"]
        return Item({name: config.inputs(window)})

    def from_json(self, instance: object) -> bytes:
        """The sound in `{"b64": "<the file in base64>"}`.

        Raises:
            InvalidInput: another form, or not base64.
        """
        text = instance.get("b64") if isinstance(instance, dict) else None
        if not isinstance(text, str):
            raise InvalidInput('an instance is {"b64": "<the sound file in base64>"}')
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"b64 is not base64: {error}") from error

    def interpret(self, item: Item, logits: Array) -> Prediction:
        """What the logits [K] of one sound mean."""
        names = self.metadata["class_names"] or [str(index) for index in range(len(logits))]
        return PREDICTIONS[self.metadata["task_type"]].from_logits(logits, names)

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of what `answer` gives."""
        schema: dict[str, Any] = PREDICTIONS[self.metadata["task_type"]].SCHEMA
        return schema


Engine = AudioInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(AudioInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
