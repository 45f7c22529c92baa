"""`bench inference`: latency and throughput of a bundle's artifacts, by the bundle's own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from ..config import TrainingConfig
from ..errors import ExportError
from ..export import dummy_inputs
from ..export.bundle_runtime import load_runtime
from ..task import TaskSpec
from .timing import interleave, print_table, save_picture, throughput

BATCH_SIZES = (1, 8, 32)


def bench_inference(config: TrainingConfig, console: Console) -> None:
    """Time every artifact of the newest bundle at several batch sizes.

    Raises:
        ExportError: there is no bundle.
    """
    bundles = sorted(Path(config.export_dir).glob("model_*/metadata.json"))
    if not bundles:
        raise ExportError(f"{config.export_dir} holds no bundle; write one with `export`")
    timings = [
        timing
        for batch_size in BATCH_SIZES
        for timing in interleave(artifact_runs(bundles[-1].parent, batch_size))
    ]
    print_table("inference", timings, console)
    save_picture("inference", throughput("inference", timings), config, console)


def _arrays(batch: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in batch.items()}


def _samples(task_spec: TaskSpec, bundle: Path, batch_size: int) -> dict[str, npt.NDArray[Any]]:
    """What an artifact takes that preprocesses itself, in the size that costs it least."""
    config = TrainingConfig.load(bundle / "configs" / "training_config.json")
    inside = dummy_inputs.input_graph(task_spec, config)
    assert inside is not None
    return inside.random_samples(inside.own_size(batch_size), torch.Generator().manual_seed(0))


def artifact_runs(bundle: Path, batch_size: int) -> dict[str, Callable[[], int]]:
    """For each artifact of a bundle, a function that runs one batch and returns its size."""
    runtime = load_runtime(bundle)
    spec = json.loads((bundle / "configs" / "task_spec.json").read_text("utf-8"))
    task_spec = TaskSpec.from_dict(spec)
    sizes = dummy_inputs.trace_sizes(task_spec) | {"batch": batch_size}
    batch = dummy_inputs.random_inputs(task_spec, sizes, torch.Generator().manual_seed(0))
    metadata = runtime.read_metadata(bundle)

    def run(name: str) -> Callable[[], int]:
        session = runtime.open_session(bundle, name)
        takes_samples = name in metadata["artifact_inputs"]
        arrays = _samples(task_spec, bundle, batch_size) if takes_samples else _arrays(batch)
        return lambda: len(session.run(arrays))

    return {f"{name}, batch of {batch_size}": run(name) for name in metadata["artifacts"]}
