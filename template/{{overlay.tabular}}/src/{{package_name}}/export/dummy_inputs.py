"""Rows to export and to check with: signature, sizes, random rows, the stored example."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config import TrainingConfig
from ..preprocessing import BooleanColumn, CategoryColumn, NumberColumn, read_row
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

if TYPE_CHECKING:
    from .input_graph import InputGraph


def input_signature(task_spec: TaskSpec, config: TrainingConfig) -> InputSignature:
    """Numbers and categories of any number of rows, each where the task has columns for it."""
    schema = task_spec.input_schema
    numbers = TensorSpec("numbers", "float32", ("batch", schema["num_numbers"]))
    categories = TensorSpec("categories", "int64", ("batch", len(schema["cardinalities"])))
    return InputSignature(tuple(one for one in (numbers, categories) if one.shape[1]), limits={})


def input_graph(task_spec: TaskSpec, config: TrainingConfig) -> InputGraph | None:
    """No preprocessing goes into an ONNX file: cells are texts."""
    return None


def parity_sizes(task_spec: TaskSpec, config: TrainingConfig) -> list[dict[str, int]]:
    """Sizes of the named axes at which every artifact is compared with the network."""
    return [{"batch": batch} for batch in (1, 2, 7, 33)]


def trace_sizes(task_spec: TaskSpec) -> dict[str, int]:
    """Sizes to export with; a size of 1 would be taken for a constant."""
    return {"batch": 2}


def random_inputs(
    task_spec: TaskSpec, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Rows drawn at random: `numbers` float32 [B, N] of a normal distribution, `categories` int64.

    Categories are rows of their tables [B, C]; what the task has no columns for is not there.
    """
    batch, schema = sizes["batch"], task_spec.input_schema
    inputs = {}
    if schema["num_numbers"]:
        inputs["numbers"] = torch.randn(batch, schema["num_numbers"], generator=generator)
    if schema["cardinalities"]:
        drawn = [
            torch.randint(rows, (batch,), generator=generator) for rows in schema["cardinalities"]
        ]
        inputs["categories"] = torch.stack(drawn, dim=1)
    return inputs


def write_example(task_spec: TaskSpec, source: Path | None, folder: Path) -> Path:
    """Put the stored example into `folder`: a copy of `source`, or a row that is made up.

    Returns:
        the file written.
    """
    path = folder / "example.json"
    if source is not None:
        return Path(shutil.copyfile(source, path))
    row: dict[str, Any] = {}
    for column in task_spec.columns.columns:
        if isinstance(column, NumberColumn):
            row[column.name] = column.feature.fill
        elif isinstance(column, CategoryColumn):
            row[column.name] = column.values[0]
        else:
            row[column.name] = False if isinstance(column, BooleanColumn) else None
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def read_example(task_spec: TaskSpec, path: Path, processor: object) -> dict[str, Tensor]:
    """The stored example as a batch of one."""
    arrays = task_spec.columns.transform([read_row(path.read_bytes())])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
