"""Measurements: loading data, training steps, exported formats. Each prints a table and a picture.

Machines are noisy: whatever is compared runs interleaved, and the table shows medians.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from ..config import TrainingConfig
from .data import bench_data as bench_data
from .data import benchmark_dataloader as benchmark_dataloader
from .inference import bench_inference as bench_inference
from .train import bench_train as bench_train

BENCHMARKS: dict[str, Callable[[TrainingConfig, Console], None]] = {
    "data": bench_data,
    "train": bench_train,
    "inference": bench_inference,
}
