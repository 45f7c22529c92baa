"""Points to export and to check with: signature, sizes, random points, the stored example."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import preprocessing
from ..config import TrainingConfig
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

if TYPE_CHECKING:
    from .input_graph import InputGraph


def input_signature(task_spec: TaskSpec, config: TrainingConfig) -> InputSignature:
    """Points, any number of them."""
    shape = ("batch", task_spec.input_schema["dimensions"])
    return InputSignature((TensorSpec("points", "float32", shape),), limits={})


def input_graph(task_spec: TaskSpec, config: TrainingConfig) -> InputGraph | None:
    """No preprocessing goes into an ONNX file: points have none."""
    return None


def parity_sizes(task_spec: TaskSpec, config: TrainingConfig) -> list[dict[str, int]]:
    """Sizes of the named axes at which every artifact is compared with the network."""
    return [{"batch": batch} for batch in (1, 2, 7, 33)]


def trace_sizes(task_spec: TaskSpec) -> dict[str, int]:
    """Sizes to export with."""
    return {"batch": 2}


def random_inputs(
    task_spec: TaskSpec, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """`points` float32 [B, F]."""
    shape = (sizes["batch"], task_spec.input_schema["dimensions"])
    return {"points": torch.randn(shape, generator=generator)}


def write_example(task_spec: TaskSpec, source: Path | None, folder: Path) -> Path:
    """Put the stored example into `folder`; gives its path."""
    path = folder / "example.txt"
    if source is not None:
        return Path(shutil.copyfile(source, path))
    path.write_text(" ".join(["0.5"] * task_spec.input_schema["dimensions"]), encoding="ascii")
    return path


def read_example(task_spec: TaskSpec, path: Path, processor: None) -> dict[str, Tensor]:
    """The stored example as a batch of one."""
    point = preprocessing.read_point(path.read_bytes(), task_spec.input_schema["dimensions"])
    return {"points": torch.from_numpy(point)[None]}
