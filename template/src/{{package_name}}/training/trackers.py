"""Where rows of metrics go besides `metrics.csv`: Weights & Biases, TensorBoard, MLflow.

A tracker gets whole rows, one per optimizer step or epoch, and imports its library when opened.
It works in a thread of its own, so that a slow or dead network costs a training step nothing.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Row: TypeAlias = dict[str, float]
"""Scalars by name; `optimizer_step` says when."""

STEP = "optimizer_step"
CLOSE_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class RunInfo:
    """What a tracker wants to know about a run.

    Attributes:
        project: groups runs.
        name: names this one, and finds it again on resume; None where nobody resumes it.
        directory: the run's folder; None where it has none.
        settings: the configuration, plain data.
    """

    project: str
    name: str | None = None
    directory: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """One place that keeps rows."""

    def write(self, rows: Sequence[Row]) -> None:
        """Keep rows, each of them whole."""

    def close(self) -> None:
        """Nothing follows."""


class WandbTracker:
    """Weights & Biases: one history row per row, drawn over `optimizer_step`.

    W&B's own step is left alone: given one, it drops rows that come late or share a number.
    """

    def __init__(self, info: RunInfo) -> None:
        import wandb

        self._run = wandb.init(
            project=info.project,
            name=info.name,
            id=info.name,
            resume="allow" if info.name else None,
            config=dict(info.settings),
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def write(self, rows: Sequence[Row]) -> None:
        """One commit each."""
        for row in rows:
            self._run.log(row)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


class TensorBoardTracker:
    """TensorBoard: an event file in the run's folder."""

    def __init__(self, info: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        directory = (info.directory or Path("runs")) / "tensorboard"
        # no purge_step: rows come once, even when a resumed run takes their steps again
        self._writer = SummaryWriter(str(directory))

    def write(self, rows: Sequence[Row]) -> None:
        """One scalar event for each value."""
        for row in rows:
            for name, value in row.items():
                if name != STEP:
                    self._writer.add_scalar(name, value, int(row[STEP]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class MlflowTracker:
    """MLflow: the server that MLFLOW_TRACKING_URI names, or the folder `mlruns`."""

    BARRED = re.compile(r"[^/\w.\- ]")  # in the name of a metric; that of a class may hold it
    BATCH = 1000  # metrics in one request, the most that MLflow's servers take

    def __init__(self, info: RunInfo) -> None:
        import mlflow
        from mlflow.entities import Metric

        # MLflow announces the end of its file store, which needs no database and suits one user
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").resolve().as_uri()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._metric = Metric
        found = self._client.get_experiment_by_name(info.project)
        experiment = found.experiment_id if found else self._client.create_experiment(info.project)
        self._run_id = self._known_run(experiment, info.name) or self._new_run(experiment, info)

    def _known_run(self, experiment: str, name: str | None) -> str | None:
        if name is None:
            return None
        runs = self._client.search_runs([experiment], f"attributes.run_name = '{name}'")
        return str(runs[0].info.run_id) if runs else None

    def _new_run(self, experiment: str, info: RunInfo) -> str:
        run_id = str(self._client.create_run(experiment, run_name=info.name).info.run_id)
        for key, value in info.settings.items():
            self._client.log_param(run_id, key, value)
        return run_id

    def write(self, rows: Sequence[Row]) -> None:
        """As few requests as possible."""
        now = int(time.time() * 1000)
        metrics = [
            self._metric(self.BARRED.sub("_", name), value, now, int(row[STEP]))
            for row in rows
            for name, value in row.items()
            if name != STEP
        ]
        for start in range(0, len(metrics), self.BATCH):
            self._client.log_batch(self._run_id, metrics[start : start + self.BATCH])

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


TRACKERS: dict[str, Callable[[RunInfo], Tracker]] = {
    "wandb": WandbTracker,
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
}


class TrackerThread:
    """A tracker in its own thread. Whatever happens there costs a warning, never the run.

    Args:
        name: a key of `TRACKERS`.
        info: about the run.
    """

    INTERVAL_SECONDS = 0.5  # rows are handed over together, not more often than this

    def __init__(self, name: str, info: RunInfo) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._opened: Future[Tracker] = self._thread.submit(TRACKERS[name], info)
        self._tasks: list[Future[Any]] = [self._opened]
        self._rows: list[Row] = []
        self._handed_over = time.monotonic()
        self._failed = False

    def write(self, row: Row, *, at_once: bool = False) -> None:
        """Queue a row; the thread gets it together with others, or at once."""
        if self._failed:
            return
        self._rows.append(row)
        if at_once or time.monotonic() - self._handed_over > self.INTERVAL_SECONDS:
            self._hand_over()

    def close(self) -> None:
        """Hand everything over and wait for it, but not for ever."""
        self._hand_over()
        if self._failed:
            return
        self._tasks.append(self._thread.submit(lambda: self._opened.result().close()))
        _, unfinished = wait(self._tasks, timeout=CLOSE_TIMEOUT_SECONDS)
        if unfinished:
            warnings.warn(f"{self.name} did not take all rows in time", stacklevel=2)
        self._check()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _hand_over(self) -> None:
        rows, self._rows = self._rows, []
        self._handed_over = time.monotonic()
        self._check()
        if rows and not self._failed:
            self._tasks.append(self._thread.submit(lambda: self._opened.result().write(rows)))

    def _check(self) -> None:
        errors = [error for task in self._tasks if task.done() and (error := task.exception())]
        self._tasks = [task for task in self._tasks if not task.done()]
        if errors and not self._failed:
            self._failed = True
            reason = (str(errors[0]).splitlines() or [""])[0] or type(errors[0]).__name__
            warnings.warn(
                f"{self.name} failed and gets nothing more from this run; metrics.csv has it all "
                f"({reason})",
                stacklevel=2,
            )
