"""`bench train`: what a training step costs uncompiled and in each mode, and what that means."""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..architecture import Architecture
from ..config import TrainingConfig
from ..data.module import Batch, UniversalDataModule
from ..forward import LABELS
from .adapter import UniversalModelAdapter
from .compilation import break_even

MODES = ("default", "reduce-overhead", "max-autotune")
EAGER = "none"
ROUNDS = 9


@dataclass(frozen=True)
class StepTiming:
    """One way to run a training step.

    Attributes:
        mode: of torch.compile, or none.
        milliseconds: median time of forward, backward and optimizer step on one micro-batch.
        compile_seconds: time the first step took more than that.
        reason: why it could not be compiled; empty where it was.
    """

    mode: str
    milliseconds: float
    compile_seconds: float = 0.0
    reason: str = ""


class _Candidate:
    """A network of its own, compiled in one mode, with an optimizer."""

    def __init__(self, mode: str, config: TrainingConfig, data: UniversalDataModule) -> None:
        seed_everything(config.seed, verbose=False)
        model = Architecture.resolve(config.model, data.task_spec).build()
        device = "cuda" if torch.cuda.is_available() and config.accelerator != "cpu" else "cpu"
        configured = TrainingConfig.from_dict(config.to_dict() | {"compile_mode": mode})
        adapter = UniversalModelAdapter(
            model, configured, data.processor, task_spec=data.task_spec
        ).to(device)
        self.mode = mode
        self.adapter = adapter
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
        self.autocast = torch.autocast(
            device,
            torch.bfloat16 if config.precision == "bf16-mixed" else torch.float16,
            enabled=config.precision != "32-true",
        )

    def step(self, batch: Batch) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if loss.is_cuda:
            torch.cuda.synchronize(loss.device)
        return time.perf_counter() - start

    def _loss(self, batch: Batch) -> Tensor:
        batch = {name: value.to(self.adapter.device) for name, value in batch.items()}
        with self.autocast:
            objective = self.adapter.objective
            return objective.loss_sum(self.adapter(batch), batch[LABELS]) / len(batch[LABELS])


def measure_steps(config: TrainingConfig, rounds: int = ROUNDS) -> list[StepTiming]:
    """Time a training step without the compiler and in each of its modes, interleaved.

    Raises:
        DataError: the data cannot be read.
        ModelError: the network cannot be found or built.
    """
    data = UniversalDataModule.from_config(config)
    batch = next(iter(data.train_dataloader()))
    first: dict[str, float] = {}
    candidates = []
    for mode in (EAGER, *MODES):
        candidate = _Candidate(mode, config, data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table gives the reason
            first[mode] = candidate.step(batch)
        candidates.append(candidate)
    seconds: dict[str, list[float]] = {candidate.mode: [] for candidate in candidates}
    for _ in range(rounds):
        for candidate in candidates:
            seconds[candidate.mode].append(candidate.step(batch))
    timings = []
    for candidate in candidates:
        median = statistics.median(seconds[candidate.mode])
        compilation = candidate.adapter.compile_hook.compilation
        reason = compilation.reason if compilation else ""
        compiling = max(0.0, first[candidate.mode] - median) if candidate.mode != EAGER else 0.0
        timings.append(StepTiming(candidate.mode, 1000 * median, compiling, reason))
    return timings


def choose_mode(timings: list[StepTiming], micro_batches: int) -> str:
    """The mode in which a run of that many micro-batches ends first, compiling included."""
    usable = [timing for timing in timings if not timing.reason]
    return min(usable, key=lambda t: t.compile_seconds + micro_batches * t.milliseconds / 1000).mode


def bench_train(config: TrainingConfig, console: Console) -> None:
    """Print a table, write a picture, and name the mode for the configured run."""
    timings = measure_steps(config)
    eager = timings[0].milliseconds
    data = UniversalDataModule.from_config(config)
    micro_batches = config.epochs * data.micro_batches_per_epoch(world_size=1)
    if config.max_steps is not None:
        micro_batches = min(micro_batches, config.max_steps * config.gradient_accumulation_steps)
    table = Table("compile_mode", "ms a step", "speed", "compiling", "pays after", title="training")
    for timing in timings:
        pays = break_even(timing.compile_seconds, eager, timing.milliseconds)
        table.add_row(
            timing.mode,
            f"{timing.milliseconds:.1f}",
            f"{eager / timing.milliseconds:.2f}x",
            f"{timing.compile_seconds:.1f} s" if timing.mode != EAGER else "",
            timing.reason or (f"{pays:,.0f} steps" if pays and timing.mode != EAGER else ""),
        )
    console.print(table)
    mode = choose_mode(timings, micro_batches)
    console.print(
        f"for {micro_batches:,} micro-batches of {config.batch_size}: --compile_mode {mode}",
        highlight=False,
        markup=False,
    )
    picture = Path(config.output_dir) / "bench-training.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    _draw(timings, micro_batches).savefig(picture, dpi=150)
    console.print(f"picture: {picture}", highlight=False, markup=False)


def _draw(timings: list[StepTiming], micro_batches: int) -> Figure:
    """Time from the start, by micro-batch: where lines cross, compiling has paid."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for timing in timings:
        end = timing.compile_seconds + micro_batches * timing.milliseconds / 1000
        axes.plot([0, micro_batches], [timing.compile_seconds, end], label=timing.mode)
    axes.set(title="training time", xlabel="micro-batch", ylabel="seconds", ylim=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
