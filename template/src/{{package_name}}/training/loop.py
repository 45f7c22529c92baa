"""train(): one run from configuration to checkpoints, metrics and report."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich.console import Console
from torch import nn

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data.description import describe, tell
from ..data.module import UniversalDataModule
from ..data.splits import Splits
from ..errors import ConfigError, ExportError, ProjectError, Stopped, TrainingError
from ..pretrained.settings import settled, settled_as_before
from ..pretrained.sources import Source, find_source
from ..task import TaskSpec
from .activation_checkpointing import activations_again, check_blocks
from .adapter import UniversalModelAdapter
from .averaging import WeightAverage
from .batch_norm import check_batch_norm
from .checkpoints import find_checkpoint, mend_best, read_checkpoint
from .distributed import (
    SameEverywhere,
    check_processes,
    choose_strategy,
    ending_together,
    processes,
)
from .failures import explain
from .first_weights import load_first_weights, warn_of_random_weights
from .frozen_features import KeepFrozenFeatures
from .hardware import check_hardware
from .interruption import Interrupted, Interruption
from .labels import warn_of_labels
from .metrics import MetricsTracker
from .objective import Monitor, Objective, monitor_of
from .objectives import OBJECTIVES
from .optimizers import find_optimizer
from .pace import Pace
from .parameters import keeps_statistics
from .probe import check_kind, materialise, probe
from .progress import RunProgress
from .resume import Resumed, check_fits, check_settings, find_resumed, inexactness
from .run_checkpoints import AtomicCheckpointIO, Record, RunCheckpoints
from .run_folder import RunFolder, new_run_dir, note_slurm_start
from .schedule import RunLength
from .speaker import process_rank
from .trackers import Outcome
from .trivial import warn_if_trivial

IN_EVERY_MICRO_BATCH = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        run_dir: its folder.
        best, last: checkpoints in it; best by `monitor` on the validation samples.
        best_epoch, best_step: after which epoch, from 1, and optimizer step the best one was saved.
        best_by: what made it the best, for people.
        metrics: validation metrics of the best checkpoint.
        trivial_metrics: those of the answer that looks at no input.
        optimizer_steps: how many were taken in all.
        bundle: its folder, where `export_bundle` asks for one; None on processes but the first.
    """

    run_dir: Path
    best: Path
    last: Path
    metrics: dict[str, float]
    trivial_metrics: dict[str, float]
    optimizer_steps: int
    best_epoch: int
    best_step: int
    best_by: str
    bundle: Path | None = None


def train(config: TrainingConfig, console: Console | None = None) -> TrainingResult:
    """Train what the configuration says on the data it names, and export it where that says so.

    Raises:
        ConfigError: settings this machine cannot follow.
        DataError: data that cannot be read, all bad samples named.
        ModelError: the network cannot be found or built.
        TrainingError: nothing to resume, or the run cannot go on.
        ExportError: formats that `export_bundle` asks for failed; the run itself is whole.
    """
    console = console or Console(stderr=True)
    return _with_bundle(run_training(config, console), config, console, config.model)


def run_training(
    config: TrainingConfig, console: Console, splits: Splits | None = None
) -> TrainingResult:
    """`train` without the bundle.

    Args:
        config: settings of the run.
        console: where progress goes.
        splits: of `data.check.with_facts`, where whoever calls has read the data and told of them.
    """
    check_hardware(config)
    say = _speaker(console)
    resumed = find_resumed(config)
    source, config = _settled(config, resumed, say)
    data = UniversalDataModule.from_config(config, _processor(resumed, source), splits)
    if process_rank() == 0 and splits is None and data.splits is not None:
        tell(describe(data.splits), console)
    seed_everything(config.seed, verbose=False)
    architecture = _architecture(config, data.task_spec, resumed)
    network = architecture.build()
    if source is not None:
        config = load_first_weights(network, source, config, data, say, architecture)
    elif resumed is None:
        warn_of_random_weights(config, data, say)
    return _fit(network, config, data, console, resumed, architecture)


def _architecture(
    config: TrainingConfig, task_spec: TaskSpec, resumed: Resumed | None
) -> Architecture:
    """What builds the network: for a run that goes on, what did before."""
    if resumed is not None and resumed.architecture is not None:
        names = ("model", "model_args", "drop_path")
        now = config.to_dict()
        if all(resumed.config[name] == now[name] for name in names if name in resumed.config):
            return resumed.architecture
    return Architecture.resolve(config.model, task_spec, network_args(config))


def fine_tune(
    model: nn.Module,
    config: TrainingConfig,
    *,
    n_epochs: int | None = None,
    gradient_accumulation_steps: int | None = None,
    splits: Any = None,
) -> TrainingResult:
    """Train a network you hold in your hands; its parameters are changed in place.

    They are those of the last step then; a bundle that `config.export_bundle` asks for holds those
    of the best checkpoint.

    Args:
        model: the network; its outputs must fit the data's classes.
        config: everything else.
        n_epochs: wins over `config.epochs`.
        gradient_accumulation_steps: deprecated since 3.5; set it in the configuration.
        splits: rows already read, which are not opened before training; otherwise `config.data`
            is read.

    Raises:
        as `train`.
    """
    if gradient_accumulation_steps is not None:
        config = _deprecated_accumulation(config, gradient_accumulation_steps)
    if n_epochs is not None:
        config = replace(config, epochs=n_epochs)
    check_hardware(config)
    if config.drop_path:
        raise ConfigError(["drop_path: this network is built already; build it with what it takes"])
    console = Console(stderr=True)
    say = _speaker(console)
    resumed = find_resumed(config)
    source, config = _settled(config, resumed, say)
    if splits is None:
        data = UniversalDataModule.from_config(config, _processor(resumed, source))
    else:
        task_spec = TaskSpec.from_config(config, splits)
        data = UniversalDataModule(task_spec, config.batch_size, config=config, splits=splits)
    seed_everything(config.seed, verbose=False)
    if source is not None:
        config = load_first_weights(model, source, config, data, say)
    result = _fit(model, config, data, console, resumed, None)
    return _with_bundle(result, config, console, model)


def _with_bundle(
    result: TrainingResult, config: TrainingConfig, console: Console, model: str | nn.Module
) -> TrainingResult:
    """What training left behind, and a bundle of its best checkpoint where one is asked for."""
    if not config.export_bundle or process_rank() != 0:
        return result
    from ..export.of_run import export_checkpoint  # which needs this package

    try:
        bundle = export_checkpoint(result.best, config, console, model)
    except ExportError as error:
        error.add_note(f"training had ended and {result.run_dir} is whole")
        raise
    return replace(result, bundle=bundle)


def _settled(
    config: TrainingConfig, resumed: Resumed | None, say: Callable[[str], None]
) -> tuple[Source | None, TrainingConfig]:
    """Where a new run's weights come from, and the settings with all that these bring along.

    A run that goes on has its weights, and has settled the rest.
    """
    if resumed is not None:
        return None, settled_as_before(config, resumed.config)
    source = find_source(config)
    return source, config if source is None else settled(config, source, say)


def _processor(resumed: Resumed | None, source: Source | None) -> Any:
    """What made the inputs of the weights there are; None to learn one from the data."""
    if resumed is not None:
        return resumed.load_processor()
    return None if source is None else source.load_processor()


def _speaker(console: Console) -> Callable[[str], None]:
    """Prints single lines, on the first process."""

    def say(line: str) -> None:
        if process_rank() == 0:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say


def _deprecated_accumulation(config: TrainingConfig, steps: int) -> TrainingConfig:
    configured = config.gradient_accumulation_steps
    default = TrainingConfig.defaults()["gradient_accumulation_steps"]
    advice = f"write TrainingConfig(gradient_accumulation_steps={steps}) instead"
    if configured not in (default, steps):
        warnings.warn(
            f"gradient_accumulation_steps={steps} is ignored: the configuration says {configured}. "
            f"The argument is deprecated; {advice}",
            DeprecationWarning,
            stacklevel=3,
        )
        return config
    warnings.warn(
        f"the argument gradient_accumulation_steps is deprecated; {advice}",
        DeprecationWarning,
        stacklevel=3,
    )
    return replace(config, gradient_accumulation_steps=steps)


test_fine_tuning = fine_tune
"""Name of `fine_tune` in 3.4."""

fine_tune.__test__ = False  # type: ignore[attr-defined]  # or pytest takes that name for a test


class StepLimit(Callback):
    """Ends training after the run's optimizer steps, with a validation even inside an epoch.

    Lightning's own max_steps would skip that validation, and the run would have no best checkpoint.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step."""
        assert isinstance(pl_module, UniversalModelAdapter)
        if trainer.global_step >= pl_module.run_length.steps:
            trainer.should_stop = True


def leave_alone_in_micro_batches(callback: Callback) -> None:
    """Let Lightning skip the hooks of every micro-batch that a callback does nothing in.

    It calls those of all callbacks that can be called: of nine callbacks forty in a micro-batch, of
    which six do something.
    """
    for name in IN_EVERY_MICRO_BATCH:
        if not is_overridden(name, callback):
            setattr(callback, name, None)


class NoProfiler(PassThroughProfiler):
    """Measures nothing, and takes no time over it.

    Lightning enters a block to be profiled some ninety times in a micro-batch. Its own idle
    profiler makes a generator for each of them, which costs more than a small network's forward.
    """

    _block: contextlib.nullcontext[Any] = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.nullcontext[Any]:  # type: ignore[override]
        """The same empty block for all."""
        return self._block


def _fit(
    model: nn.Module,
    config: TrainingConfig,
    data: UniversalDataModule,
    console: Console,
    resumed: Resumed | None,
    architecture: Architecture | None,
) -> TrainingResult:
    check_kind(model)
    materialise(model, data, () if resumed is None else resumed.kept)
    if resumed is not None:
        check_settings(resumed, config)
        check_fits(resumed, data, model)
    task_spec = data.task_spec
    # before there is a run's folder: it may refuse the settings
    objective = OBJECTIVES[task_spec.task_type].configured(task_spec, config)
    configured = monitor_of(objective, task_spec, config)
    find_optimizer(config)
    if config.activation_checkpointing:
        check_blocks(model)
    # what its checkpoints were judged by; balanced_sampling and others would change it
    monitor = (resumed.monitor if resumed is not None else None) or configured
    pace = Pace()
    run_folder = RunFolder(config, data, pace)
    interruption = Interruption(console)
    saves = _saves(config, run_folder, interruption, resumed)
    trainer = _trainer(
        config,
        [
            SameEverywhere(config, data),
            run_folder,
            StepLimit(),
            *([KeepFrozenFeatures(data, console)] if config.freeze else []),
            pace,
            RunProgress(console, saves, pace),
            *([WeightAverage(config.ema_decay)] if config.ema_decay else []),
            saves,
            interruption,
        ],
    )
    check_processes(trainer, data)
    # only the trainer knows how many processes share an epoch, and so how long the run is
    length = _run_length(config, data, trainer.world_size, resumed)
    adapter = _adapter(
        model,
        config,
        data,
        objective,
        length,
        trainer.world_size,
        monitor,
        console,
        architecture,
    )
    data.trainer = trainer  # as its own `fit` sets it later
    if config.num_workers == "auto" and data.workers:
        adapter.log_line(f"num_workers: {data.workers}, by the cores of this machine")
    check_batch_norm(adapter, data, trainer.world_size)
    _probe(adapter, data, trainer)
    if process_rank() == 0:
        assert data.splits is not None
        warn_of_labels(task_spec, config, data.splits)
    reason = _why_ended(resumed, config, length)
    run_folder.path = _run_dir(config, resumed, reason)
    run_folder.is_new = resumed is None or resumed.run_dir is None
    if resumed is not None and reason is not None:
        adapter.log_line(f"this run has ended already; {reason}")
        adapter.plan.release()
        if process_rank() == 0:
            note_slurm_start(run_folder.path)
            adapter.tracker.attach(run_folder.path, settings=config.to_dict())
            adapter.tracker.complete(resumed.rows)
            adapter.tracker.close()
        last, steps = resumed.path, resumed.steps
    else:
        if resumed is not None:
            if monitor != configured:
                adapter.log_line(
                    f"the best checkpoint goes by {monitor.column} as before, and not by "
                    f"{configured.column}: a run keeps its monitor"
                )
            _say_how_it_goes_on(resumed, config, data, trainer.world_size, adapter)
        _run(trainer, adapter, data, resumed, config, interruption, run_folder)
        last, steps = saves.last, trainer.global_step
    best = find_checkpoint("", str(run_folder.path), "best")
    reached = read_checkpoint(best)
    metrics, trivial_metrics = reached["metrics"], reached["trivial_metrics"]
    if process_rank() == 0:
        warn_if_trivial(metrics, trivial_metrics, monitor)
    return TrainingResult(
        run_folder.path,
        best,
        last,
        metrics,
        trivial_metrics,
        steps,
        reached["epoch"] + 1,
        reached["global_step"],
        monitor.column,
    )


def _probe(adapter: UniversalModelAdapter, data: UniversalDataModule, trainer: Trainer) -> None:
    try:
        probe(adapter, data, trainer)
    except RuntimeError as error:  # of the device, not of the network
        explained = explain(error, adapter.config)
        if explained is None:
            raise
        raise explained from error


def _run_dir(config: TrainingConfig, resumed: Resumed | None, ended: str | None) -> Path:
    """The resumed run's folder, or a new one, which only the first process makes and knows."""
    if resumed is not None and resumed.run_dir is not None:
        return resumed.run_dir
    if resumed is not None and ended is not None:
        raise TrainingError(f"{resumed.path} has nothing left to train; {ended}")
    return new_run_dir(config) if process_rank() == 0 else Path()


def _saves(
    config: TrainingConfig,
    run_folder: RunFolder,
    interruption: Interruption,
    resumed: Resumed | None,
) -> RunCheckpoints:
    """Checkpoints of the run, and what its folder has already, of which the first takes care."""
    run_id, before = uuid4().hex, None
    if resumed is not None and resumed.run_dir is not None:
        run_id = resumed.run_id
        before = mend_best(resumed.run_dir) if process_rank() == 0 else None
    return RunCheckpoints(
        run_folder,
        run_id,
        config.checkpoint_every_n_steps,
        config.early_stopping_patience,
        interruption,
        before,
    )


def _run_length(
    config: TrainingConfig, data: UniversalDataModule, world_size: int, resumed: Resumed | None
) -> RunLength:
    micro_batches = data.micro_batches_per_epoch(world_size)
    if resumed is None:
        return RunLength.from_config(config, micro_batches)
    epoch, start = data.epoch_shape(world_size).go_on(resumed.position)
    return RunLength.from_config(
        config,
        micro_batches,
        taken=resumed.steps,
        epoch=epoch,
        micro_batch=start.micro_batch,
    )


def _why_ended(resumed: Resumed | None, config: TrainingConfig, length: RunLength) -> str | None:
    """What to change for a run to go on that owes nothing any more; None for one that does."""
    if resumed is None:
        return None
    if length.steps <= resumed.steps:
        return "give more epochs or max_steps to go on"
    if Record.of(resumed.record).is_over(config.early_stopping_patience):
        return "it got no better; give a larger early_stopping_patience, or 0, to go on"
    return None


def _say_how_it_goes_on(
    resumed: Resumed,
    config: TrainingConfig,
    data: UniversalDataModule,
    world_size: int,
    adapter: UniversalModelAdapter,
) -> None:
    if resumed.run_dir is None:
        adapter.log_line(f"{resumed.path} lies in no run's folder: a new run begins from it")
    if line := inexactness(resumed, config, data, world_size):
        adapter.log_line(line)


def _adapter(
    model: nn.Module,
    config: TrainingConfig,
    data: UniversalDataModule,
    objective: Objective,
    length: RunLength,
    world_size: int,
    monitor: Monitor,
    console: Console,
    architecture: Architecture | None,
) -> UniversalModelAdapter:
    assert data.splits is not None
    tracker = MetricsTracker(
        project_name=Path.cwd().name,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        steps_per_epoch=data.micro_batches_per_epoch(world_size),
        trackers=config.trackers,
    )
    return UniversalModelAdapter(
        model,
        config,
        data.processor,
        task_spec=data.task_spec,
        tracker=tracker,
        run_length=length,
        trivial_logits=objective.trivial_logits(data.task_spec, data.splits.train),
        monitor=monitor,
        log=_speaker(console),
        architecture=architecture,
    )


def _run(
    trainer: Trainer,
    adapter: UniversalModelAdapter,
    data: UniversalDataModule,
    resumed: Resumed | None,
    config: TrainingConfig,
    interruption: Interruption,
    run_folder: RunFolder,
) -> None:
    """Fit, and say in one line what people can mend."""
    path = resumed.path if resumed is not None else None
    outcome: Outcome = "failed"
    try:
        with (
            interruption.handling(),
            ending_together(trainer),
            computing_as(config, adapter.model),
        ):
            trainer.fit(adapter, data, ckpt_path=path, weights_only=True)
        interruption.check(trainer.global_step, run_folder.path)
        outcome = "finished"
    # Lightning makes a SystemExit of a KeyboardInterrupt
    except (Interrupted, Stopped, KeyboardInterrupt, SystemExit):
        outcome = "interrupted"
        raise
    except (ProjectError, RuntimeError, OSError) as error:
        explained = explain(error, config)
        if explained is None:
            raise
        raise explained from error
    finally:
        adapter.plan.release()
        adapter.tracker.close(outcome)
        with contextlib.suppress(OSError):  # a full disk has been reported by then
            run_folder.note(trainer, outcome)


@contextlib.contextmanager
def computing_as(config: TrainingConfig, network: nn.Module) -> Iterator[None]:
    """Inside, float32 matrices are as precise as configured, and activations computed again or not.

    Afterwards all is as before: an export is not to suffer.
    """
    before = torch.get_float32_matmul_precision()
    again = activations_again(network) if config.activation_checkpointing else None
    torch.set_float32_matmul_precision(config.matmul_precision)
    try:
        with again or contextlib.nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _trainer(config: TrainingConfig, callbacks: list[Callback]) -> Trainer:
    devices, nodes = processes(config)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's advice about workers, loggers and resuming does not fit what this project does
    for advice in (
        "does not have many workers",
        "to a non-empty list",
        "`LeafSpec`",
        "your dataloader is not resumable",
        "`isinstance\\(treespec",
        "Consider setting `persistent_workers",
        "You have overridden `(on_before_batch_transfer|transfer_batch_to_device)`",
    ):
        warnings.filterwarnings("ignore", message=f".*{advice}")
    if config.freeze or keeps_statistics(config):
        warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode")
    for callback in callbacks:
        leave_alone_in_micro_batches(callback)
    return Trainer(
        accelerator=config.accelerator,
        strategy=choose_strategy(config),
        devices=devices,
        num_nodes=nodes,
        precision=config.precision,
        max_epochs=config.epochs,
        accumulate_grad_batches=config.gradient_accumulation_steps,
        gradient_clip_val=config.max_grad_norm or None,
        deterministic=config.deterministic,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        profiler=NoProfiler(),
        logger=False,  # the tracker hands rows over itself, once per optimizer step
        enable_checkpointing=True,
        default_root_dir=config.output_dir,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
