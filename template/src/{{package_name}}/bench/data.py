"""`bench data`: what it costs to make a micro-batch, step by step and in other ways."""

from __future__ import annotations

from rich.console import Console

from ..config import TrainingConfig
from ..data.module import UniversalDataModule, load_modality
from ..task import TaskSpec
from .timing import ROUNDS, Timing, interleave, print_table, save_picture, throughput


def benchmark_dataloader(config: TrainingConfig, rounds: int = ROUNDS) -> list[Timing]:
    """Time what one training micro-batch costs: reading, augmenting, making a batch of samples.

    Raises:
        DataError: the data cannot be read.
    """
    data = UniversalDataModule.from_config(config)
    return interleave(load_modality(TaskSpec.modality).benchmarks(data, config), rounds)


def bench_data(config: TrainingConfig, console: Console) -> None:
    """Compare ways to bring samples to the network; the first is the yardstick.

    Raises:
        DataError: the data cannot be read.
    """
    timings = benchmark_dataloader(config)
    print_table("loading data", timings, console)
    save_picture("loading data", throughput("loading data", timings), config, console)
