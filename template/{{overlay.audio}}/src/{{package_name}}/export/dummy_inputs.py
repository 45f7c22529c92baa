"""Sounds to export and to check with: signature, sizes, noise, the stored example."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from ..config import TrainingConfig
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

if TYPE_CHECKING:
    from .input_graph import InputGraph


def input_signature(task_spec: TaskSpec, config: TrainingConfig) -> InputSignature:
    """Windows of sound, any number of them."""
    shape = ("batch", *task_spec.input_schema["input_shape"])
    return InputSignature((TensorSpec(task_spec.input_name, "float32", shape),), limits={})


def input_graph(task_spec: TaskSpec, config: TrainingConfig) -> InputGraph | None:
    """None: files are decoded and made into features outside of an artifact."""
    return None


def parity_sizes(task_spec: TaskSpec, config: TrainingConfig) -> list[dict[str, int]]:
    """Sizes of the named axes at which every artifact is compared with the network."""
    return [{"batch": batch} for batch in (1, 2, 7)]


def trace_sizes(task_spec: TaskSpec) -> dict[str, int]:
    """Sizes to export with; a size of 1 would be taken for a constant."""
    return {"batch": 2}


def random_inputs(
    task_spec: TaskSpec, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """A batch of noise, as preprocessing makes it: float32 [B, C, M, F], or [B, T] of raw sound."""
    preprocessing = task_spec.preprocessing
    shape = (sizes["batch"], preprocessing.num_samples)
    noise = 0.1 * torch.randn(shape, generator=generator)
    return {task_spec.input_name: torch.from_numpy(preprocessing.inputs(noise.numpy()))}


def write_example(task_spec: TaskSpec, source: Path | None, folder: Path) -> Path:
    """Put the stored example into `folder`: a copy of `source`, or a rising tone as WAV.

    Returns:
        the file written.
    """
    if source is not None:
        return Path(shutil.copyfile(source, folder / f"example{source.suffix.lower()}"))
    preprocessing = task_spec.preprocessing
    time = np.arange(preprocessing.num_samples) / preprocessing.sample_rate
    tone = 0.5 * np.sin(2 * np.pi * (200 + 400 * time / time[-1]) * time)
    path = folder / "example.wav"
    soundfile.write(path, tone, preprocessing.sample_rate, subtype="PCM_16")
    return path


def read_example(task_spec: TaskSpec, path: Path, processor: Any) -> dict[str, Tensor]:
    """The windows of the stored example as a batch.

    Raises:
        preprocessing.InvalidAudio: it cannot be read.
    """
    preprocessing = task_spec.preprocessing
    window = preprocessing.fit(preprocessing.read(path))
    return {task_spec.input_name: torch.from_numpy(preprocessing.inputs(window[np.newaxis]))}
