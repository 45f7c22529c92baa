"""Folders of runs: making one, agreeing on it, and finding the newest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

from ..atomic import write_whole
from ..config import TrainingConfig, read_mapping
from ..data.description import write_description
from ..data.module import UniversalDataModule
from ..errors import ConfigError, TrainingError
from .adapter import UniversalModelAdapter
from .run_facts import RunFacts

SETTINGS_FILE = "config.yaml"
FOLDER = "checkpoints"
SLURM_FILE = "slurm.json"


class RunFolder(Callback):
    """Agrees on the run's folder once all processes know each other.

    Args:
        config, data: what the folder keeps of them, for whoever resumes or exports the run.

    Attributes:
        path: the folder; only the first process has it before `setup`.
        is_new: no run has been here before.
    """

    def __init__(self, config: TrainingConfig, data: UniversalDataModule) -> None:
        self.path, self.is_new = Path(), True
        self.config, self.data = config, data

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

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the run runs on."""
        if trainer.is_global_zero:
            RunFacts.now(trainer.strategy.root_device, trainer.world_size).save(self.path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what came of compiling, which is known by the first validation."""
        assert isinstance(pl_module, UniversalModelAdapter)
        facts, compilation = RunFacts.load(self.path), pl_module.compile_hook.compilation
        if trainer.is_global_zero and facts is not None and compilation is not None:
            replace(facts, compilation=str(compilation)).save(self.path)


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


def latest_run(output_dir: str | Path) -> Path:
    """The newest run's folder.

    Raises:
        TrainingError: there is none.
    """
    runs = [path for path in Path(output_dir).glob("*") if _is_run(path)]
    if not runs:
        raise TrainingError(f"{output_dir} holds no run; start one with `train`")
    return max(runs, key=started)


def _is_run(path: Path) -> bool:
    return (path / SETTINGS_FILE).is_file() or any(path.glob(f"{FOLDER}/*.ckpt"))


def started(run_dir: Path) -> int:
    """When it was started, or gone on with, in nanoseconds."""
    settings = run_dir / SETTINGS_FILE
    return (settings if settings.is_file() else run_dir).stat().st_mtime_ns
