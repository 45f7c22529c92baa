"""Progress of the whole run: one line per epoch, and between them a live one on a terminal.

Where nobody sees a terminal, a line comes every 30 seconds at least.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..terminal import SILENT_SECONDS
from .adapter import UniversalModelAdapter
from .metrics import LOSS
from .pace import Pace
from .run_checkpoints import RunCheckpoints
from .runs import EpochPace
from .summary import shown

REFRESH_SECONDS = 0.2

BEST = "★"

# a larger share of the time that is spent on waiting for data is worth saying
MUCH_WAITING = 0.5


class RunProgress(ProgressBar):
    """Epoch, mean loss, validation metrics, duration, samples per second and time left.

    Lightning's own bars are fed by `self.log`, which costs more than a small step.

    Args:
        console: where to draw or print.
        saves: knows whether an epoch is the best so far.
        pace: measures the epoch.
    """

    def __init__(self, console: Console, saves: RunCheckpoints, pace: Pace) -> None:
        super().__init__()
        self.console = console
        self.saves, self.pace = saves, pace
        self._live: Progress | None = None
        self._shown_at = 0.0
        self._epoch_seconds: float | None = None

    def disable(self) -> None:
        """Lightning calls this on every process but the first."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin; a resumed run begins where it stands."""
        assert isinstance(pl_module, UniversalModelAdapter)
        self._shown_at = time.monotonic()
        if self.console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._live.add_task("", total=pl_module.run_length.steps, figures="")
            self._live.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show where the run is."""
        assert isinstance(pl_module, UniversalModelAdapter)
        if self._is_due():
            loss = pl_module.tracker.last_values.get(LOSS)
            figures = [
                f"step {trainer.global_step:,} of {pl_module.run_length.steps:,}",
                *([] if loss is None else [f"train loss {loss:.4f}"]),
                speed(self.pace.of_epoch(trainer)),
            ]
            self._show(trainer, pl_module, figures)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show how far the validation is."""
        if self._is_due():
            [batches] = trainer.num_val_batches
            self._show(trainer, pl_module, [f"validating {batch_idx + 1:,} of {batches:,}"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line that stays."""
        assert isinstance(pl_module, UniversalModelAdapter)
        pace = self.pace.of_epoch(trainer)
        self._epoch_seconds = pace.seconds
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        if (loss := pl_module.tracker.epoch_loss) is not None:
            parts.append(f"train loss {loss:.4f}")
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and name.count("/") == 1:  # those of classes are many
                parts.append(f"{name.replace('/', ' ')} {shown(float(value))}")
        if self.saves.is_best(pl_module.monitor, trainer.callback_metrics):
            parts.append(BEST)
        parts += [duration(pace.seconds), speed(pace)]
        parts += self._left(trainer, pl_module)
        self._print(parts)
        self._shown_at = time.monotonic()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was, however the run ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _is_due(self) -> bool:
        now = time.monotonic()
        due = now - self._shown_at > (SILENT_SECONDS if self._live is None else REFRESH_SECONDS)
        if due:
            self._shown_at = now
        return due

    def _show(self, trainer: Trainer, pl_module: LightningModule, figures: list[str]) -> None:
        assert isinstance(pl_module, UniversalModelAdapter)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if self._live is None:
            self._print([epoch, *figures, *self._left(trainer, pl_module)])
            return
        self._live.update(
            self._task,
            completed=trainer.global_step,
            description=epoch,
            figures="  ".join([*figures, *self._left(trainer, pl_module)]),
        )
        self._live.refresh()

    def _print(self, parts: list[str]) -> None:
        self.console.print("  ".join(parts), markup=False, highlight=False, soft_wrap=True)

    def _left(self, trainer: Trainer, pl_module: UniversalModelAdapter) -> list[str]:
        """Time left, once a whole epoch with its validation says what one takes."""
        if self._epoch_seconds is None or trainer.global_step >= pl_module.run_length.steps:
            return []
        steps = pl_module.run_length.steps - trainer.global_step
        per_epoch = -(-trainer.num_training_batches // trainer.accumulate_grad_batches)
        left = timedelta(seconds=round(steps / per_epoch * self._epoch_seconds))
        return [f"{left} left"]


def duration(seconds: float) -> str:
    """Seconds, or hours, minutes and seconds from a minute on."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def speed(pace: EpochPace) -> str:
    """Samples a second; what much of the time is waited for data is said."""
    share = pace.waiting / max(1e-9, pace.seconds - pace.validating)
    waits = f" ({share:.0%} waiting for data)" if share >= MUCH_WAITING else ""
    return f"{pace.samples_per_second:,.0f} samples/s{waits}"
