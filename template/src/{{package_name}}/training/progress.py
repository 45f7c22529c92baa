"""Progress of the whole run: one live line on a terminal, one printed line per epoch elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .adapter import UniversalModelAdapter
from .metrics import LOSS

REFRESH_SECONDS = 0.2


class RunProgress(ProgressBar):
    """Epoch, loss, validation metric, samples per second and time left, fed by the tracker.

    Lightning's own bars are fed by `self.log`, which costs more than a small step.

    Args:
        console: where to draw or print.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._live: Progress | None = None
        self._shown_at = self._started_at = 0.0
        self._first_step = 0
        self._samples = self._samples_before = 0
        self._epoch_started_at = 0.0

    def disable(self) -> None:
        """Lightning calls this on every process but the first."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin; a resumed run begins where it stands."""
        assert isinstance(pl_module, UniversalModelAdapter)
        self._started_at = self._epoch_started_at = time.monotonic()
        self._first_step = trainer.global_step
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
        """Count; draw a few times a second."""
        self._samples += len(next(iter(batch.values()))) * trainer.world_size
        now = time.monotonic()
        if self._live is not None and now - self._shown_at > REFRESH_SECONDS:
            self._shown_at = now
            self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line that stays."""
        self.console.print(
            self._describe(trainer, pl_module, trainer.current_epoch + 1), highlight=False
        )
        self._epoch_started_at = time.monotonic()
        self._samples_before = self._samples

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was, however the run ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._live is not None
        name, _, figures = self._describe(trainer, pl_module, trainer.current_epoch + 1).partition(
            "  "
        )
        self._live.update(
            self._task, completed=trainer.global_step, description=name, figures=figures
        )
        self._live.refresh()

    def _describe(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> str:
        assert isinstance(pl_module, UniversalModelAdapter)
        values = pl_module.tracker.last_values
        parts = [f"epoch {epoch}/{trainer.max_epochs}"]
        for name in (LOSS, pl_module.monitor.column):
            if name in values:
                parts.append(f"{name.replace('/', ' ')} {values[name]:.4f}")
        now = time.monotonic()
        samples = self._samples - self._samples_before
        parts.append(f"{samples / max(1e-9, now - self._epoch_started_at):,.0f} samples/s")
        done = trainer.global_step - self._first_step
        if done:
            left = (
                (pl_module.run_length.steps - trainer.global_step) * (now - self._started_at) / done
            )
            parts.append(f"{timedelta(seconds=round(left))} left")
        return "  ".join(parts)
