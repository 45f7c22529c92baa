"""How fast an epoch goes, and what its time is spent on."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from .runs import EpochPace


class Pace(Callback):
    """Measures each epoch on this process: waiting for batches, working on them, validating.

    A GPU goes on working while the next batch is fetched; what is left of that wait counts as
    waiting.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._began_at = self._idle_since = time.monotonic()
        self._samples = 0
        self._waited = self._validated = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._begin()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A batch has come."""
        self._waited += time.monotonic() - self._idle_since

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The next batch is waited for."""
        self._samples += len(next(iter(batch.values()))) * trainer.world_size
        self._idle_since = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self._validates_since = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add how long it took."""
        self._validated += time.monotonic() - self._validates_since

    def of_epoch(self, trainer: Trainer) -> EpochPace:
        """Of the epoch in progress up to now."""
        return EpochPace(
            trainer.current_epoch + 1,
            trainer.global_step,
            self._samples,
            time.monotonic() - self._began_at,
            self._waited,
            self._validated,
        )
