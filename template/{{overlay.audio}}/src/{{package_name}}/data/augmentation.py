"""Random changes to training sounds, drawn from a generator that whoever calls has seeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Changes:
    """How far a sound is changed at most.

    Attributes:
        shift: seconds, to either side.
        gain: dB, up or down.
        noise_share: share of sounds that get noise.
        signal_to_noise: dB of the sound above the noise, from and to.
        masks: how many stripes of bands, and as many of frames, are hidden.
        mask_share: share of the bands, and of the frames, in one stripe at most.
    """

    shift: float
    gain: float
    noise_share: float
    signal_to_noise: tuple[float, float]
    masks: int = 0
    mask_share: float = 0.0


# what `augment` may ask for, beside none
CHANGES = {
    "light": Changes(shift=0.1, gain=6.0, noise_share=0.5, signal_to_noise=(10.0, 40.0)),
    "strong": Changes(
        shift=0.2,
        gain=12.0,
        noise_share=0.8,
        signal_to_noise=(3.0, 30.0),
        masks=2,
        mask_share=0.15,
    ),
}


def change_waveform(
    waveform: Floats, sample_rate: int, augment: str, generator: np.random.Generator
) -> Floats:
    """A window [T], changed as `augment` says: `light` or `strong`."""
    changes = CHANGES[augment]
    reach = round(changes.shift * sample_rate)
    changed = shifted(waveform, int(generator.integers(-reach, reach + 1)))
    changed = amplified(changed, generator.uniform(-changes.gain, changes.gain))
    if generator.random() < changes.noise_share:
        changed = with_noise(changed, generator.uniform(*changes.signal_to_noise), generator)
    return changed


def change_features(features: Floats, augment: str, generator: np.random.Generator) -> Floats:
    """A spectrogram [..., M, F], changed as `augment` says: `light` or `strong`."""
    changes = CHANGES[augment]
    for _ in range(changes.masks):
        features = masked(features, changes.mask_share, generator)
    return features


def shifted(waveform: Floats, samples: int) -> Floats:
    """A window [T], later by so many samples, or earlier where they are negative.

    Silence follows; what leaves the window is lost.
    """
    moved = np.zeros_like(waveform)
    if samples >= 0:
        moved[samples:] = waveform[: len(waveform) - samples]
    else:
        moved[:samples] = waveform[-samples:]
    return moved


def amplified(waveform: Floats, decibels: float) -> Floats:
    """A window [T], louder by so many dB."""
    return waveform * np.float32(10 ** (decibels / 20))


def with_noise(waveform: Floats, signal_to_noise: float, generator: np.random.Generator) -> Floats:
    """A window [T] and white noise, whose power lies so many dB below that of the window."""
    noise = generator.standard_normal(len(waveform), dtype=np.float32)
    power = np.mean(np.square(waveform, dtype=np.float64))
    return waveform + noise * np.float32(np.sqrt(power) * 10 ** (-signal_to_noise / 20))


def masked(features: Floats, share: float, generator: np.random.Generator) -> Floats:
    """A spectrogram [..., M, F] of which a stripe of bands and one of frames become its mean.

    D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
    Recognition", 2019, without the warping of time.

    Args:
        features: log-mel.
        share: of the bands, and of the frames, that a stripe has at most; how many is drawn.
        generator: of chance.
    """
    hidden = features.copy()
    for axis in (-2, -1):
        size = features.shape[axis]
        width = int(generator.integers(0, int(share * size) + 1))
        begin = int(generator.integers(0, size - width + 1))
        np.moveaxis(hidden, axis, 0)[begin : begin + width] = features.mean()
    return hidden
