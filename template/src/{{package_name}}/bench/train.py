"""`bench train`: what a training step costs uncompiled and in each mode, and what that means."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import seed_everything
from rich.console import Console
from torch import Tensor

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data.module import Batch, UniversalDataModule
from ..forward import LABELS
from ..training.adapter import UniversalModelAdapter
from ..training.compilation import break_even
from .timing import ROUNDS, Timing, interleave, print_table, save_picture

EAGER = "none"
MODES = (EAGER, "default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class StepTiming(Timing):
    """Forward, backward and optimizer step on one micro-batch, in a mode of torch.compile or none.

    Attributes:
        compile_seconds: time the first step took more than the median.
        reason: why it could not be compiled; empty where it was.
    """

    compile_seconds: float = 0.0
    reason: str = ""

    def seconds_for(self, micro_batches: int) -> float:
        """Time of a run of that length, compiling included."""
        return self.compile_seconds + micro_batches * self.milliseconds / 1000


class _Candidate:
    """A network of its own, compiled in one mode, with an optimizer, and a batch to repeat."""

    def __init__(
        self, mode: str, config: TrainingConfig, data: UniversalDataModule, batch: Batch
    ) -> None:
        seed_everything(config.seed, verbose=False)
        model = Architecture.resolve(config.model, data.task_spec, network_args(config)).build()
        device = "cuda" if torch.cuda.is_available() and config.accelerator != "cpu" else "cpu"
        configured = TrainingConfig.from_dict(config.to_dict() | {"compile_mode": mode})
        adapter = UniversalModelAdapter(
            model, configured, data.processor, task_spec=data.task_spec
        ).to(device)
        adapter.fit_inputs()
        self.adapter = adapter
        self.batch = batch
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
        self.autocast = torch.autocast(
            device,
            torch.bfloat16 if config.precision == "bf16-mixed" else torch.float16,
            enabled=config.precision != "32-true",
        )

    def step(self) -> int:
        """One training step; returns the number of samples."""
        self.optimizer.zero_grad()
        loss = self._loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if loss.is_cuda:
            torch.cuda.synchronize(loss.device)
        return len(self.batch[LABELS])

    def first_step(self) -> float:
        """Seconds of the step that compiles."""
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table gives the reason
            self.step()
        return time.perf_counter() - start

    def _loss(self) -> Tensor:
        batch = {name: value.to(self.adapter.device) for name, value in self.batch.items()}
        with self.autocast:
            objective = self.adapter.objective
            return objective.loss_sum(self.adapter(batch), batch[LABELS]) / len(batch[LABELS])

    def describe(self, timing: Timing, first: float) -> StepTiming:
        """The timing with what compiling did; `first` is the time of the first step, in seconds."""
        compilation = self.adapter.compile_hook.compilation
        return StepTiming(
            timing.name,
            timing.milliseconds,
            timing.samples,
            compile_seconds=(
                0.0 if timing.name == EAGER else max(0.0, first - timing.milliseconds / 1000)
            ),
            reason="" if timing.name == EAGER or compilation is None else compilation.reason,
        )


def measure_steps(
    config: TrainingConfig, data: UniversalDataModule, rounds: int = ROUNDS
) -> list[StepTiming]:
    """Time a training step without the compiler and in each of its modes, interleaved.

    Raises:
        ModelError: the network cannot be found or built.
    """
    batch = next(iter(data.train_dataloader()))
    candidates, first = {}, {}
    for mode in MODES:
        candidates[mode] = _Candidate(mode, config, data, batch)
        first[mode] = candidates[mode].first_step()
    timings = interleave({mode: c.step for mode, c in candidates.items()}, rounds)
    return [candidates[t.name].describe(t, first[t.name]) for t in timings]


def choose_mode(timings: Sequence[StepTiming], micro_batches: int) -> str:
    """The mode in which a run of that many micro-batches ends first, compiling included."""
    usable = [timing for timing in timings if not timing.reason]
    return min(usable, key=lambda timing: timing.seconds_for(micro_batches)).name


def bench_train(config: TrainingConfig, console: Console) -> None:
    """Compare eager and compiled training steps, and say which suits the configured run.

    Raises:
        DataError: the data cannot be read.
        ModelError: the network cannot be found or built.
    """
    data = UniversalDataModule.from_config(config)
    timings = measure_steps(config, data)
    micro_batches = _micro_batches(config, data)
    compiling = [f"{t.compile_seconds:.1f} s" if t.name != EAGER else "" for t in timings]
    pays_after = [_pays_after(timing, timings[0]) for timing in timings]
    print_table("training", timings, console, {"compiling": compiling, "pays after": pays_after})
    console.print(
        f"for {micro_batches:,} micro-batches of {config.batch_size}: "
        f"--compile_mode {choose_mode(timings, micro_batches)}",
        highlight=False,
        markup=False,
    )
    save_picture("training", run_times(timings, micro_batches), config, console)


def _micro_batches(config: TrainingConfig, data: UniversalDataModule) -> int:
    """How many the configured run would take."""
    wanted = config.epochs * data.micro_batches_per_epoch(world_size=1)
    if config.max_steps is None:
        return wanted
    return min(wanted, config.max_steps * config.gradient_accumulation_steps)


def _pays_after(timing: StepTiming, eager: StepTiming) -> str:
    if timing.name == EAGER or timing.reason:
        return timing.reason
    steps = break_even(timing.compile_seconds, eager.milliseconds, timing.milliseconds)
    return "never" if steps is None else f"{steps:,.0f} steps"


def run_times(timings: Sequence[StepTiming], micro_batches: int) -> dict[str, Any]:
    """Time from the start, by micro-batch: where lines cross, compiling has paid."""
    ends = [
        {"mode": timing.name, "micro-batch": count, "seconds": timing.seconds_for(count)}
        for timing in timings
        for count in (0, micro_batches)
    ]
    return {
        "title": "training time",
        "width": 480,
        "data": {"values": ends},
        "mark": "line",
        "encoding": {
            "x": {"field": "micro-batch", "type": "quantitative"},
            "y": {"field": "seconds", "type": "quantitative"},
            "color": {"field": "mode", "type": "nominal", "sort": None},
        },
    }
