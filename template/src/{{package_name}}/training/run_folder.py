"""Folders of runs: making one, agreeing on it, and finding the newest."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

from ..config import TrainingConfig
from ..data.description import write_description
from ..data.module import UniversalDataModule
from ..errors import TrainingError
from .adapter import UniversalModelAdapter


class RunFolder(Callback):
    """Agrees on the run's folder once all processes know each other.

    Args:
        path: the folder; only the first process has it before `setup`.
        config, data: what the folder keeps of them, for whoever resumes or exports the run.
    """

    def __init__(
        self, path: Path | None, config: TrainingConfig, data: UniversalDataModule
    ) -> None:
        self.path = path or Path()
        self.config, self.data = config, data

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Everyone writes where the first process says; what is written once, it writes."""
        self.path = Path(trainer.strategy.broadcast(str(self.path)))
        assert isinstance(pl_module, UniversalModelAdapter)
        pl_module.tracker.attach(
            self.path, settings=self.config.to_dict(), writes=trainer.is_global_zero
        )
        if trainer.is_global_zero:
            assert self.data.splits is not None
            replace(self.config, resume=None).save(self.path / "config.yaml")
            modality, splits = self.data.modality, self.data.splits
            modality.save_processor(splits.processor, self.path)
            modality.keep_example(splits, self.data.task_spec, self.path)
            write_description(splits, self.path)


def new_run_dir(config: TrainingConfig) -> Path:
    """Make a folder for a new run.

    Raises:
        TrainingError: it cannot be made.
    """
    wanted = slurm_run_dir(config)
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


def slurm_run_dir(config: TrainingConfig) -> Path | None:
    """The folder of a SLURM job; None outside of one.

    A job keeps its number when it is requeued, so its folder is named after that.
    """
    if not SLURMEnvironment.detect():
        return None
    return Path(config.output_dir) / f"slurm-{os.environ['SLURM_JOB_ID']}"


def latest_run(output_dir: str | Path) -> Path:
    """The newest run's folder.

    Raises:
        TrainingError: there is none.
    """
    runs = [path.parent for path in Path(output_dir).glob("*/config.yaml")]
    if not runs:
        raise TrainingError(f"{output_dir} holds no run; start one with `train`")
    return max(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns)
