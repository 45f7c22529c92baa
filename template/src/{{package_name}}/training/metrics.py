"""MetricsTracker: micro-batches in a local table, one row per optimizer step everywhere else."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pandas as pd
import torch
from torch import Tensor

from . import tracker_process
from .accumulation import Signals, WindowTotal
from .row_file import ROWS, TABLE, RowFile, mend_table
from .tracker_process import TrackerProcess
from .trackers import KEEP_WHAT_CAME_FIRST, STEP, Outcome, Row, RunInfo

TABLE_COLUMNS = ["step", "effective_step", "name", "value", "timestamp"]
EPOCH = "epoch"
LOSS = "train/loss"
DEFAULT_PROJECT = "training"


@dataclass
class _Window:
    """What is known of one accumulation window before its row is written."""

    first_step: int
    weights: list[float] = field(default_factory=list)
    loss_sums: list[Tensor] = field(default_factory=list)
    # by name: (place of the micro-batch in the window, value)
    scalars: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowRow:
    """A finished optimizer step.

    Attributes:
        row: what the trackers got.
        losses: mean loss of each of this process's micro-batches.
        loss_sum: over all of them and all processes.
        signals: what any process told the others.
    """

    row: Row
    losses: list[float]
    loss_sum: float
    signals: Signals


class _HostCopy:
    """Figures of a closed window. From a GPU they are copied while it goes on working.

    Args:
        sums: a tensor [N].
        others: scalar tensors beside it.
    """

    def __init__(self, sums: Tensor, others: Sequence[Tensor]) -> None:
        self._tensors = [sums, *others]
        self._arrived: torch.cuda.Event | None = None
        if sums.is_cuda:
            figures = torch.cat([tensor.reshape(-1).to(sums.dtype) for tensor in self._tensors])
            on_host = torch.empty(figures.shape, dtype=figures.dtype, pin_memory=True)
            self._tensors = [on_host.copy_(figures, non_blocking=True)]
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def read(self) -> list[float]:
        """The figures in order; waits for those that are still on their way."""
        if self._arrived is not None:
            self._arrived.synchronize()
        first, *others = self._tensors
        return [*first.tolist(), *map(float, others)]


@dataclass(frozen=True)
class _Pending:
    """A closed window whose numbers are still on their way from the device."""

    window: _Window
    figures: _HostCopy
    optimizer_step: int
    epoch: int
    names: list[str]
    scalars: dict[str, float]


class MetricsTracker:
    """Collects scalars and writes one row per optimizer step, plus one per epoch.

    A row holds the window's mean of every scalar, weighted by the targets of each micro-batch. The
    same rows go to `metrics.csv` and to every tracker. Single micro-batches go to the local table
    `micro_batches.csv` only. Both files are appended to as training goes, nothing piles up.

    Args:
        use_wandb: send rows to Weights & Biases.
        project_name: project there, or experiment in MLflow.
        gradient_accumulation_steps: micro-batches in one optimizer step.
        steps_per_epoch: micro-batches in one epoch, whose end closes a window that is not full;
            None for windows that know no epochs.
        trackers: more places that get the rows: wandb, tensorboard, mlflow.
        directory: folder for the two files; without it the table lies in a temporary file.

    Attributes:
        optimizer_step: how many have been taken.
        last_values: the newest of every scalar.
        epoch_loss: mean training loss of the epoch that ended last; None before.
        skipped_windows: how many taught nothing, as their loss was not finite.
    """

    def __init__(
        self,
        use_wandb: bool = False,
        project_name: str | None = None,
        gradient_accumulation_steps: int = 1,
        *,
        steps_per_epoch: int | None = None,
        trackers: Sequence[str] = (),
        directory: Path | None = None,
    ) -> None:
        self.use_wandb = use_wandb
        self.project_name = project_name
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.steps_per_epoch = steps_per_epoch
        self.optimizer_step = 0
        self.skipped_windows = 0
        self.last_values: Row = {}
        self.epoch_loss: float | None = None
        self._epoch_sums = 0.0, 0.0  # of the losses and their weights, in the epoch in progress
        self._names = list(dict.fromkeys([*trackers, *(["wandb"] if use_wandb else [])]))
        self._micro_step = 0
        self._in_training = False
        self._row_count = 0
        self._past: list[Row] = []  # up to the checkpoint of a resumed run
        self._again: deque[Row] = deque()  # behind it; they come a second time
        self._window = _Window(0)
        self._pending: deque[_Pending] = deque()
        self._trackers: list[TrackerProcess] | None = None
        self._writes, self._is_new = True, False
        self._info = RunInfo(project_name or DEFAULT_PROJECT)
        self._rows = RowFile(None)
        self._table: IO[str] | None = None
        self._table_bytes = 0
        if directory is not None:
            self.attach(directory)

    # --- where things go ------------------------------------------------------------------------

    def attach(
        self,
        directory: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        writes: bool = True,
        is_new: bool = False,
    ) -> None:
        """Name the run's folder. Call it before the first value.

        Args:
            directory: folder for the files; its name is the run's name for trackers.
            settings: the configuration, for trackers that show it.
            writes: False on every process but the first, which then keeps quiet.
            is_new: nothing has been written there, even by the run that is gone on with.
        """
        self._writes, self._is_new = writes, is_new
        self._info = RunInfo(
            self.project_name or DEFAULT_PROJECT, directory.name, directory, settings or {}
        )
        self._rows = RowFile(directory / ROWS if writes else None)

    def complete(self, count: int) -> None:
        """Let the trackers have every row of a run that has ended: a kill may have cost them some.

        Call it after `attach`, and `close` after it.

        Args:
            count: rows that the run had written; where the file has lost some, the trackers keep
                what they have, which is more.
        """
        self._past = self._rows.read()
        if len(self._past) < count:
            self._past = []
            warnings.warn(
                f"{self._rows.path} was damaged or is gone, rows are lost; trackers get none of it",
                stacklevel=2,
            )
            return
        self._info = replace(self._info, resumed=True, past_rows=len(self._past))
        self._trackers = self._open_trackers()

    def close(self, outcome: Outcome = "finished") -> None:
        """Write what is left, the last window's row included, and wait for the trackers.

        Args:
            outcome: how the run ended, for the trackers.
        """
        self.flush()
        if self._window.scalars and not self._in_training:
            self._close_direct_window()
        self._close_trackers(outcome)
        if self._table is not None:
            with contextlib.suppress(OSError):  # a full disk has been reported by then
                self._table.flush()

    def _close_trackers(self, outcome: Outcome) -> None:
        """All of them at once; together they get no more time than one."""
        trackers, self._trackers = self._trackers or [], []
        deadline = time.monotonic() + tracker_process.PATIENCE_SECONDS
        for tracker in trackers:
            tracker.end(outcome)
        for tracker in trackers:
            tracker.wait(deadline)

    # --- one value -------------------------------------------------------------------------------

    def effective_step(self, step: int) -> int:
        """Optimizer steps finished before micro-batch `step` of the run; both count from 0.

        Inside an epoch this is `step // gradient_accumulation_steps`; the end of an epoch closes
        its last window, so that the next epoch begins with a new one.
        """
        n = self.gradient_accumulation_steps
        if self.steps_per_epoch is None:
            return step // n
        epoch, within = divmod(step, self.steps_per_epoch)
        return epoch * -(-self.steps_per_epoch // n) + within // n

    def log_scalar(
        self, name: str, value: float, step: int | None = None, commit: bool = True
    ) -> None:
        """Record one value of a micro-batch.

        Args:
            name: what was measured.
            value: the measurement.
            step: micro-batch of the run, from 0. By default the one in training; outside of
                training, a new one with each call.
            commit: let the value count in its optimizer step's row; False keeps it in the table.
        """
        if step is None:
            step = self._micro_step
            self._micro_step += not self._in_training
        effective_step = self.optimizer_step if self._in_training else self.effective_step(step)
        if not self._in_training and effective_step != self.optimizer_step:
            self._close_direct_window()
            self.optimizer_step = effective_step
        self._tabulate(step, effective_step, name, value)
        if commit:
            place = max(0, len(self._window.weights) - 1)
            self._window.scalars.setdefault(name, []).append((place, value))

    def get_step_metrics(self) -> pd.DataFrame:
        """Every recorded value: columns step, effective_step, name, value, timestamp."""
        if self._table is None:
            return pd.DataFrame(columns=TABLE_COLUMNS)
        self._table.flush()
        self._table.seek(0)
        table = pd.read_csv(self._table, names=TABLE_COLUMNS, parse_dates=["timestamp"], skiprows=1)
        self._table.seek(0, io.SEEK_END)
        return table

    # --- training --------------------------------------------------------------------------------

    def begin_micro_batch(self, weight: float) -> None:
        """The next micro-batch starts; scalars logged from here on belong to it.

        Args:
            weight: of its targets together; their number, unless classes have weights.
        """
        self._micro_step += self._in_training  # the first one is number 0
        self._in_training = True
        if not self._window.weights:
            self._window.first_step = self._micro_step
        self._window.weights.append(weight)

    def log_micro_batch(self, loss_sum: Tensor) -> None:
        """Add the micro-batch's loss, summed over its targets; nothing waits for the device."""
        self._window.loss_sums.append(loss_sum)

    def end_window(
        self,
        epoch: int,
        total: WindowTotal,
        scalars: Mapping[str, float],
        measured: Mapping[str, Tensor],
    ) -> None:
        """Close the window at its optimizer step; `flush` writes its row.

        Args:
            epoch: the one in progress, from 0.
            total: what the window came to, over all processes.
            scalars: more values of this optimizer step.
            measured: the same, scalar tensors that may still be on the device.
        """
        window = self._window
        self._window = _Window(0)
        self.optimizer_step += 1
        figures = _HostCopy(total.sums, [*measured.values(), *window.loss_sums])
        self._pending.append(
            _Pending(window, figures, self.optimizer_step, epoch, list(measured), dict(scalars))
        )

    def flush(self, *, keep: int = 0) -> list[WindowRow]:
        """Write the rows of closed windows.

        Args:
            keep: how many of the newest to leave for later; 1 means never to wait for a GPU.

        Returns:
            what was written, in order.
        """
        rows = []
        while len(self._pending) > keep:
            rows.append(self._write_window(self._pending.popleft()))
        return rows

    def _write_window(self, pending: _Pending) -> WindowRow:
        loss_sum, weight, stop, fallback, *rest = pending.figures.read()
        measured, loss_sums = rest[: len(pending.names)], rest[len(pending.names) :]
        window = pending.window
        if math.isfinite(loss_sum):  # one that was skipped taught nothing
            self._epoch_sums = self._epoch_sums[0] + loss_sum, self._epoch_sums[1] + weight
        losses = [s / n if n else 0.0 for s, n in zip(loss_sums, window.weights, strict=True)]
        before = pending.optimizer_step - 1
        for offset, (loss, n) in enumerate(zip(losses, window.weights, strict=True)):
            if n:
                self._tabulate(window.first_step + offset, before, LOSS, loss)
        row: Row = {STEP: pending.optimizer_step, EPOCH: pending.epoch}
        if weight:
            row[LOSS] = loss_sum / weight
        row.update(pending.scalars)
        row.update(zip(pending.names, measured, strict=True))
        row.update(_weighted_means(window))
        self._write(row)
        return WindowRow(row, losses, loss_sum, Signals(stop > 0, fallback > 0))

    def log_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write a row of what was measured at the end of an epoch, counted from 0."""
        self.flush()
        loss_sum, weight = self._epoch_sums
        self.epoch_loss = loss_sum / weight if weight else None
        self._epoch_sums = 0.0, 0.0
        self._write({STEP: self.optimizer_step, EPOCH: epoch, **scalars})

    # --- writing ---------------------------------------------------------------------------------

    def _close_direct_window(self) -> None:
        """Without a training loop, the first value of the next window closes the one before."""
        window, self._window = self._window, _Window(0)
        if window.scalars:
            self._write({STEP: self.optimizer_step, **_weighted_means(window)})

    def _write(self, row: Row) -> None:
        self.last_values.update(row)
        self._row_count += 1
        if not self._writes:
            return
        self._rows.append(row)
        if self._again:
            self._compare(self._again.popleft(), row)
        if self._trackers is None:
            self._trackers = self._open_trackers()
        for tracker in self._trackers:
            tracker.write(self._row_count - 1, row)

    def _open_trackers(self) -> list[TrackerProcess]:
        """They get the rows of before a resume first, and know which of them they have."""
        trackers = [TrackerProcess(name, self._info) for name in self._names]
        for tracker in trackers:
            for number, row in enumerate(self._past):
                tracker.write(number, row)
        self._past = []
        return trackers

    def _compare(self, before: Row, row: Row) -> None:
        """Steps taken again come out alike, unless something has changed."""
        stuck = KEEP_WHAT_CAME_FIRST.intersection(self._names)
        if before == row or not stuck:
            return
        warnings.warn(
            f"optimizer step {row[STEP]:g} came out otherwise before the resume; "
            f"{' and '.join(sorted(stuck))} cannot replace the rows up to where the run was "
            "stopped, metrics.csv has the new ones",
            stacklevel=2,
        )
        self._again.clear()

    def _tabulate(self, step: int, effective_step: int, name: str, value: float) -> None:
        if not self._writes:
            return
        if self._table is None:
            self._table = self._open_table()
            self._table_writer = csv.writer(self._table)
        self._table_writer.writerow((step, effective_step, name, value, datetime.now().isoformat()))

    def _open_table(self) -> IO[str]:
        if self._info.directory is None:
            table: IO[str] = tempfile.TemporaryFile("w+", newline="", encoding="utf-8")  # noqa: SIM115
        else:
            path = self._info.directory / TABLE
            path.touch()
            table = path.open("r+", newline="", encoding="utf-8")
            table.truncate(self._table_bytes)
            table.seek(0, io.SEEK_END)
        if table.tell() == 0:
            csv.writer(table).writerow(TABLE_COLUMNS)
        return table

    # --- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Counts, for a checkpoint: everything behind them is taken again after a resume."""
        if self._table is not None:
            self._table.flush()
            self._table_bytes = self._table.tell()
        return {
            "optimizer_step": self.optimizer_step,
            "micro_step": self._micro_step,
            "skipped_windows": self.skipped_windows,
            "rows": self._row_count,
            "table_bytes": self._table_bytes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind a checkpoint; rows written after it are dropped, as they will come again.

        In a folder that is new, rows begin with the next step.
        """
        self.optimizer_step = state["optimizer_step"]
        self._micro_step = state["micro_step"]
        self.skipped_windows = state["skipped_windows"]
        if self._is_new:
            self._in_training = True
            return
        self._row_count = state["rows"]
        self._table_bytes = state["table_bytes"]
        self._in_training = True
        self._past, behind = self._rows.truncate(self._row_count, self.optimizer_step)
        self._again = deque(behind)
        self._info = replace(self._info, resumed=True, past_rows=self._row_count)
        if self._writes and self._info.directory is not None:
            table = self._info.directory / TABLE
            self._table_bytes = mend_table(
                table, TABLE_COLUMNS, self._table_bytes, last_step=self._micro_step
            )


def _weighted_means(window: _Window) -> Row:
    """Mean of every logged scalar over the window; a micro-batch weighs what its targets do."""
    means = {}
    for name, values in window.scalars.items():
        weights = [window.weights[place] if window.weights else 1.0 for place, _ in values]
        if not any(weights):
            weights = [1.0] * len(values)
        means[name] = sum(w * v for w, (_, v) in zip(weights, values, strict=True)) / sum(weights)
    return means


def read_metrics(run_dir: Path) -> pd.DataFrame:
    """Rows of a run's `metrics.csv`: `optimizer_step`, `epoch`, and a column for each scalar.

    Raises:
        FileNotFoundError: the folder is no run's.
    """
    return pd.read_csv(run_dir / ROWS)
