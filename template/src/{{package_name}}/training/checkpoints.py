"""Checkpoints: when they are written, how, and finding and reading them again."""

from __future__ import annotations

import errno
import math
import os
import pickle
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from ..data.module import UniversalDataModule
from ..data.order import Position
from ..errors import TrainingError
from .adapter import UniversalModelAdapter
from .interruption import Interruption
from .objective import Monitor
from .run_folder import RunFolder, latest_run

FOLDER = "checkpoints"
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
VAL_LOSS = "val/loss"
MODEL_PREFIX = "model."  # the adapter's name for the network


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
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))
            partial.replace(path)
        # torch.save raises RuntimeError where the file under it could not take everything
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else _free_space(path.parent)
            partial.unlink(missing_ok=True)
            raise TrainingError(
                f"cannot write {path}: {reason}; earlier checkpoints are intact"
            ) from error


def _free_space(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    return f"{os.strerror(errno.ENOSPC)} ({free / 2**20:.0f} MiB are free)"


class RunCheckpoints(Checkpoint):
    """Writes `last` and `best`, at the ends of accumulation windows and of epochs only.

    Inside a window a checkpoint could not be exact, because it holds no accumulated gradients.
    ModelCheckpoint does save there after a resume, hence this callback.

    Args:
        run_folder: the run's folder, in which checkpoints have their own.
        every_n_steps: optimizer steps between two `last`; None for one an epoch.
        interruption: ends the run behind its last checkpoint, once all processes agree to stop.
    """

    def __init__(
        self, run_folder: RunFolder, every_n_steps: int | None, interruption: Interruption
    ) -> None:
        self.run_folder = run_folder
        self.every_n_steps = every_n_steps
        self.interruption = interruption
        self.best_score: float | None = None
        self.best_loss = math.inf
        self.best_step = -1

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.run_folder.path / FOLDER / LAST

    @property
    def best(self) -> Path:
        """The one with the best validation result."""
        return self.run_folder.path / FOLDER / BEST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run killed between `last` and `best` gets its `best` now."""
        if self.best_step == trainer.global_step and trainer.is_global_zero and self.last.exists():
            self._link_best()

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
        """Save `last`, and `best` where it is."""
        assert isinstance(pl_module, UniversalModelAdapter)
        is_best = self.note(pl_module.monitor, trainer.callback_metrics, trainer.global_step)
        trainer.save_checkpoint(self.last)
        if is_best and trainer.is_global_zero:
            self._link_best()
        trainer.strategy.barrier("best checkpoint")
        if pl_module.stop_agreed:
            self.interruption.stop(trainer.global_step, self.run_folder.path)

    def note(self, monitor: Monitor, found: Mapping[str, Tensor], step: int) -> bool:
        """Take a validation's metrics for the best so far, if they are; says whether.

        Ties go to the lower loss: it goes on falling where a share of hits cannot rise.
        """
        if monitor.column not in found:
            return False  # no validation has been
        score, loss = float(found[monitor.column]), float(found[VAL_LOSS])
        if score == self.best_score:
            is_best = loss < self.best_loss
        else:
            before = monitor.worst if self.best_score is None else self.best_score
            is_best = monitor.is_better(score, before)
        if is_best:
            self.best_score, self.best_loss, self.best_step = score, loss, step
        return is_best

    def _link_best(self) -> None:
        """A second name costs no time and no space; checkpoints are replaced, never changed."""
        partial = self.best.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        try:
            os.link(self.last, partial)
        except OSError:  # not every file system has hard links
            shutil.copyfile(self.last, partial)
        partial.replace(self.best)

    def state_dict(self) -> dict[str, Any]:
        """What was best so far."""
        return {
            "best_score": self.best_score,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]
        # checkpoints of earlier versions do not hold it, and keep what they found best
        self.best_loss = state_dict.get("best_loss", -math.inf)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Translate the position where batch size or number of processes has changed.

        Lightning counts micro-batches, of which there are more or fewer then. The position moves
        back to a window's start; the few samples between are trained on twice, and it says so.
        """
        assert isinstance(pl_module, UniversalModelAdapter)
        key = UniversalDataModule.__qualname__
        if key not in checkpoint:
            return
        position = Position(**checkpoint[key])
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        shape = data.epoch_shape(trainer.world_size)
        done = shape.micro_batches_at(position.samples, trainer.accumulate_grad_batches)
        if repeated := position.samples - shape.used(done):
            warnings.warn(
                f"{repeated} samples of this epoch are trained on twice: batch size, accumulation "
                "or processes have changed, and a window has to start anew",
                stacklevel=2,
            )
        if position.samples:
            loops = checkpoint["loops"]["fit_loop"]
            _reopen_epoch(loops["epoch_progress"], loops["epoch_loop.batch_progress"])
            # saved in on_train_batch_end, when all but the last counter had been raised
            current = loops["epoch_loop.batch_progress"]["current"]
            current.update(ready=done, started=done, processed=done, completed=done - 1)
        checkpoint[key] = asdict(Position(position.epoch, shape.used(done)))


def _reopen_epoch(epochs: dict[str, Any], batches: dict[str, Any]) -> None:
    """Let Lightning go on inside an epoch that max_steps had ended, instead of with the next.

    Such a checkpoint was saved in on_train_epoch_end, when one more counter had been raised than in
    on_train_batch_end, of both epochs and batches.
    """
    if epochs["total"]["processed"] == epochs["total"]["completed"]:
        return
    for counts in epochs.values():
        counts["processed"] -= 1
    batches["total"]["completed"] -= 1
    batches["is_last_batch"] = False


def find_checkpoint(output_dir: str | Path, place: str = "last", which: str = "last") -> Path:
    """A checkpoint file.

    Args:
        output_dir: folder of all runs.
        place: `last` for the newest run, a run's folder, or the file itself.
        which: `best` or `last` of that run. A `last` that is damaged gives way to the one before.

    Raises:
        TrainingError: no such run or file.
    """
    run_dir = latest_run(output_dir) if place == "last" else Path(place)
    if not run_dir.is_dir():
        if not run_dir.is_file():
            raise TrainingError(f"{run_dir} does not exist; give last, a run's folder or a file")
        return run_dir
    path = run_dir / FOLDER / f"{which}.ckpt"
    previous = run_dir / FOLDER / PREVIOUS
    if which == "last" and previous.exists():
        problem = "it is missing"
        if path.is_file():
            try:
                read_checkpoint(path)
            except TrainingError as error:
                problem = str(error)
            else:
                return path
        warnings.warn(
            f"going back to {previous}, the checkpoint before {path}: {problem}", stacklevel=2
        )
        return previous
    if not path.is_file():
        raise TrainingError(f"{path} does not exist; a run writes it at the end of its first epoch")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Weights and plain data of a checkpoint; nothing in it is executed.

    Raises:
        TrainingError: missing, cut off, or no checkpoint of this project.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{path} is damaged: {reason}") from error
    if "task_spec" not in checkpoint:
        raise TrainingError(f"{path} is not a checkpoint of this project")
    return checkpoint
