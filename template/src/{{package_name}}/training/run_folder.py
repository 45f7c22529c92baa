"""A run's folder: making it, agreeing on it, and what it keeps from the first moment on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

from ..atomic import write_whole
from ..config import TrainingConfig, read_mapping
from ..data.description import write_description
from ..data.module import UniversalDataModule
from ..errors import ConfigError, TrainingError
from .adapter import UniversalModelAdapter
from .checkpoints import Judgement
from .pace import Pace
from .runs import (
    FOLDER,
    RUNNING,
    SETTINGS_FILE,
    BestEpoch,
    RunRecord,
    environment,
    started,
)

SLURM_FILE = "slurm.json"


class RunFolder(Callback):
    """Agrees on the run's folder once all processes know each other.

    Args:
        config, data: what the folder keeps of them, for whoever resumes or exports the run.
        pace: measures the epochs.

    Attributes:
        path: the folder; only the first process has it before `setup`.
        is_new: no run has been here before.
    """

    def __init__(self, config: TrainingConfig, data: UniversalDataModule, pace: Pace) -> None:
        self.path, self.is_new = Path(), True
        self.config, self.data, self.pace = config, data, pace
        self.record, self._since = RunRecord(), time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Everyone writes where the first process says; what is written once, it writes."""
        self.path = Path(trainer.strategy.broadcast(str(self.path)))
        assert isinstance(pl_module, UniversalModelAdapter)
        pl_module.tracker.attach(
            self.path,
            settings=self.config.to_dict(),
            writes=trainer.is_global_zero,
            is_new=self.is_new,
        )
        if trainer.is_global_zero:
            assert self.data.splits is not None
            replace(self.config, resume=None).save(self.path / SETTINGS_FILE)
            note_slurm_start(self.path)
            modality, splits = self.data.modality, self.data.splits
            modality.save_processor(splits.processor, self.path)
            modality.keep_example(splits, self.data.task_spec, self.path)
            write_description(splits, self.path)
            self._open_record(trainer)

    def _open_record(self, trainer: Trainer) -> None:
        kept = RunRecord() if self.is_new else RunRecord.read(self.path)
        began = kept.started or datetime.now().astimezone().isoformat(timespec="seconds")
        device = trainer.strategy.root_device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.record = replace(
            kept,
            started=began,
            outcome=RUNNING,
            environment=environment(name, trainer.world_size),
        )
        self._since = time.monotonic() - kept.seconds
        self.record.write(self.path)

    def note_best(self, judged: Judgement, trainer: Trainer) -> None:
        """Say where the best checkpoint comes from; `note` keeps it.

        Args:
            judged: what the validation says.
            trainer: knows epoch and step.
        """
        self.record = replace(
            self.record,
            best=BestEpoch(
                judged.metric,
                judged.mode,
                judged.score,
                trainer.current_epoch + 1,
                trainer.global_step,
            ),
        )

    def note_epoch(self, trainer: Trainer) -> None:
        """Keep that an epoch has ended, and how it went; the first process does."""
        pace = self.pace.of_epoch(trainer)
        before = [one for one in self.record.paces if one.epoch < pace.epoch]
        self.record = replace(self.record, epochs=pace.epoch, paces=(*before, pace))
        self.note(trainer)

    def note(self, trainer: Trainer, outcome: str = RUNNING) -> None:
        """Keep how far the run has come; the first process does.

        Args:
            trainer: knows the step.
            outcome: how the run ended, where it has.
        """
        if not trainer.is_global_zero or not self.record.started:
            return
        adapter = trainer.lightning_module
        assert isinstance(adapter, UniversalModelAdapter)
        self.record = replace(
            self.record,
            outcome=outcome,
            seconds=round(time.monotonic() - self._since, 3),
            optimizer_steps=trainer.global_step,
            compilation=adapter.compile_hook.facts(),
        )
        self.record.write(self.path)


def new_run_dir(config: TrainingConfig) -> Path:
    """Make a folder for a new run.

    Raises:
        TrainingError: it cannot be made.
    """
    if SLURMEnvironment.detect():
        name = _slurm_name()
    else:
        name = os.environ.get("RUN_STAMP") or datetime.now().strftime("%Y%m%d-%H%M%S")
    wanted = Path(config.output_dir) / name
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


def note_slurm_start(run_dir: Path) -> None:
    """Keep with a run at which start of its SLURM job it was last taken up; else do nothing."""
    if SLURMEnvironment.detect():
        write_whole(run_dir / SLURM_FILE, json.dumps({"restarts": _slurm_restarts()}))


def slurm_run_dir(config: TrainingConfig) -> Path | None:
    """The run that a requeue of this SLURM job interrupted; None outside of one.

    A job keeps its number when it is requeued, and takes its commands again from the first. Those
    that have the settings of a run go on with it, once after each requeue: the same command given
    twice in a job makes two runs.
    """
    if not SLURMEnvironment.detect():
        return None
    settings = replace(config, resume=None).to_dict()
    runs = [*Path(config.output_dir).glob(_slurm_name())]
    runs += Path(config.output_dir).glob(f"{_slurm_name()}-*")
    for run_dir in sorted(runs, key=started):
        is_older = _restarts_of(run_dir) < _slurm_restarts()
        if is_older and any(run_dir.glob(f"{FOLDER}/*.ckpt")) and _settings(run_dir) == settings:
            return run_dir
    return None


def _settings(run_dir: Path) -> Mapping[str, Any] | None:
    try:
        return read_mapping(run_dir / SETTINGS_FILE)
    except ConfigError:  # damaged
        return None


def _restarts_of(run_dir: Path) -> int:
    """How often its job had been requeued when a run was last started or gone on with."""
    try:
        return int(json.loads((run_dir / SLURM_FILE).read_text(encoding="utf-8"))["restarts"])
    except (OSError, ValueError, KeyError, TypeError):  # damaged: it goes on with the next requeue
        return 0


def _slurm_name() -> str:
    return f"slurm-{os.environ['SLURM_JOB_ID']}"


def _slurm_restarts() -> int:
    """How often this job has been requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))
