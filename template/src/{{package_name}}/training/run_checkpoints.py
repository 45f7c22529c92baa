"""When a run writes checkpoints, which of them is best, and when nothing better comes any more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from ..data.module import UniversalDataModule
from ..data.order import Position
from .adapter import UniversalModelAdapter
from .checkpoints import (
    BEST,
    LAST,
    PREVIOUS,
    Judgement,
    RunSurvey,
    keep_copy,
    whole_checkpoint,
)
from .interruption import Interruption
from .objective import Monitor
from .resume import move_loops
from .run_folder import RunFolder
from .runs import FOLDER

VAL_LOSS = "val/loss"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames, so that a name never stands for half a checkpoint.

    The `last` before it stays as `previous`, in case a machine dies before its disk has both.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            TrainingError: the disk is full or may not be written; earlier checkpoints are intact.
        """
        path = Path(path)
        with whole_checkpoint(path) as partial:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))


@dataclass
class Record:
    """What validations have said of a run up to some step.

    Attributes:
        best: the best of them.
        epochs_since: validations after it.
    """

    best: Judgement | None = None
    epochs_since: int = 0

    def note(self, judged: Judgement) -> None:
        """One more validation."""
        if judged.beats(self.best):
            self.best, self.epochs_since = judged, 0
        else:
            self.epochs_since += 1

    def is_over(self, patience: int) -> bool:
        """Whether early stopping ends the run here; never with a patience of 0."""
        return 0 < patience <= self.epochs_since

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """As a checkpoint keeps it, plain data."""
        best = kept["best"]
        return cls(None if best is None else Judgement(**best), kept["epochs_since"])


class RunCheckpoints(Checkpoint):
    """Writes `last` and `best`, at the ends of accumulation windows and of epochs only.

    Inside a window a checkpoint could not be exact, because it holds no accumulated gradients.
    ModelCheckpoint does save there after a resume, hence this callback. It ends a run early, too:
    Lightning's EarlyStopping keeps the patience of the checkpoint, and ends a run at a NaN.

    Args:
        run_folder: the run's folder, in which checkpoints have their own.
        run_id: names the run in its checkpoints.
        every_n_steps: optimizer steps between two `last`; None for one an epoch.
        patience: epochs without a better validation result before training ends; 0 for never.
        interruption: ends the run behind its last checkpoint, once all processes agree to stop.
        before: the checkpoints that a resumed run has already.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        run_id: str,
        every_n_steps: int | None,
        patience: int,
        interruption: Interruption,
        before: RunSurvey | None = None,
    ) -> None:
        self.run_folder = run_folder
        self.run_id = run_id
        self.every_n_steps = every_n_steps
        self.patience = patience
        self.interruption = interruption
        self.record = Record()
        self.serial = before.last.serial if before is not None and before.last is not None else 0
        # the file's: better than the record's where a run resumes from before it, worse where that
        # one was lost
        self._kept = before.best.judged if before is not None and before.best is not None else None
        self._judged: Judgement | None = None
        self._judged_at = -1

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.run_folder.path / FOLDER / LAST

    @property
    def best(self) -> Path:
        """The one with the best validation result."""
        return self.run_folder.path / FOLDER / BEST

    def is_best(self, monitor: Monitor, found: Mapping[str, Tensor]) -> bool:
        """Whether a validation is better than all before, and makes the best checkpoint.

        Args:
            monitor: what decides.
            found: what the validation says.
        """
        judged = _judgement(monitor, found)
        return judged is not None and judged.beats(self._kept)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save inside an epoch, when it is time or the run has to stop."""
        assert isinstance(pl_module, UniversalModelAdapter)
        if pl_module.window.is_open or batch_idx + 1 >= trainer.num_training_batches:
            return  # the end of an epoch has its own hook, after validation
        step = trainer.global_step
        due = self.every_n_steps is not None and step % self.every_n_steps == 0
        if pl_module.stop_agreed or (due and not trainer.should_stop):
            trainer.save_checkpoint(self.last)
        if pl_module.stop_agreed:
            self.interruption.stop(step, self.run_folder.path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `last`, and `best` where it is; end a run that gets no better."""
        assert isinstance(pl_module, UniversalModelAdapter)
        judged = self.note(pl_module.monitor, trainer.callback_metrics, trainer.global_step)
        trainer.save_checkpoint(self.last)
        if judged is not None and judged.beats(self._kept):
            self._kept = judged
            self.run_folder.note_best(judged, trainer)
            if trainer.is_global_zero:
                keep_copy(self.last, self.best)
        self.run_folder.note_epoch(trainer)
        trainer.strategy.barrier("best checkpoint")
        if pl_module.stop_agreed:
            self.interruption.stop(trainer.global_step, self.run_folder.path)
        if self.record.is_over(self.patience):
            trainer.should_stop = True

    def note(self, monitor: Monitor, found: Mapping[str, Tensor], step: int) -> Judgement | None:
        """Take down what a validation says of the weights; None where there has been none."""
        if (judged := _judgement(monitor, found)) is None:
            return None
        self._judged, self._judged_at = judged, step
        self.record.note(judged)
        return judged

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint says whose it is and what it is worth."""
        self.serial += 1
        judged = self._judged if self._judged_at == trainer.global_step else None
        checkpoint["run_id"] = self.run_id
        checkpoint["serial"] = self.serial
        checkpoint["judged"] = None if judged is None else asdict(judged)
        checkpoint["record"] = asdict(self.record)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the record, and where batch size and processes put the position now."""
        self.record = Record.of(checkpoint["record"])
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        position = Position(**checkpoint[UniversalDataModule.__qualname__])
        epoch, start = data.epoch_shape(trainer.world_size).go_on(position)
        move_loops(checkpoint["loops"]["fit_loop"], epoch, start.micro_batch)


def _judgement(monitor: Monitor, found: Mapping[str, Tensor]) -> Judgement | None:
    if monitor.column not in found:
        return None
    score, loss = float(found[monitor.column]), float(found[VAL_LOSS])
    return Judgement(monitor.column, monitor.mode, score, loss)
