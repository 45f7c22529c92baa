"""How sounds are shown in a report: a spectrogram, and what can be heard."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..data.audio import AudioDataset, Heard, make_dataset
from ..evaluation import Evaluation, Measured
from ..preprocessing import Preprocessing, Waveform
from ..training.trained_model import TrainedModel
from .elements import View
from .page import Section

if TYPE_CHECKING:
    import datasets

# Hz of what is played; every browser knows MP3
PLAYED_RATE = 16_000
# of a sound that is played and drawn, from its beginning
SHOWN_SECONDS = 10
# longest side of a picture, in pixels
SIDE = 256


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """A sound as the network gets it: its middle, where it is long.

    Args:
        measured: what is shown a sample, and how that is read.
        rows: of a split.
        number: of the row, from 0.

    Raises:
        DataError: its file cannot be read any more.
    """
    return _view(make_dataset(rows, measured.task_spec, measured.config, training=False), number)


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """A training sound before and after random changes, as in the first epoch.

    Args:
        trained: the network.
        rows: to train on.
        number: of the row, from 0.

    Returns:
        None where the settings ask for no changes.

    Raises:
        DataError: its file cannot be read any more.
    """
    if trained.config.augment == "none":
        return None
    changed = make_dataset(rows, trained.task_spec, trained.config, training=True)
    return view(trained, rows, number), _view(changed, number)


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """None: classes, labels and values are all that is predicted of sounds."""
    return []


def _view(sounds: AudioDataset, number: int) -> View:
    heard = sounds.heard((0, number), sounds.rows[number])
    recipe = sounds.preprocessing
    return View(picture=_picture(heard, recipe), sound=_played(heard.window, recipe.sample_rate))


def _picture(heard: Heard, recipe: Preprocessing) -> str:
    """The spectrogram as an address, low bands below, brighter where it is louder."""
    if recipe.features == "waveform":
        bands = replace(recipe, features="log_mel").log_mel(heard.window)
    else:
        bands = heard.inputs[0].astype(np.float64)
    frames = round(SHOWN_SECONDS * 1000 / recipe.hop_ms)
    bands = bands[::-1, :frames]
    bands = bands[:: -(-bands.shape[0] // SIDE), :: -(-bands.shape[1] // SIDE)]
    low, high = bands.min(), bands.max()
    grey = (255 * (bands - low) / max(high - low, 1e-9)).round().astype(np.uint8)
    return _address("image/png", _png(grey))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A grey picture [height, width]; no library that draws is needed for that."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # 0 before each: as it is
    data = zlib.compress(rows, 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def _played(window: Waveform, sample_rate: int) -> str:
    """What can be heard, as an address: MP3 of one channel."""
    shown = window[: SHOWN_SECONDS * sample_rate]
    resampled = soxr.resample(shown, sample_rate, PLAYED_RATE).clip(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, resampled, PLAYED_RATE, format="MP3")
    return _address("audio/mpeg", file.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
