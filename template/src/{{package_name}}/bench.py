"""Measurements: loading data, training steps, exported formats. Each prints a table and a picture.

Machines are noisy: whatever is compared runs interleaved, and the table shows medians.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from .config import TrainingConfig
from .data.module import UniversalDataModule, load_modality
from .errors import ExportError
from .task import TaskSpec

ROUNDS = 9


@dataclass(frozen=True)
class Timing:
    """Median time of one unit of work.

    Attributes:
        name: what was timed.
        microseconds: for one sample.
    """

    name: str
    microseconds: float

    @property
    def per_second(self) -> float:
        """Samples a second."""
        return 1e6 / self.microseconds


def interleave(work: Mapping[str, Callable[[], int]], rounds: int = ROUNDS) -> list[Timing]:
    """Time several ways of doing the same, one after the other in every round.

    Args:
        work: functions that do it once and return how many samples they handled.
        rounds: repetitions, after one that does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, run in work.items():
            start = time.perf_counter()
            samples = run()
            if number:
                times[name].append((time.perf_counter() - start) * 1e6 / samples)
    return [Timing(name, statistics.median(values)) for name, values in times.items()]


def benchmark_dataloader(config: TrainingConfig, rounds: int = ROUNDS) -> list[Timing]:
    """Time what one training sample costs: reading, augmenting, making it part of a batch.

    Raises:
        DataError: the data cannot be read.
    """
    data = UniversalDataModule.from_config(config)
    return interleave(load_modality(TaskSpec.modality).benchmarks(data, config), rounds)


def bench_data(config: TrainingConfig, console: Console) -> None:
    """Compare ways to bring samples to the network; the first is the yardstick."""
    _show("loading data", benchmark_dataloader(config), config, console)


def bench_train(config: TrainingConfig, console: Console) -> None:
    """Compare eager and compiled training steps, and say which suits the configured run."""
    from .training.benchmark import bench_train

    bench_train(config, console)


def bench_inference(config: TrainingConfig, console: Console) -> None:
    """Latency and throughput of the newest bundle, per format and batch size.

    Raises:
        ExportError: there is no bundle.
    """
    bundles = sorted(Path(config.export_dir).glob("model_*/metadata.json"))
    if not bundles:
        raise ExportError(f"{config.export_dir} holds no bundle; write one with `export`")
    timings = [
        timing
        for batch_size in (1, 8, 32)
        for timing in interleave(bundle_work(bundles[-1].parent, batch_size))
    ]
    _show("inference", timings, config, console)


def bundle_work(bundle: Path, batch_size: int) -> dict[str, Callable[[], int]]:
    """One batch through each artifact of a bundle, by the bundle's own code."""
    from .export.bundle_runtime import load_runtime
    from .export.dummy_inputs import random_inputs, trace_sizes

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


def _show(title: str, timings: list[Timing], config: TrainingConfig, console: Console) -> None:
    table = Table(title=title)
    for heading in ("way", "µs a sample", "samples a second", "times the first"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    first = timings[0].microseconds
    for timing in timings:
        table.add_row(
            timing.name,
            f"{timing.microseconds:,.1f}",
            f"{timing.per_second:,.0f}",
            f"{first / timing.microseconds:.2f}",
        )
    console.print(table)
    picture = Path(config.output_dir) / f"bench-{title.replace(' ', '-')}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    bars(timings, title).savefig(picture, dpi=150)
    console.print(f"picture: {picture}")


def bars(timings: list[Timing], title: str) -> Figure:
    """Samples a second, one bar each."""
    figure = Figure(figsize=(7, 1 + 0.4 * len(timings)), layout="constrained")
    axes = figure.subplots()
    axes.barh([t.name for t in timings][::-1], [t.per_second for t in timings][::-1])
    axes.set(title=title, xlabel="samples a second")
    return figure


BENCHMARKS: dict[str, Callable[[TrainingConfig, Console], Any]] = {
    "data": bench_data,
    "train": bench_train,
    "inference": bench_inference,
}
