"""Where rows of metrics go besides `metrics.csv`: Weights & Biases, TensorBoard, MLflow.

A tracker gets whole rows, numbered from 0, and imports its library when opened. It works in a
process of its own (`tracker_process`). After a resume it gets every row from the first one on, and
passes over those that it has: what was lost on the way to it comes again, and nothing twice.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias
from urllib.parse import quote

from ..terminal import pasteable_beside

Row: TypeAlias = dict[str, float]
"""Scalars by name; `optimizer_step` says when."""

NumberedRow: TypeAlias = tuple[int, Row]
"""A row and how many the run wrote before it."""

Outcome = Literal["finished", "failed", "interrupted"]
"""How a run ended; an interrupted one was stopped by a signal or a key."""

STEP = "optimizer_step"


class TrackerError(Exception):
    """A tracker cannot be used; says why, and what to do."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker wants to know about a run.

    Attributes:
        project: groups runs.
        name: names this one, and finds it again on resume; None where nobody resumes it.
        directory: the run's folder; None where it has none.
        settings: the configuration, plain data.
        resumed: the run goes on behind a checkpoint.
        past_rows: how many rows it had written there; they come first.
        process: id of the one that trains.
    """

    project: str
    name: str | None = None
    directory: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False
    past_rows: int = 0
    process: int = field(default_factory=os.getpid)


class Tracker(Protocol):
    """One place that keeps rows."""

    def write(self, rows: Sequence[NumberedRow]) -> None:
        """Keep rows, each of them whole, but for what is kept already."""

    def close(self, outcome: Outcome) -> None:
        """Nothing follows; say how the run ended."""


class WandbTracker:
    """Weights & Biases: one history row per row, drawn over `optimizer_step`.

    W&B's own step is the row's number, which no two rows share. What W&B has stays as it is: it
    drops a row whose number it knows.
    """

    def __init__(self, info: RunInfo) -> None:
        import wandb

        self._run = wandb.init(
            project=info.project,
            name=info.name,
            id=info.name,
            resume="allow" if info.resumed else "never" if info.name else None,
            config=dict(info.settings),
            # this process neither prints what training prints nor computes
            settings=wandb.Settings(console="off", x_stats_pid=info.process),
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        self._had = self._rows_had() if info.resumed else set()

    def _rows_had(self) -> set[int]:
        """Numbers of rows that arrived: at the server, or in files of offline runs."""
        if not self._run.offline:
            return set(range(self._run.step))
        folder = Path(self._run.settings.wandb_dir)
        files = folder.glob(f"offline-run-*/run-{self._run.id}.wandb")
        return {number for file in files for number in wandb_steps(file)}

    def write(self, rows: Sequence[NumberedRow]) -> None:
        """One commit each."""
        for number, row in rows:
            if number not in self._had:
                self._run.log(row, step=number, commit=True)

    def close(self, outcome: Outcome) -> None:
        """Send what is left; W&B knows success and failure."""
        self._run.finish(exit_code=int(outcome != "finished"))


def wandb_steps(file: Path) -> Iterator[int]:
    """Steps of the history rows in a `.wandb` file, up to where it is torn.

    W&B has no reader of its own for Python any more. The file is a LevelDB log: blocks of 32 KiB,
    fragments of records with a header of 7 bytes.
    From: https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    from wandb.proto import wandb_internal_pb2

    record: Any = vars(wandb_internal_pb2)["Record"]()  # its stubs lag behind
    for content in _leveldb_records(file.read_bytes()):
        record.ParseFromString(content)
        if record.HasField("history"):
            yield int(record.history.step.num)


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    block, header, first, last, full = 32768, 7, 2, 4, 1
    position, record = header, b""  # W&B's own header is as long, and opens the first block
    while position + header <= len(data):
        if block - position % block < header:
            position += block - position % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        fragment = data[position + header : position + header + length]
        position += header + length
        if kind == 0 or len(fragment) < length:
            return
        record = fragment if kind in (first, full) else record + fragment
        if kind in (last, full):
            yield record


class TensorBoardTracker:
    """TensorBoard: event files in the run's folder.

    A resumed run writes the rows up to its checkpoint anew and then drops the files of before: they
    may be torn, and hold rows behind the checkpoint, which come again.
    """

    SUFFIX = ".metrics"  # tells these event files from those of anyone else

    def __init__(self, info: RunInfo) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._open = Event, Summary, EventFileWriter
        self._directory = (info.directory or Path("runs")) / "tensorboard"
        self._partial = self._directory.with_suffix(".partial")
        self._past_rows = info.past_rows
        self._step = 0
        shutil.rmtree(self._partial, ignore_errors=True)
        self._old = sorted(self._directory.glob(f"*{self.SUFFIX}")) if info.resumed else []
        self._times = self._times_of_old_rows()
        directory = self._partial if self._old else self._directory
        self._writer = self._open(str(directory), filename_suffix=self.SUFFIX)

    def _times_of_old_rows(self) -> dict[int, list[float]]:
        """When rows were written, by step."""
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        times: dict[int, list[float]] = defaultdict(list)
        for file in self._old:
            for event in EventFileLoader(str(file)).Load():  # ends where the file is torn
                if len(event.summary.value):
                    times[event.step].append(event.wall_time)
        return times

    def write(self, rows: Sequence[NumberedRow]) -> None:
        """One event each."""
        for number, row in rows:
            if number >= self._past_rows:
                self._replace_old()
            self._step = int(row[STEP])
            values = [
                self._summary.Value(tag=name, simple_value=value)
                for name, value in row.items()
                if name != STEP
            ]
            before = self._times.get(self._step) if number < self._past_rows else None
            self._add(before.pop(0) if before else time.time(), values)
        self._writer.flush()

    def _add(self, wall_time: float, values: list[Any]) -> None:
        summary = self._summary(value=values)
        event = self._event(wall_time=wall_time, step=self._step, summary=summary)
        self._writer.add_event(event)

    def _replace_old(self) -> None:
        """The rows up to the checkpoint are written; a kill in here costs nothing."""
        if not self._old:
            return
        self._writer.close()
        for file in self._partial.iterdir():
            file.replace(self._directory / file.name)
        for file in self._old:
            file.unlink()
        self._old = []
        self._partial.rmdir()
        self._writer = self._open(str(self._directory), filename_suffix=self.SUFFIX)

    def close(self, outcome: Outcome) -> None:
        """Leave a text with the outcome, and close the event file."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._replace_old()
        self._add(time.time(), list(text_pb("outcome", outcome).value))
        self._writer.close()


class MlflowTracker:
    """MLflow: the server or database that MLFLOW_TRACKING_URI names, or the file mlflow.db.

    The experiment is MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME, else the project's. Every
    training run is a run of its own; one that MLFLOW_RUN_ID names becomes its parent. MLflow cannot
    delete values: of steps that a resumed run takes again it keeps those it got first.
    """

    BARRED = re.compile(r"[^/\w.\- ]")  # in the name of a metric; that of a class may hold it
    BATCH = 1000  # metrics in one request, the most that MLflow's servers take
    PARAMS_BATCH = 100
    PARAM_CHARACTERS = 500  # the most that servers of any age take
    TAG = "run_folder"  # percent-encoded: the name may hold what a filter cannot quote
    STATUS: Mapping[Outcome, str] = {
        "finished": "FINISHED",
        "failed": "FAILED",
        "interrupted": "KILLED",
    }

    def __init__(self, info: RunInfo) -> None:
        import mlflow
        from filelock import FileLock
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        self._next_time = 0
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        # several runs that begin together would each make the tables of a new database
        with nullcontext() if uri else FileLock(f"{MLFLOW_FILE}.lock"):
            self._client = mlflow.MlflowClient(tracking_uri=uri or MLFLOW_DATABASE)
            experiment = self._experiment(info)
        known = self._known_run(experiment, info) if info.resumed else None
        self._run_id = known or self._new_run(experiment, info)
        self._had = self._values_had() if known else Counter[tuple[str, int]]()

    def _experiment(self, info: RunInfo) -> str:
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or info.project
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name))
        if found.lifecycle_stage != "active":
            raise TrackerError(
                f"the experiment {name} is deleted; `mlflow experiments restore -x "
                f"{found.experiment_id}` brings it back, MLFLOW_EXPERIMENT_NAME names another"
            )
        return str(found.experiment_id)

    def _known_run(self, experiment: str, info: RunInfo) -> str | None:
        if info.name is None:
            return None
        wanted = f"tags.{self.TAG} = '{quote(info.name)}'"
        runs = self._client.search_runs([experiment], wanted)
        if not runs:
            return None
        run_id = str(runs[0].info.run_id)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _new_run(self, experiment: str, info: RunInfo) -> str:
        tags = {self.TAG: quote(info.name)} if info.name else {}
        if parent := os.environ.get("MLFLOW_RUN_ID"):
            tags["mlflow.parentRunId"] = parent
        run = self._client.create_run(experiment, run_name=info.name, tags=tags)
        run_id = str(run.info.run_id)
        params = [self._param(key, self._shortened(value)) for key, value in info.settings.items()]
        for start in range(0, len(params), self.PARAMS_BATCH):
            self._client.log_batch(run_id, params=params[start : start + self.PARAMS_BATCH])
        return run_id

    def _shortened(self, value: object) -> str:
        text, most = str(value), self.PARAM_CHARACTERS
        return text if len(text) <= most else text[: most - 3] + "..."

    def _values_had(self) -> Counter[tuple[str, int]]:
        """How many values of a metric arrived for a step."""
        names = self._client.get_run(self._run_id).data.metrics
        return Counter(
            (name, value.step)
            for name in names
            for value in self._client.get_metric_history(self._run_id, name)
        )

    def write(self, rows: Sequence[NumberedRow]) -> None:
        """As few requests as possible."""
        metrics = [
            self._metric(self.BARRED.sub("_", name), value, written, int(row[STEP]))
            for (_, row), written in zip(rows, self._times(len(rows)), strict=True)
            for name, value in row.items()
            if name != STEP
        ]
        missing = [metric for metric in metrics if not self._has(metric)]
        for start in range(0, len(missing), self.BATCH):
            self._client.log_batch(self._run_id, missing[start : start + self.BATCH])

    def _times(self, count: int) -> range:
        """Milliseconds: a database keeps one of values that are equal in time, step and number."""
        first = max(int(time.time() * 1000), self._next_time)
        self._next_time = first + count
        return range(first, self._next_time)

    def _has(self, metric: Any) -> bool:
        """Whether a value of this step arrived before the resume; each counts once."""
        known = (metric.key, metric.step)
        if not self._had[known]:
            return False
        self._had[known] -= 1
        return True

    def close(self, outcome: Outcome) -> None:
        """Say that the run has ended, and how."""
        self._client.set_terminated(self._run_id, self.STATUS[outcome])


TRACKERS: dict[str, Callable[[RunInfo], Tracker]] = {
    "wandb": WandbTracker,
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
}

DISTRIBUTIONS = {"wandb": "wandb", "tensorboard": "tensorboard", "mlflow": "mlflow"}
"""What to install for a tracker."""

MLFLOW_FILE = "mlflow.db"
MLFLOW_DATABASE = f"sqlite:///{MLFLOW_FILE}"
"""Where MLflow keeps runs unless it is told where; its own default in recent versions."""

ENVIRONMENT: dict[str, dict[str, str]] = {
    "mlflow": {
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # a new database is a page of lines
        # by default it tries for minutes, and would never come to say what is wrong
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    }
}
"""Variables that a library goes by, where the user has not set them."""

KEEP_WHAT_CAME_FIRST = frozenset({"wandb", "mlflow"})
"""Trackers that cannot replace a row."""


def how_to_open(name: str, output_dir: str) -> str:
    """Where to see what a tracker got: a command to paste, or an address.

    Args:
        name: of the tracker.
        output_dir: folder of all runs.
    """
    match name:
        case "tensorboard":
            return pasteable_beside("tensorboard", "--logdir", output_dir)
        case "wandb" if os.environ.get("WANDB_MODE") == "offline":
            return pasteable_beside("wandb", "sync", "--sync-all")
        case "wandb":
            return os.environ.get("WANDB_BASE_URL", "https://wandb.ai")
        case _:
            store = os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW_DATABASE
            if store.startswith(("http:", "https:", "databricks")):
                return store
            return pasteable_beside("mlflow", "ui", "--backend-store-uri", store)
