"""Predict sounds with this bundle: `python inference.py --input FILE [FILE ...]`.

In Python:

    from inference import AudioInferenceEngine
    engine = AudioInferenceEngine("path/of/the/bundle")
    engine.predict("sound.wav")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from runtime import (
    Array,
    InferenceEngine,
    InvalidInput,
    Item,
    object_schema,
)
from runtime.commandline import run
from runtime.instances import file_in

if TYPE_CHECKING:
    from preprocessing import Preprocessing

BUNDLE = Path(__file__).resolve().parent
# of a run of the network, which a long sound has many of
MOST_WINDOWS = 64


def _mean_of_classes(logits: Array) -> Array:
    """Logs of the mean probabilities [K] of windows [W, K]."""
    scores = logits.astype(np.float64)
    logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return _log_mean(logs)


def _mean_of_labels(logits: Array) -> Array:
    """Logits of the mean probabilities [K] of windows [W, K]."""
    scores = logits.astype(np.float64)
    return _log_mean(-np.logaddexp(0, -scores)) - _log_mean(-np.logaddexp(0, scores))


def _mean_of_values(values: Array) -> Array:
    """Mean values [K] of windows [W, K]."""
    mean: Array = values.astype(np.float64).mean(axis=0)
    return mean


def _log_mean(logs: Array) -> Array:
    mean: Array = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return mean


# how the answers to the windows of a long sound become one
MEANS: dict[str, Callable[[Array], Array]] = {
    "audio_classification": _mean_of_classes,
    "audio_multilabel": _mean_of_labels,
    "audio_regression": _mean_of_values,
}


class AudioInferenceEngine(InferenceEngine):
    """Sounds in, predictions out; a long sound is heard window by window, to its end.

    The windows' probabilities are averaged, or their values.
    """

    media_types = ("audio/*", "application/ogg", "application/octet-stream")
    suffixes = (".flac", ".mp3", ".ogg", ".wav")
    columns = ("audio", "path")
    note_names = ("seconds", "windows", "padded_seconds")
    item_unit = "seconds"
    default_max_item_size = 600

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How a sound becomes the network's input."""
        # imported late: --verify compares this file with its hash before it runs
        from preprocessing import Preprocessing

        return Preprocessing.from_config(self.metadata["preprocessing"])

    @property
    def hint(self) -> str:
        """How much is heard at a time."""
        return (
            f"The network hears windows of {self.preprocessing.duration:g} s; of a longer sound "
            "the answers to all windows are averaged"
        )

    @property
    def input_name(self) -> str:
        """`features`, or `waveform` of a network that takes raw sound."""
        name: str = self.metadata["inputs"][0]["name"]
        return name

    def decode(self, payload: bytes) -> Item:
        """One sound file as windows: `features` float32 [W, C, M, F], or `waveform` [W, T].

        The sound is never held as a whole. The notes say how many seconds and windows were heard,
        and how many seconds of padding a short sound got.

        Raises:
            InvalidInput: it is damaged, too long, or no sound.
        """
        recipe, count, heard = self.preprocessing, 0, []

        def counted() -> Iterator[Array]:
            nonlocal count
            for block in recipe.blocks(payload, self.max_item_size):
                count += len(block)
                yield block

        with _refusing_sounds():
            for window in recipe.windows(counted()):
                heard.append(recipe.inputs(recipe.fit(window)))
        item = Item({self.input_name: np.stack(heard)})
        missing = max(0, recipe.num_samples - count)
        item.notes = {
            "seconds": round(count / recipe.sample_rate, 3),
            "windows": len(heard),
            "padded_seconds": round(missing / recipe.sample_rate, 3),
        }
        return item

    def decode_example(self, payload: bytes) -> Item:
        """The middle of the stored example, as the network was asked it: [C, M, F] or [T]."""
        recipe = self.preprocessing
        with _refusing_sounds():
            waveform = recipe.read(payload, self.max_item_size)
        return Item({self.input_name: recipe.inputs(recipe.fit(waveform))})

    def logits(self, items: Sequence[Item]) -> list[Array]:
        """Logits of each sound; the windows of all are computed together, and averaged."""
        # what a client has made itself is one window, without an axis for them
        shape = (-1, *self.metadata["inputs"][0]["shape"][1:])
        sounds = [item[self.input_name].reshape(shape) for item in items]
        windows = np.concatenate(sounds)
        answers = np.concatenate(
            [
                self.session.run({self.input_name: windows[begin : begin + MOST_WINDOWS]})
                for begin in range(0, len(windows), MOST_WINDOWS)
            ]
        )
        ends = np.cumsum([len(sound) for sound in sounds])[:-1]
        return [self._mean(logits) for logits in np.split(answers, ends)]

    def _mean(self, logits: Array) -> Array:
        """Logits [K] of a sound of those of its windows [W, K]."""
        if len(logits) == 1:
            only: Array = logits[0]
            return only
        with np.errstate(invalid="ignore"):  # what is not finite is told when it is interpreted
            return MEANS[self.metadata["task_type"]](logits).astype(logits.dtype)

    def from_json(self, instance: object) -> bytes:
        """The sound in `{"b64": "<the file in base64>"}`, as `file_in` reads it.

        Raises:
            InvalidInput: another form, or not base64.
        """
        return file_in(instance, "sound")

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of what `answer` gives."""
        predicted = super().answer_schema["properties"]
        notes = zip(self.note_names, ("number", "integer", "number"), strict=True)
        return object_schema(**predicted, **{name: {"type": kind} for name, kind in notes})


@contextmanager
def _refusing_sounds() -> Iterator[None]:
    """What preprocessing.py raises, as what clients are told."""
    import preprocessing

    try:
        yield
    except preprocessing.AudioTooLong as error:
        raise InvalidInput(f"{error}; --max_item_size allows more") from error
    except preprocessing.InvalidAudio as error:
        raise InvalidInput(str(error)) from error


Engine = AudioInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(AudioInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
