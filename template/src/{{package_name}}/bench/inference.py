"""`bench inference`: latency and throughput of a bundle's artifacts, by the bundle's own code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from ..config import TrainingConfig
from ..errors import ExportError, ModelError, TrainingError
from ..export import dummy_inputs
from ..export.bundle_runtime import load_runtime
from ..forward import ModelSignatureInspector
from ..task import TaskSpec
from ..training.checkpoints import find_checkpoint
from ..training.trained_model import load_trained_model
from .timing import Timing, interleave, percentiles, print_table, save_picture

BATCH_SIZES = (1, 8, 32)

EAGER = "eager"
"""The run's own network under `inference_mode`, which artifacts are compared with."""

# rounds of one batch size: enough for percentiles, but no more than so many seconds
FEWEST_ROUNDS, MOST_ROUNDS = 9, 300
ROUNDS_SECONDS = 10.0

# most tokens that are written one behind the other
TOKENS = 64


def bench_inference(config: TrainingConfig, console: Console) -> None:
    """Time every artifact of the newest bundle at several batch sizes, beside the network itself.

    Those that keep a cache also write a text.

    Raises:
        ExportError: there is no bundle.
    """
    bundles = sorted(Path(config.export_dir).glob("model_*/metadata.json"))
    if not bundles:
        raise ExportError(f"{config.export_dir} holds no bundle; write one with `export`")
    bundle, eager = bundles[-1].parent, None
    try:
        eager = eager_run(bundle, config)
    except (ModelError, TrainingError) as error:
        console.print(f"no {EAGER} network to compare with: {error}", markup=False, soft_wrap=True)
    timings: dict[int, list[Timing]] = {}
    for batch_size in BATCH_SIZES:
        runs = artifact_runs(bundle, batch_size)
        if eager is not None:
            runs = {_named(EAGER, batch_size): eager(batch_size)} | runs
        timings[batch_size] = interleave(runs, _rounds(runs))
        columns = percentiles(timings[batch_size], 50, 95, 99)
        print_table(f"inference, batch of {batch_size}", timings[batch_size], console, columns)
    lines = [*verdict(timings)]
    if runs := continuations(bundle):
        written = interleave(runs, _rounds(runs))
        title = f"writing a text of {written[0].samples} tokens, one by one"
        print_table(title, written, console, percentiles(written, 50, 95, 99), counted="tokens")
        best = min(written, key=lambda timing: timing.milliseconds)
        lines.append(f"writing: {best.name} is the fastest, {best.per_second:,.0f} tokens a second")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    save_picture("inference", latencies(timings), config, console)


def verdict(timings: Mapping[int, Sequence[Timing]]) -> Iterator[str]:
    """The fastest artifact at each batch size.

    Args:
        timings: by batch size; the network itself first, where it was timed.
    """
    for batch_size, of_size in timings.items():
        eager = next((t for t in of_size if t.name == _named(EAGER, batch_size)), None)
        best = min((t for t in of_size if t is not eager), key=lambda t: t.milliseconds)
        name = best.name.partition(",")[0]
        times = f"{best.milliseconds:,.2f} ms (p99 {best.percentile(99):,.2f})"
        beside = (
            f", {eager.milliseconds / best.milliseconds:.2f}x as fast as {EAGER}" if eager else ""
        )
        yield f"batch of {batch_size}: {name} is the fastest, {times}{beside}"


def latencies(timings: Mapping[int, Sequence[Timing]]) -> dict[str, Any]:
    """Milliseconds of a batch on a scale of ratios: the median, and a line up to the p99."""
    values = [
        {
            "way": timing.name.partition(",")[0],
            "batch": f"batch of {batch_size}",
            "p50": timing.percentile(50),
            "p99": timing.percentile(99),
        }
        for batch_size, of_size in timings.items()
        for timing in of_size
    ]
    x = {
        "field": "p50",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "milliseconds a batch: median, and up to p99",
    }
    y = {"field": "way", "type": "nominal", "sort": None, "title": None}
    sizes = [f"batch of {batch_size}" for batch_size in timings]
    return {
        "title": "inference",
        "data": {"values": values},
        "facet": {"row": {"field": "batch", "type": "nominal", "sort": sizes, "title": None}},
        "spec": {
            "width": 420,
            "encoding": {"y": y},
            "layer": [
                {"mark": "rule", "encoding": {"x": x, "x2": {"field": "p99"}}},
                {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": {"x": x}},
            ],
        },
    }


def _rounds(runs: Mapping[str, Callable[[], int]]) -> int:
    """How often every artifact can be run in the time there is."""
    for run in runs.values():
        run()  # the first one of some prepares
    started = time.perf_counter()
    for run in runs.values():
        run()
    affordable = ROUNDS_SECONDS / (time.perf_counter() - started)
    return round(min(MOST_ROUNDS, max(FEWEST_ROUNDS, affordable)))


def _named(name: str, batch_size: int) -> str:
    return f"{name}, batch of {batch_size}"


def eager_run(bundle: Path, config: TrainingConfig) -> Callable[[int], Callable[[], int]]:
    """The network a bundle was made of: for a batch size, what runs one batch of it.

    Raises:
        ModelError: its code is gone.
        TrainingError: its run is gone, or nothing says how to build it.
    """
    metadata = json.loads((bundle / "metadata.json").read_text("utf-8"))
    if metadata["run"] is None:
        raise TrainingError("the bundle comes from no run")
    place = str(Path(config.output_dir) / metadata["run"])
    trained = load_trained_model(find_checkpoint(config.output_dir, place, "best"), config.model)
    inspector = ModelSignatureInspector(trained.model)

    def of_size(batch_size: int) -> Callable[[], int]:
        batch = _random_inputs(trained.task_spec, batch_size)
        positional, keyword = inspector.arguments(batch)

        def run() -> int:
            with torch.inference_mode():
                trained.model(*positional, **keyword)
            return batch_size

        return run

    return of_size


def _random_inputs(task_spec: TaskSpec, batch_size: int) -> dict[str, Tensor]:
    sizes = dummy_inputs.trace_sizes(task_spec) | {"batch": batch_size}
    return dummy_inputs.random_inputs(task_spec, sizes, torch.Generator().manual_seed(0))


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
    batch = _random_inputs(task_spec, batch_size)
    metadata = runtime.read_metadata(bundle)

    def run(name: str) -> Callable[[], int]:
        session = runtime.open_session(bundle, name)
        takes_samples = name in metadata["artifact_inputs"]
        arrays = _samples(task_spec, bundle, batch_size) if takes_samples else _arrays(batch)
        return lambda: len(session.run(arrays))

    return {_named(name, batch_size): run(name) for name in metadata["artifacts"]}


def continuations(bundle: Path) -> dict[str, Callable[[], int]]:
    """For each artifact that keeps a cache, what writes a text and returns its number of tokens."""
    runtime = load_runtime(bundle)
    runs: dict[str, Callable[[], int]] = {}
    for name in runtime.read_metadata(bundle)["artifacts"]:
        session = runtime.open_session(bundle, name)
        if session.sequence() is not None:
            spec = json.loads((bundle / "configs" / "task_spec.json").read_text("utf-8"))
            longest = TaskSpec.from_dict(spec).input_schema["max_seq_len"]
            runs[name] = partial(_write, session, min(TOKENS, longest))
    return runs


def _write(session: Any, tokens: int) -> int:
    sequence = session.sequence()
    for _ in range(tokens):
        sequence.extend(np.zeros(1, np.int64))
    return tokens
