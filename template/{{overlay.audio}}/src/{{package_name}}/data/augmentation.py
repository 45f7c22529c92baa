"""Random changes to training sounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def change_waveform(
    waveform: npt.NDArray[np.float32],
    sample_rate: int,
    augment: str,
    generator: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """A window [T], changed as `augment` says."""
    return waveform


def change_features(
    features: npt.NDArray[np.float32], augment: str, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A spectrogram [..., M, F], changed as `augment` says."""
    return features
