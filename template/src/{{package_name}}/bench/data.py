"""`bench data`: what it costs to make a micro-batch, step by step and in other ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from rich.console import Console

from ..config import TrainingConfig
from ..data.known import samples_of
from ..data.module import UniversalDataModule, load_modality
from ..data.workers import settled_workers
from ..task import TaskSpec
from ..training.hardware import inference_device
from .timing import ROUNDS, Timing, interleave, print_table, save_picture

# micro-batches that are timed of the loader, for each process that loads
LOADED = 4


def benchmark_dataloader(config: TrainingConfig, rounds: int = ROUNDS) -> list[Timing]:
    """Time what one training micro-batch costs: reading, augmenting, making a batch of samples.

    Raises:
        DataError: the data cannot be read.
    """
    data = UniversalDataModule.from_config(config)
    return interleave(load_modality(TaskSpec.modality).benchmarks(data, config), rounds)


def time_stages(
    data: UniversalDataModule, device: torch.device, rounds: int = ROUNDS
) -> list[Timing]:
    """What a micro-batch goes through in one process, one stage after the other.

    Augmentation is what training samples take longer than plain ones; it is left out where that
    is nothing, and where several plain samples make one to train on.

    Args:
        data: with rows to train on.
        device: of the network.
        rounds: repetitions.
    """
    data.setup()
    assert data.splits is not None
    make, rows, config = data.modality.make_dataset, data.splits.train, data.config
    plain, changed = (
        make(rows, data.task_spec, config, training=training) for training in (False, True)
    )
    if data.samples_per_epoch < len(rows):
        plain = changed
    keys = [(0, index) for index in range(min(data.batch_size, data.samples_per_epoch))]
    samples = samples_of(changed, keys)
    collate = data.collate_fn
    batch = collate(samples)
    prepare = data.modality.make_input_transform(data.task_spec, config).to(device)

    def hand_over() -> int:
        prepare({name: value.to(device) for name, value in batch.items()})
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return len(keys)

    reading, both, collation, transfer = interleave(
        {
            "reading": lambda: len(samples_of(plain, keys)),
            "augmentation": lambda: len(samples_of(changed, keys)),
            "collation": lambda: len(collate(samples)["labels"]),
            f"transfer to {device.type} and preparation": hand_over,
        },
        rounds,
    )
    more = both.milliseconds - reading.milliseconds
    augmentation = [replace(both, milliseconds=more)] if plain is not changed and more > 0 else []
    return [reading, *augmentation, collation, transfer]


def time_loader(data: UniversalDataModule) -> Timing | None:
    """A micro-batch from the loader of a run, once its processes have begun.

    Returns:
        None where an epoch has a single micro-batch.
    """
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    started = time.perf_counter()
    counts = [len(batch["labels"]) for batch in islice(batches, LOADED * (data.workers + 1))]
    milliseconds = 1000 * (time.perf_counter() - started)
    if not counts:
        return None
    name = f"the loader as a whole, num_workers: {data.workers}"
    return Timing(name, milliseconds / len(counts), round(sum(counts) / len(counts)))


def bottleneck(stages: Sequence[Timing], loader: Timing | None) -> str:
    """Which stage takes longest, and what the loader gives with all of them, in a sentence."""
    slowest = max(stages, key=lambda stage: stage.milliseconds)
    share = slowest.milliseconds / sum(stage.milliseconds for stage in stages)
    line = (
        f"{slowest.name} limits loading: {slowest.per_second:,.0f} samples/s by one process, "
        f"{share:.0%} of its time"
    )
    return line if loader is None else f"{line}; {loader.name} gives {loader.per_second:,.0f}"


def bench_data(config: TrainingConfig, console: Console) -> None:
    """Compare ways to bring samples to the network, and name the stage that limits.

    Raises:
        DataError: the data cannot be read.
    """
    device = inference_device(config)
    modality = load_modality(TaskSpec.modality)
    workers = settled_workers(config, device, 1, is_dear=modality.IS_DEAR)
    config = replace(config, num_workers=workers)  # as a run of one process has them
    data = UniversalDataModule.from_config(config)
    ways = interleave(modality.benchmarks(data, config))
    print_table("loading data", ways, console)
    stages, loader = time_stages(data, device), time_loader(data)
    shown = [*stages, *([loader] if loader is not None else [])]
    print_table("stages of a micro-batch", shown, console)
    console.print(bottleneck(stages, loader), highlight=False, markup=False, soft_wrap=True)
    save_picture("loading data", _chart([*ways, *shown]), config, console)


def _chart(timings: Sequence[Timing]) -> dict[str, Any]:
    """Samples a second on a logarithmic scale: stages differ by orders of magnitude."""
    samples = {"field": "samples", "type": "quantitative"}
    return {
        "title": "loading data",
        "width": 480,
        "data": {"values": [{"way": t.name, "samples": t.per_second} for t in timings]},
        "encoding": {
            "y": {"field": "way", "type": "nominal", "sort": None, "title": None},
            "x": samples | {"scale": {"type": "log"}, "title": "samples a second"},
        },
        "layer": [
            {"mark": {"type": "point", "filled": True, "size": 80}},
            {
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"text": samples | {"format": ",.3~s"}},
            },
        ],
    }
