"""train(): one run from configuration to checkpoints, metrics and report."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import warnings
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from torch import nn

from ..architecture import Architecture
from ..config import TrainingConfig
from ..data.module import UniversalDataModule
from ..errors import ConfigError, DataError, TrainingError
from ..task import TaskSpec
from . import checkpoints
from .adapter import UniversalModelAdapter
from .checkpoints import AtomicCheckpointIO, RunCheckpoints, find_checkpoint, read_checkpoint
from .distributed import choose_strategy, process_rank, processes
from .interruption import Interruption
from .metrics import MetricsTracker
from .progress import RunProgress
from .schedule import steps_per_epoch

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        run_dir: its folder.
        best, last: checkpoints in it; best by the task's own metric on the validation samples.
        metrics: validation metrics of the best checkpoint.
        optimizer_steps: how many were taken in all.
    """

    run_dir: Path
    best: Path
    last: Path
    metrics: dict[str, float]
    optimizer_steps: int


def train(config: TrainingConfig, console: Console | None = None) -> TrainingResult:
    """Train what the configuration says on the data it names.

    Raises:
        ConfigError: settings this machine cannot follow.
        DataError: data that cannot be read, all bad samples named.
        ModelError: the network cannot be found or built.
        TrainingError: nothing to resume, or the run cannot go on.
    """
    console = console or Console(stderr=True)
    _check_hardware(config)
    data = UniversalDataModule.from_config(config)
    check_samples(data, config)
    seed_everything(config.seed, verbose=False)
    architecture = Architecture.resolve(config.model, data.task_spec)
    return _fit(architecture.build(), config, data, console)


def fine_tune(
    model: nn.Module,
    config: TrainingConfig,
    *,
    n_epochs: int | None = None,
    gradient_accumulation_steps: int | None = None,
    splits: Any = None,
) -> TrainingResult:
    """Train a network you hold in your hands; its parameters are changed in place.

    Args:
        model: the network; its outputs must fit the data's classes.
        config: everything else.
        n_epochs: wins over `config.epochs`.
        gradient_accumulation_steps: deprecated since 3.5; set it in the configuration.
        splits: rows already read; otherwise `config.data` is read.

    Raises:
        as `train`.
    """
    if gradient_accumulation_steps is not None:
        config = _deprecated_accumulation(config, gradient_accumulation_steps)
    if n_epochs is not None:
        config = replace(config, epochs=n_epochs)
    _check_hardware(config)
    if splits is None:
        data = UniversalDataModule.from_config(config)
        check_samples(data, config)
    else:
        task_spec = TaskSpec.from_config(config, splits.output_names, splits.processor)
        data = UniversalDataModule(task_spec, config.batch_size, config=config, splits=splits)
    seed_everything(config.seed, verbose=False)
    return _fit(model, config, data, Console(stderr=True))


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


class RunFolder(Callback):
    """Agrees on the run's folder once all processes know each other.

    Args:
        path: the folder; only the first process has it before `setup`.
        config, data, tracker, saves: what goes to the folder, or needs to know it.
    """

    def __init__(
        self,
        path: Path | None,
        config: TrainingConfig,
        data: UniversalDataModule,
        tracker: MetricsTracker,
        saves: RunCheckpoints,
    ) -> None:
        self.path = path or Path()
        self.config, self.data = config, data
        self.tracker, self.saves = tracker, saves

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Everyone writes where the first process says; what is written once, it writes."""
        self.path = Path(trainer.strategy.broadcast(str(self.path)))
        self.saves.folder = self.path / checkpoints.FOLDER
        self.tracker.attach(
            self.path, settings=self.config.to_dict(), writes=trainer.is_global_zero
        )
        if trainer.is_global_zero:
            assert self.data.splits is not None
            replace(self.config, resume=None).save(self.path / "config.yaml")
            modality, splits = self.data.modality, self.data.splits
            modality.save_processor(splits.processor, self.path)
            modality.keep_example(splits, self.data.task_spec, self.path)


class StepLimit(Callback):
    """Ends training at `total_steps`, with a validation even inside an epoch.

    Lightning's own max_steps would skip that validation, and the run would have no best checkpoint.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step."""
        assert isinstance(pl_module, UniversalModelAdapter)
        if trainer.global_step >= pl_module.total_steps:
            trainer.should_stop = True


def _fit(
    model: nn.Module, config: TrainingConfig, data: UniversalDataModule, console: Console
) -> TrainingResult:
    resume_from = _checkpoint_to_resume(config)
    folder = resume_from.parent.parent if resume_from else None
    if folder is None and process_rank() == 0:
        folder = _new_run_dir(config)
    devices, nodes = processes(config)
    interruption = Interruption(console)
    saves = RunCheckpoints(config.checkpoint_every_n_steps, interruption)
    tracker = MetricsTracker(
        project_name=Path.cwd().name,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        trackers=config.trackers,
    )

    def log(line: str) -> None:
        if process_rank() == 0:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    adapter = UniversalModelAdapter(
        model, config, data.processor, task_spec=data.task_spec, tracker=tracker, log=log
    )
    if folder is not None:
        saves.folder = folder / checkpoints.FOLDER
    run_folder = RunFolder(folder, config, data, tracker, saves)
    callbacks: list[Callback] = [run_folder, StepLimit(), RunProgress(console), saves, interruption]
    if config.early_stopping_patience:
        callbacks.append(
            EarlyStopping(
                adapter.monitor,
                mode=adapter.objective.mode,
                patience=config.early_stopping_patience,
            )
        )
    trainer = _trainer(config, callbacks, devices, nodes)
    micro_batches = data.micro_batches_per_epoch(trainer.world_size)
    tracker.steps_per_epoch = micro_batches
    adapter.total_micro_batches = config.epochs * micro_batches
    adapter.total_steps = config.epochs * steps_per_epoch(
        micro_batches, config.gradient_accumulation_steps
    )
    if config.max_steps is not None:
        adapter.total_steps = min(adapter.total_steps, config.max_steps)
    if resume_from and read_checkpoint(resume_from)["global_step"] >= adapter.total_steps:
        console.print(
            "this run has ended already; give more epochs or max_steps to go on", highlight=False
        )
    else:
        _run(trainer, adapter, data, resume_from, config)
    best = saves.best if saves.best.exists() else saves.last
    steps = read_checkpoint(saves.last)["global_step"]
    return TrainingResult(
        run_folder.path, best, saves.last, read_checkpoint(best)["metrics"], steps
    )


def _run(
    trainer: Trainer,
    adapter: UniversalModelAdapter,
    data: UniversalDataModule,
    resume_from: Path | None,
    config: TrainingConfig,
) -> None:
    """Fit, and say in one line what people can mend."""
    effective = config.batch_size * config.gradient_accumulation_steps
    try:
        trainer.fit(adapter, data, ckpt_path=resume_from, weights_only=True)
    except torch.OutOfMemoryError as error:
        smaller = max(1, config.batch_size // 2)
        raise TrainingError(
            f"the GPU's memory is full with micro-batches of {config.batch_size} samples; "
            f"--batch_size {smaller} --gradient_accumulation_steps {-(-effective // smaller)} "
            f"keeps the effective batch of {effective} samples on a process"
        ) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise TrainingError(
            f"cannot write {error.filename or config.output_dir}: {error.strerror}; "
            "earlier checkpoints are intact"
        ) from error
    finally:
        adapter.tracker.close()


def _checkpoint_to_resume(config: TrainingConfig) -> Path | None:
    """Where to go on: as configured, or where SLURM's requeue interrupted this very job."""
    if config.resume:
        return find_checkpoint(config.output_dir, config.resume)
    requeued = _slurm_run_dir(config)
    if requeued is not None and (requeued / checkpoints.FOLDER).is_dir():
        return find_checkpoint(config.output_dir, str(requeued))
    return None


def _slurm_run_dir(config: TrainingConfig) -> Path | None:
    """A job keeps its number when it is requeued, so its folder is named after that."""
    if not SLURMEnvironment.detect():
        return None
    return Path(config.output_dir) / f"slurm-{os.environ['SLURM_JOB_ID']}"


def _trainer(
    config: TrainingConfig, callbacks: list[Callback], devices: int | str, nodes: int
) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's advice about workers, loggers and resuming does not fit what this project does
    for advice in (
        "does not have many workers",
        "to a non-empty list",
        "`LeafSpec`",
        "your dataloader is not resumable",
        "`isinstance\\(treespec",
        "Consider setting `persistent_workers",
        "You have overridden `on_before_batch_transfer`",
    ):
        warnings.filterwarnings("ignore", message=f".*{advice}")
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
        logger=False,  # the tracker hands rows over itself, once per optimizer step
        enable_checkpointing=True,
        default_root_dir=config.output_dir,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )


def check_samples(data: UniversalDataModule, config: TrainingConfig) -> None:
    """Open every sample before the first epoch, unless these very files were opened before.

    Raises:
        DataError: naming the samples that cannot be read.
    """
    assert data.splits is not None
    if process_rank() != 0:
        return
    stamp = Path(config.output_dir) / ".checked"
    state = _files_state(Path(config.data))
    if state is not None and stamp.exists() and stamp.read_text(encoding="utf-8") == state:
        return
    problems = [
        problem
        for rows in (data.splits.train, data.splits.val)
        for problem in data.modality.find_problems(rows)
    ]
    if problems:
        shown = "\n".join(problems[:10])
        rest = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(
            f"{len(problems)} samples in {config.data} cannot be read:\n{shown}{rest}\n"
            "Replace or remove them; `data check` lists them all"
        )
    if state is not None:
        try:
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(state, encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write {stamp}: {error.strerror}") from error


def _files_state(data: Path) -> str | None:
    """Digest of path, size and time of every file that belongs to the data; None off the disk."""
    root = data if data.is_dir() else data.parent  # a manifest's images lie beside it
    if not data.exists() or Path.cwd().is_relative_to(root.resolve()):
        return None
    digest = hashlib.blake2b(str(data.resolve()).encode(), digest_size=16)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _check_hardware(config: TrainingConfig) -> None:
    gpu = torch.cuda.is_available()
    problems = []
    if config.accelerator == "gpu" and not gpu:
        problems.append("accelerator: this machine has no GPU that torch can use; give auto or cpu")
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        problems.append("accelerator: this machine has no Apple GPU (mps); give auto or cpu")
    if config.precision == "16-mixed" and not gpu:
        problems.append("precision: 16-mixed needs a GPU; give bf16-mixed or 32-true")
    if config.strategy == "fsdp" and not gpu:
        problems.append("strategy: fsdp needs GPUs; give ddp or auto")
    if problems:
        raise ConfigError(problems)


def _new_run_dir(config: TrainingConfig) -> Path:
    wanted = _slurm_run_dir(config)
    if wanted is None:
        stamp = os.environ.get("RUN_STAMP") or datetime.now().strftime("%Y%m%d-%H%M%S")
        wanted = Path(config.output_dir) / stamp
    run_dir, number = wanted, 1
    while True:
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            number += 1
            run_dir = wanted.with_name(f"{wanted.name}-{number}")
        except OSError as error:
            raise TrainingError(f"cannot create {run_dir}: {error.strerror}") from error
