"""SIGTERM, SIGINT and SLURM's requeue signal: save at the end of the window, then stop."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from ..errors import TrainingError
from ..terminal import SIGNALS, end_at_next, pasteable
from .adapter import UniversalModelAdapter
from .speaker import process_rank


class Interrupted(TrainingError):
    """A signal ended the run after a checkpoint; `exit_code` is a shell's for that signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption(Callback):
    """Turns signals into a request to stop at the end of the accumulation window.

    A checkpoint holds no half-accumulated gradients, so only there is resuming exact; a validation
    ends first. A second signal ends the process at once.

    Args:
        console: for people who wait after a Ctrl-C.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.received = 0
        self._adapter: UniversalModelAdapter | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over from Lightning, whose handlers stop inside a window."""
        assert isinstance(pl_module, UniversalModelAdapter)
        self._adapter = pl_module
        environment = SLURMEnvironment() if SLURMEnvironment.detect() else None
        requeue = environment.requeue_signal if environment and environment.auto_requeue else None
        self._requeue_signal = requeue
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        for number in filter(None, (*SIGNALS, requeue)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        assert self._adapter is not None
        if number != self._requeue_signal:
            end_at_next()
            what = "validation" if self._adapter.trainer.validating else "window"
            again = "press Ctrl-C" if number == signal.SIGINT else "send a signal"
            self.console.print(f"stopping after this {what}; {again} again to stop at once")
        self.received = self.received or number
        self._adapter.stop_requested = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree whether a signal came while no window was there to carry the word."""
        assert isinstance(pl_module, UniversalModelAdapter)
        wanted = trainer.strategy.reduce_boolean_decision(pl_module.stop_requested, all=False)
        pl_module.stop_agreed |= wanted

    def check(self, optimizer_step: int, run_dir: Path) -> None:
        """End the run for a signal that came behind its last checkpoint.

        Raises:
            Interrupted: there was one.
        """
        if self.received:
            self.stop(optimizer_step, run_dir)

    def stop(self, optimizer_step: int, run_dir: Path) -> None:
        """End the run; called behind the checkpoint, on every process.

        Raises:
            Interrupted: always.
        """
        number = self.received or int(signal.SIGTERM)  # another process got the signal
        if number == self._requeue_signal and process_rank() == 0:
            self._requeue()
        raise Interrupted(
            number,
            f"stopped by {signal.Signals(number).name} after optimizer step {optimizer_step}; "
            f"go on with: {pasteable('train', '--resume', run_dir)}",
        )

    def _requeue(self) -> None:
        job = os.environ["SLURM_JOB_ID"]
        if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        subprocess.run(["scontrol", "requeue", job], check=False)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Signals mean again afterwards what they meant before: Lightning leaves handlers, too."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
