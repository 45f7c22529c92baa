"""Which sounds are the same, or nearly so.

Candidates are found in coarse spectrograms and confirmed in finer ones. Coarse spectrograms of near
duplicates lie close together, and so do the means of their blocks, which are never farther apart: a
search tree over these misses none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from ..config import TrainingConfig
from ..preprocessing import InvalidAudio, Preprocessing, Waveform
from .doctor import Indices, Samples, Similar, first_of_each, nearest_pairs
from .file_facts import source_of
from .file_samples import ORIGIN, place
from .splits import Splits

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Bands and slots of time of a spectrogram, and of the means of its blocks.
BANDS, SLOTS = 24, 32
BLOCK_BANDS, BLOCK_SLOTS = 6, 8

# Largest root mean square difference of two spectrograms, in dB: lossy formats make less, and two
# recordings of one word by one voice more.
DIFFERENCE = 1.6

# Two sounds that differ more in length, as a share of the longer one, are not the same.
LENGTHS = 0.05

# dB below the loudest part, which what is fainter is raised to: noise is no likeness
FLOOR = 40.0

# Near duplicates that are looked for, for each sound; a larger group links up all the same.
NEAREST = 8

# Sounds that are decoded before the next ones are read.
CHUNK = 256


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a sound.

    Attributes:
        digest: of its samples.
        seconds: how long it is.
        spectrogram: float32 [BANDS * SLOTS], in dB, its mean being 0: louder is no difference.
    """

    digest: str
    seconds: float
    spectrogram: npt.NDArray[np.float32]


def whole_samples(splits: Splits, config: TrainingConfig) -> Splits:
    """The rows as they are: each is a whole sound."""
    return splits


def where(row: dict[str, Any], number: int, processor: None) -> str:
    """The file of a sound, or its row where it has none.

    Args:
        row: of a split.
        number: of the row, from 0.
        processor: None.
    """
    return place(row["audio"]["path"], row.get(ORIGIN), number)


def find_similar(samples: Samples, config: TrainingConfig, console: Console) -> Similar:
    """Compare every sound with all others; those that cannot be read are left out.

    Equal are sounds with the same samples, whatever the format of their files. Nearly equal are
    those that differ as by a lossy format, loudness or a little noise, or by a sample rate that is
    not lower than `sample_rate`; parts of longer ones are not.

    Args:
        samples: rows with `audio`.
        config: how sounds are read.
        console: for the progress.
    """
    found = list(_fingerprints(samples, config, console))
    digests = [None if one is None else one.digest for one in found]
    different = first_of_each(digests)
    kept = [one for number in different if (one := found[number]) is not None]
    if len(kept) < 2:
        return Similar(digests, np.empty((0, 2), np.int64), np.empty(0, np.float32))
    spectrograms = np.stack([one.spectrogram for one in kept])
    pairs = nearest_pairs(_block_means(spectrograms), NEAREST, DIFFERENCE)
    seconds = np.array([one.seconds for one in kept])[pairs]
    difference = np.sqrt(np.square(spectrograms[pairs[:, 0]] - spectrograms[pairs[:, 1]]).mean(1))
    near = (difference <= DIFFERENCE) & (seconds.min(1) >= (1 - LENGTHS) * seconds.max(1))
    scores = (1 - difference[near] / FLOOR).astype(np.float32)
    return Similar(digests, different[pairs[near]], scores)


def plain_features(samples: Samples, numbers: Indices) -> csr_array | None:
    """None: a spectrogram as it is tells little of what is heard."""
    return None


def _fingerprints(
    samples: Samples, config: TrainingConfig, console: Console
) -> Iterator[Fingerprint | None]:
    """Of each sound, in their order; None where it cannot be read."""
    whole = replace(
        config.preprocessing, features="log_mel", window_ms=32.0, n_mels=BANDS, mel_scale="slaney",
        fmin=50.0, fmax=None, normalization="none",
    )  # fmt: skip

    def try_to(file: dict[str, Any]) -> Fingerprint | None:
        try:
            return _fingerprint(whole.read(source_of(file), config.max_seconds), whole)
        except (InvalidAudio, FileNotFoundError):
            return None

    numbers = np.arange(len(samples))
    chunks = range(0, len(samples), CHUNK)
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        for start in track(
            chunks,
            "Comparing sounds",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            files = samples.values("audio", numbers[start : start + CHUNK])
            yield from pool.map(try_to, files)


def _fingerprint(waveform: Waveform, preprocessing: Preprocessing) -> Fingerprint:
    seconds = len(waveform) / preprocessing.sample_rate
    # as many frames as there are slots, and twice, over the whole sound
    hop_ms = max(1000 * seconds / (2 * SLOTS), 1.0)
    decibels = replace(preprocessing, hop_ms=hop_ms).log_mel(waveform)
    decibels = np.maximum(decibels, decibels.max() - FLOOR)
    slots = np.linspace(0, decibels.shape[1], SLOTS + 1).astype(int)
    means = np.stack([decibels[:, a : max(b, a + 1)].mean(1) for a, b in pairwise(slots)], 1)
    return Fingerprint(
        hashlib.blake2b(waveform.tobytes(), digest_size=16).hexdigest(),
        seconds,
        (means - means.mean()).astype(np.float32).ravel(),
    )


def _block_means(spectrograms: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of blocks of bands and slots: float32 [N, BLOCK_BANDS * BLOCK_SLOTS]."""
    shape = (-1, BLOCK_BANDS, BANDS // BLOCK_BANDS, BLOCK_SLOTS, SLOTS // BLOCK_SLOTS)
    means: npt.NDArray[np.float32] = spectrograms.reshape(shape).mean((2, 4))
    return means.reshape(-1, BLOCK_BANDS * BLOCK_SLOTS)
