"""`bench inference`: latency and throughput of a bundle's artifacts, by the bundle's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from ..config import TrainingConfig
from ..errors import ExportError
from ..export.bundle_runtime import load_runtime
from ..export.dummy_inputs import random_inputs, trace_sizes
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


def artifact_runs(bundle: Path, batch_size: int) -> dict[str, Callable[[], int]]:
    """For each artifact of a bundle, a function that runs one batch and returns its size."""
    runtime = load_runtime(bundle)
    spec = json.loads((bundle / "configs" / "task_spec.json").read_text("utf-8"))
    task_spec = TaskSpec.from_dict(spec)
    sizes = trace_sizes(task_spec) | {"batch": batch_size}
    batch = random_inputs(task_spec, sizes, torch.Generator().manual_seed(0))
    arrays = {name: tensor.numpy() for name, tensor in batch.items()}

    def run(name: str) -> Callable[[], int]:
        session = runtime.open_session(bundle, name)
        return lambda: len(session.run(arrays))

    artifacts = runtime.read_metadata(bundle)["artifacts"]
    return {f"{name}, batch of {batch_size}": run(name) for name in artifacts}
