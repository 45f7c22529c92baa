"""`bench train`: what a training step costs uncompiled and in each mode, and what that means.

The training engine itself runs the configured training, in processes of their own: for each mode
one that compiles into an empty cache, as a first run does, and one that finds there what the first
has left. The latter and an uncompiled one then train in turns.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from rich.console import Console

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data.module import Batch, UniversalDataModule, load_modality
from ..data.splits import Splits
from ..data.workers import settled_workers
from ..errors import ProjectError, TrainingError
from ..forward import LABELS
from ..task import TaskSpec
from ..terminal import telling, waiting
from ..training.activation_checkpointing import check_blocks
from ..training.adapter import UniversalModelAdapter
from ..training.averaging import WeightAverage
from ..training.compilation import CACHE_VARIABLE, break_even
from ..training.frozen_features import KeepFrozenFeatures
from ..training.hardware import inference_device
from ..training.loop import NoProfiler, computing_as
from ..training.probe import check_kind, materialise, probe
from ..training.schedule import RunLength
from .timing import Timing, percentiles, print_table, save_picture

EAGER = "none"
MODES = (EAGER, "default", "reduce-overhead", "max-autotune")

# all modes take so many turns; fewer where steps are long
MOST_TURNS, FEWEST_TURNS = 9, 3
TURNS_SECONDS = 90.0
# micro-batches that are timed in a turn, at least
TIMED = 4

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class StepTiming(Timing):
    """A training step on one micro-batch, in a mode of torch.compile or none.

    All that training does is in it: forward, backward, clipping, the optimizer's step where a
    window ends.

    Attributes:
        compile_seconds: time that compiling took, with an empty cache.
        reason: why it could not be compiled; empty where it was.
        warm_seconds: time that compiling took once more, in another process with that cache.
        loading_ms: time between two steps, for the next micro-batch; median.
    """

    compile_seconds: float = 0.0
    reason: str = ""
    warm_seconds: float = 0.0
    loading_ms: float = 0.0

    def seconds_for(self, micro_batches: float, *, warm: bool = False) -> float:
        """Time of a run of that length, compiling included.

        Args:
            micro_batches: of the run.
            warm: an earlier run has compiled already.
        """
        compiling = self.warm_seconds if warm else self.compile_seconds
        return compiling + micro_batches * self.milliseconds / 1000


# --- In a process of its own ---------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """What some micro-batches took.

    Attributes:
        samples: in each micro-batch.
        steps: milliseconds of each training step.
        loading: milliseconds before each of them, from the end of the one before.
        compile_seconds: time that compiling took; 0 where nothing was compiled.
        reason: why nothing was compiled, though it should have been; empty otherwise.
    """

    samples: list[int]
    steps: list[float]
    loading: list[float]
    compile_seconds: float
    reason: str


class TakeTurns(Callback):
    """Holds training until it is asked for micro-batches, and tells what they took.

    Args:
        asked: gives numbers of micro-batches, takes a `Turn` for each; training ends with 0.
    """

    def __init__(self, asked: Connection[Turn | str, int]) -> None:
        self.asked = asked
        self._left = 1  # the first micro-batch compiles, and nobody has to ask for it
        self._ended: float | None = None
        self._clear()

    def _clear(self) -> None:
        self._samples: list[int] = []
        self._steps: list[float] = []
        self._loading: list[float] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Begin to time."""
        self._began = _now(pl_module.device)
        if self._ended is not None:
            self._loading.append(1000 * (self._began - self._ended))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Tell what was asked for, and wait for the next turn."""
        assert isinstance(pl_module, UniversalModelAdapter)
        self._ended = _now(pl_module.device)
        self._samples.append(len(batch[LABELS]))
        self._steps.append(1000 * (self._ended - self._began))
        self._left -= 1
        if self._left:
            return
        self.asked.send(self._told(pl_module))
        self._left = self.asked.recv()
        trainer.should_stop = self._left == 0
        self._clear()
        self._ended = None

    def _told(self, adapter: UniversalModelAdapter) -> Turn:
        compilation, reason = adapter.compile_hook.compilation, ""
        if adapter.config.compile_mode is not None and not adapter.compile_hook.is_active:
            reason = compilation.reason if compilation else ""
        if adapter.features is not None:
            reason = "what is frozen is computed once, and the few layers behind it go uncompiled"
        seconds = compilation.seconds if compilation else 0.0
        return Turn(self._samples, self._steps, self._loading, seconds, reason)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def train_in_turns(
    config: TrainingConfig, splits: Splits, asked: Connection[Turn | str, int]
) -> None:
    """Train as configured, but without leaving anything behind, when asked.

    Args:
        config: of the training, its `compile_mode` included.
        splits: rows of the data.
        asked: as `TakeTurns` has it; also takes the text of an error that a user can mend.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks is interrupted, too
    warnings.simplefilter("ignore")  # the table gives the reason
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        train_as_configured(config, splits, TakeTurns(asked))
    except EOFError:  # nobody asks any more
        return
    except ProjectError as error:
        asked.send(str(error))


def train_as_configured(config: TrainingConfig, splits: Splits, turns: TakeTurns) -> None:
    """The training that is configured, on one device, held in the callback's hands.

    Raises:
        ProjectError: the network cannot be found, built or trained.
    """
    seed_everything(config.seed, verbose=False)
    task_spec = TaskSpec.from_config(config, splits)
    data = UniversalDataModule(task_spec, config.batch_size, config=config, splits=splits)
    network = Architecture.resolve(config.model, task_spec, network_args(config)).build()
    check_kind(network)
    materialise(network, data)
    if config.activation_checkpointing:
        check_blocks(network)
    adapter = UniversalModelAdapter(
        network,
        config,
        data.processor,
        task_spec=task_spec,
        run_length=RunLength.from_config(config, data.micro_batches_per_epoch(world_size=1)),
    )
    trainer = Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=config.precision,
        max_epochs=-1,
        accumulate_grad_batches=config.gradient_accumulation_steps,
        gradient_clip_val=config.max_grad_norm or None,
        deterministic=config.deterministic,
        callbacks=[
            *([KeepFrozenFeatures(data, Console(quiet=True))] if config.freeze else []),
            *([WeightAverage(config.ema_decay)] if config.ema_decay else []),
            turns,
        ],
        profiler=NoProfiler(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    probe(adapter, data, trainer)
    with computing_as(config, network):
        trainer.fit(adapter, data)


class Trainee:
    """A process that trains in turns.

    Args:
        config: of the training, its `compile_mode` included.
        splits: rows of the data.
        cache: folder for all that is compiled.
    """

    def __init__(self, config: TrainingConfig, splits: Splits, cache: Path) -> None:
        self.mode = config.compile_mode or EAGER
        processes = multiprocessing.get_context("spawn")
        self._asking, asked = processes.Pipe()
        self.process = processes.Process(target=train_in_turns, args=(config, splits, asked))
        with _environment({CACHE_VARIABLE: str(cache), "TMPDIR": str(cache)}):
            self.process.start()
        asked.close()

    def turn(self) -> Turn:
        """What the micro-batches took that were asked for: at first one, for which all is compiled.

        Raises:
            TrainingError: the process has ended, or cannot train; with what it said.
        """
        try:
            turn: Turn | str = self._asking.recv()
        except EOFError as error:
            self.process.join()
            raise TrainingError(
                f"the process that trained with compile_mode {self.mode} ended with code "
                f"{self.process.exitcode}"
            ) from error
        if isinstance(turn, str):
            raise TrainingError(turn)
        return turn

    def take(self, micro_batches: int) -> Turn:
        """Train on so many micro-batches."""
        self._asking.send(micro_batches)
        return self.turn()

    def end(self) -> None:
        """Stop training."""
        self._asking.close()
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = os.environ.copy()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- The comparison ------------------------------------------------------------------------------


def measure_steps(
    config: TrainingConfig,
    data: UniversalDataModule,
    rounds: int = MOST_TURNS,
    say: Callable[[str], None] = lambda line: None,
) -> list[StepTiming]:
    """Time training steps without the compiler and in each of its modes, in turns.

    Args:
        config: of the training.
        data: read already.
        rounds: turns of each mode; fewer where steps are long.
        say: takes a line about what is done.

    Raises:
        TrainingError: the network cannot be found, built or trained.
    """
    assert data.splits is not None
    # one process, and all that is frozen rests: the longer part of such a run
    is_dear = load_modality(TaskSpec.modality).IS_DEAR
    workers = settled_workers(config, inference_device(config), 1, is_dear=is_dear)
    alone = replace(
        config,
        devices=1,
        num_nodes=1,
        strategy="auto",
        unfreeze_epoch=None,
        num_workers=workers,
    )
    compiled, failed, trainees = dict[str, tuple[float, float]](), list[StepTiming](), ExitStack()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, trainees:

        def start(mode: str) -> Trainee:
            configured = TrainingConfig.from_dict(alone.to_dict() | {"compile_mode": mode})
            assert data.splits is not None
            (cache := Path(folder) / mode).mkdir(exist_ok=True)
            trainee = Trainee(configured, data.splits, cache)
            trainees.callback(trainee.end)
            return trainee

        with waiting(say, "training uncompiled"):
            kept = {EAGER: start(EAGER)}
            kept[EAGER].turn()
        for mode in modes_here(config):
            with waiting(say, f"compiling ({mode}), with an empty cache and once more"):
                cold = start(mode)
                first = cold.turn()
                cold.end()
                if first.reason:
                    failed.append(StepTiming(mode, 0.0, 0, reason=first.reason))
                    continue
                kept[mode] = start(mode)
                compiled[mode] = first.compile_seconds, kept[mode].turn().compile_seconds
        with waiting(say, f"training in turns ({', '.join(kept)})"):
            turns = _take_turns(kept, alone, rounds)
    timings = [
        _step_timing(mode, taken, *compiled.get(mode, (0.0, 0.0))) for mode, taken in turns.items()
    ]
    return timings + failed


def modes_here(config: TrainingConfig) -> list[str]:
    """Modes of torch.compile that differ on this machine: CUDA graphs need a GPU."""
    gpu = inference_device(config).type == "cuda"
    return [mode for mode in MODES if mode != EAGER and (gpu or mode != "reduce-overhead")]


def _take_turns(
    trainees: dict[str, Trainee], config: TrainingConfig, rounds: int
) -> dict[str, list[Turn]]:
    """Turns of each mode, without those micro-batches that were loaded in another's turn."""
    window = config.gradient_accumulation_steps
    timed = window * -(-TIMED // window)
    ahead = 1 + 2 * int(config.num_workers)
    turns: dict[str, list[Turn]] = {mode: [] for mode in trainees}
    started = time.monotonic()
    for number in range(rounds):
        if number >= FEWEST_TURNS and time.monotonic() - started > TURNS_SECONDS:
            break
        for mode, trainee in trainees.items():
            turn = trainee.take(ahead + timed)
            turns[mode].append(
                replace(
                    turn,
                    samples=turn.samples[ahead:],
                    steps=turn.steps[ahead:],
                    loading=turn.loading[ahead - 1 :],
                )
            )
    return turns


def _step_timing(mode: str, turns: Sequence[Turn], cold: float, warm: float) -> StepTiming:
    # the mean of whole windows, as only the last micro-batch of each has an optimizer step
    return StepTiming(
        mode,
        statistics.median(statistics.mean(turn.steps) for turn in turns),
        max(chain.from_iterable(turn.samples for turn in turns)),
        tuple(chain.from_iterable(turn.steps for turn in turns)),
        compile_seconds=cold,
        warm_seconds=warm,
        loading_ms=statistics.median(chain.from_iterable(turn.loading for turn in turns)),
    )


def choose_mode(timings: Sequence[StepTiming], micro_batches: int, *, warm: bool = False) -> str:
    """The mode in which a run of that many micro-batches ends first, compiling included.

    Args:
        timings: of all modes.
        micro_batches: of the run.
        warm: an earlier run has compiled already.
    """
    usable = [timing for timing in timings if not timing.reason]
    return min(usable, key=lambda timing: timing.seconds_for(micro_batches, warm=warm)).name


def bench_train(config: TrainingConfig, console: Console) -> None:
    """Compare eager and compiled training steps, and say which suits the configured run.

    Raises:
        DataError: the data cannot be read.
        TrainingError: the network cannot be found, built or trained.
    """
    data = UniversalDataModule.from_config(config)
    timings = measure_steps(config, data, say=telling(console))
    usable = [timing for timing in timings if not timing.reason]
    micro_batches = _micro_batches(config, data)
    columns = {
        **percentiles(usable, 95),
        "compiles": [_seconds(timing.compile_seconds) for timing in usable],
        "again": [_seconds(timing.warm_seconds) for timing in usable],
        "pays after": [_pays_after(timing, usable[0]) for timing in usable],
    }
    print_table("training", usable, console, columns)
    for line in verdict(timings, micro_batches, config):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    save_picture("training", run_times(usable, micro_batches), config, console)


def verdict(
    timings: Sequence[StepTiming], micro_batches: int, config: TrainingConfig
) -> Iterator[str]:
    """What could not be compiled, what suits the configured run, and what takes its time."""
    for timing in timings:
        if timing.reason:
            yield f"{timing.name} goes uncompiled: {timing.reason}"
    if not {timing.name for timing in timings}.issuperset(MODES):
        yield "reduce-overhead needs a GPU; without one it is the same as default"
    choice = choose_mode(timings, micro_batches)
    later = choose_mode(timings, micro_batches, warm=True)
    run = f"for {micro_batches:,} micro-batches of {config.batch_size}"
    again = "" if later == choice else f"; once compiled here, --compile_mode {later}"
    yield f"{run}: --compile_mode {choice}{again}"
    chosen = next(timing for timing in timings if timing.name == choice)
    share = chosen.loading_ms / (chosen.loading_ms + chosen.milliseconds)
    if share > 0.5:
        loads = 1000 * chosen.samples / chosen.loading_ms
        yield (
            f"bottleneck: loading data, {share:.0%} of the time: {loads:,.0f} samples a second; "
            "`bench data` shows what takes it"
        )
    else:
        yield (
            f"bottleneck: the training step, {1 - share:.0%} of the time: "
            f"{chosen.per_second:,.0f} samples a second; loading data takes the rest"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds else ""


def _micro_batches(config: TrainingConfig, data: UniversalDataModule) -> int:
    """How many the configured run would take."""
    length = RunLength.from_config(config, data.micro_batches_per_epoch(world_size=1))
    assert length.micro_batches is not None
    return length.micro_batches


def _pays_after(timing: StepTiming, eager: StepTiming) -> str:
    if timing.name == EAGER:
        return ""
    steps = break_even(timing.compile_seconds, eager.milliseconds, timing.milliseconds)
    return "never" if steps is None else f"{steps:,.0f} steps"


def run_times(timings: Sequence[StepTiming], micro_batches: int) -> dict[str, Any]:
    """Time of a run by its length, both on scales of ratios: where lines cross, compiling has paid.

    Args:
        timings: of modes that can be used; the first is uncompiled.
        micro_batches: of the configured run, which gets a line of its own.
    """
    pays = [
        break_even(t.compile_seconds, timings[0].milliseconds, t.milliseconds) for t in timings[1:]
    ]
    last = max(10 * micro_batches, *(3 * steps for steps in pays if steps is not None), 1)
    points = [
        {
            "mode": timing.name,
            "warm": warm,
            "compiled": "by an earlier run" if warm else "in this run",
            "micro-batches": count,
            "seconds": timing.seconds_for(count, warm=warm),
        }
        for timing in timings
        for warm in ((False,) if timing.name == EAGER else (False, True))
        for count in np.geomspace(1, last, 60).tolist()
    ]
    of_ratios = {"type": "quantitative", "scale": {"type": "log"}}
    x = {"field": "micro-batches", **of_ratios}
    return {
        "title": "training time",
        "width": 480,
        "data": {"values": points},
        "layer": [
            {
                "mark": "line",
                "encoding": {
                    "x": x,
                    "y": {"field": "seconds", **of_ratios},
                    "color": {"field": "mode", "type": "nominal", "sort": None},
                    "strokeDash": {"field": "compiled", "type": "nominal", "sort": None},
                },
            },
            {
                "data": {"values": [{"micro-batches": micro_batches}]},
                "encoding": {"x": x},
                "layer": [
                    {"mark": {"type": "rule", "color": "gray"}},
                    {
                        "mark": {"type": "text", "align": "right", "dx": -4, "baseline": "top"},
                        "encoding": {"y": {"value": 4}, "text": {"value": "configured run"}},
                    },
                ],
            },
        ],
    }
