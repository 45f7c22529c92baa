"""Texts to export and to check with: signature, sizes, random ids, the stored example."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import preprocessing
from ..config import TrainingConfig
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

if TYPE_CHECKING:
    from .input_graph import InputGraph

EXAMPLE = "def main():\n    return"


def input_signature(task_spec: TaskSpec, config: TrainingConfig) -> InputSignature:
    """Token ids and which of them are no padding: any number of texts, up to the longest length."""
    shape = ("batch", "length")
    return InputSignature(
        (TensorSpec("input_ids", "int64", shape), TensorSpec("attention_mask", "int64", shape)),
        limits={"length": task_spec.input_schema["max_seq_len"]},
    )


def input_graph(task_spec: TaskSpec, config: TrainingConfig) -> InputGraph | None:
    """No preprocessing goes into an ONNX file: a tokenizer has no operators there."""
    return None


def parity_sizes(task_spec: TaskSpec, config: TrainingConfig) -> list[dict[str, int]]:
    """Sizes of the named axes at which every artifact is compared with the network."""
    longest = int(task_spec.input_schema["max_seq_len"])
    lengths = (1, max(1, longest // 3), longest - 1, longest)
    return [
        {"batch": batch, "length": length}
        for batch, length in zip((1, 2, 7, 33), lengths, strict=True)
    ] + [{"batch": 1, "length": longest}, {"batch": 5, "length": 1}]


def trace_sizes(task_spec: TaskSpec) -> dict[str, int]:
    """Sizes to export with; a size of 1 would be taken for a constant, and so would the largest."""
    return {"batch": 3, "length": max(2, int(task_spec.input_schema["max_seq_len"]) // 2)}


def random_inputs(
    task_spec: TaskSpec, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Random ids, each text of its own length, padded: both fields int64 [B, T]."""
    shape = (sizes["batch"], sizes["length"])
    vocab_size = task_spec.input_schema["vocab_size"]
    ids = torch.randint(0, vocab_size, shape, generator=generator)
    lengths = torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
    lengths[0] = shape[1]  # a batch is as long as its longest text
    mask = torch.arange(shape[1]) < lengths
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def write_example(task_spec: TaskSpec, source: Path | None, folder: Path) -> Path:
    """Put the stored example into `folder`: a copy of `source`, or a line of Python.

    Returns:
        the file written.
    """
    path = folder / "example.txt"
    if source is not None:
        return Path(shutil.copyfile(source, path))
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def read_example(task_spec: TaskSpec, path: Path, processor: Any) -> dict[str, Tensor]:
    """The stored example as a batch of one."""
    ids, _ = preprocessing.model_input(
        processor, path.read_bytes(), task_spec.task_type, task_spec.input_schema["max_seq_len"]
    )
    batch = torch.from_numpy(ids)[None]
    return {"input_ids": batch, "attention_mask": torch.ones_like(batch)}
