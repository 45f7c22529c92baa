"""The runs of a project: what each one came to, which is the newest, which the best.

Nothing here needs torch: a run keeps in `run.json` what people ask of it.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Self

from ..atomic import write_whole
from ..config import TrainingConfig, nearest, read_mapping
from ..errors import ConfigError, TrainingError
from ..identity import Project

SETTINGS_FILE = "config.yaml"
RECORD_FILE = "run.json"
FOLDER = "checkpoints"

# what a run is called whose process has gone without saying how it ended
RUNNING = "running"

# settings that say where a run lies, not what it is
OF_PLACES = ("output_dir", "export_dir", "resume")


@dataclass(frozen=True)
class BestEpoch:
    """The validation that a run's best checkpoint comes from.

    Attributes:
        metric: what decides.
        mode: whether `max` or `min` of it is best.
        score: its value.
        epoch: which epoch, from 1.
        step: after which optimizer step.
    """

    metric: str
    mode: str
    score: float
    epoch: int
    step: int

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**{**kept, "score": math.nan if kept["score"] is None else kept["score"]})

    def to_dict(self) -> dict[str, Any]:
        """Plain data; JSON has no NaN, which becomes null."""
        return {**asdict(self), "score": None if math.isnan(self.score) else self.score}

    def beats(self, other: BestEpoch | None) -> bool:
        """Whether it is better; results of different metrics cannot be compared."""
        if other is None or (other.metric, other.mode) != (self.metric, self.mode):
            return False
        if math.isnan(self.score):
            return False
        better = self.score > other.score if self.mode == "max" else self.score < other.score
        return better or math.isnan(other.score)


@dataclass(frozen=True)
class EpochPace:
    """How an epoch went; times in seconds, on the first process.

    Attributes:
        epoch: which one, from 1.
        step: after which optimizer step it ended.
        samples: how many were trained on, on all processes.
        seconds: how long it took, its validation included.
        waiting: for batches.
        validating: on the validation samples.
    """

    epoch: int
    step: int
    samples: int
    seconds: float
    waiting: float
    validating: float

    @property
    def working(self) -> float:
        """Seconds spent on training batches."""
        return max(0.0, self.seconds - self.waiting - self.validating)

    @property
    def samples_per_second(self) -> float:
        """Training samples, in the time that is not spent on validating."""
        return self.samples / max(1e-9, self.seconds - self.validating)


@dataclass(frozen=True)
class RunRecord:
    """What a run came to, as `run.json` keeps it.

    Attributes:
        started: when it was first started, ISO 8601 with the zone.
        seconds: time spent on it, over all resumes.
        outcome: `running`, `finished`, `interrupted` or `failed`.
        optimizer_steps: how many it has taken.
        epochs: how many it has finished.
        best: where its best checkpoint comes from; None before the first validation.
        paces: how each epoch went, in order.
        compilation: lines about compiling, in order.
        environment: versions and devices, by name.
    """

    started: str = ""
    seconds: float = 0.0
    outcome: str = RUNNING
    optimizer_steps: int = 0
    epochs: int = 0
    best: BestEpoch | None = None
    paces: tuple[EpochPace, ...] = ()
    compilation: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """What a run keeps; an empty record where that is missing or damaged."""
        try:
            kept = json.loads((run_dir / RECORD_FILE).read_text(encoding="utf-8"))
            best = kept["best"]
            parts = {
                "best": None if best is None else BestEpoch.of(best),
                "paces": tuple(EpochPace(**pace) for pace in kept["paces"]),
                "compilation": tuple(kept["compilation"]),
            }
            return cls(**{**kept, **parts})
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return cls()

    def write(self, run_dir: Path) -> None:
        """Keep it with the run."""
        write_whole(run_dir / RECORD_FILE, json.dumps(self.to_dict(), indent=2, allow_nan=False))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {**asdict(self), "best": None if self.best is None else self.best.to_dict()}


def environment(device: str, processes: int) -> dict[str, str]:
    """What a run depends on besides its settings: versions of what the project asks for, devices.

    Args:
        device: what it computes on, for people.
        processes: how many share it.
    """
    found = {"device": device, "processes": str(processes), "python": platform.python_version()}
    for library in _libraries():
        with contextlib.suppress(PackageNotFoundError):  # an extra that is not installed
            found[library] = version(library)
    return {**found, "system": platform.platform()}


def _libraries() -> list[str]:
    """Distributions that this project names, where it is installed; else those it cannot lack."""
    try:
        wanted = requires(Project.own().slug) or []
    except PackageNotFoundError:
        return ["torch", "lightning", "numpy"]
    return sorted({re.split(r"[^\w.-]", name, maxsplit=1)[0] for name in wanted})


# --- All runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run's folder with what is in it.

    Attributes:
        folder: where it lies.
        record: what it came to.
        settings: those it was started with; empty where they cannot be read.
        bundle: the newest bundle of it; None where there is none.
        is_best: nothing else of the same metric and data is better.
    """

    folder: Path
    record: RunRecord
    settings: Mapping[str, Any]
    bundle: Path | None = None
    is_best: bool = False

    def told(self) -> str:
        """Its name and what it reached."""
        best = self.record.best
        return f"{self.folder.name} ({best.metric} {best.score:.4f})" if best else self.folder.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "run": str(self.folder),
            **self.record.to_dict(),
            "settings": dict(self.settings),
            "bundle": None if self.bundle is None else str(self.bundle),
            "is_best": self.is_best,
        }


def latest_run(output_dir: str | Path) -> Path:
    """The newest run's folder.

    Raises:
        TrainingError: there is none.
    """
    runs = [path for path in Path(output_dir).glob("*") if _is_run(path)]
    if not runs:
        raise TrainingError(f"{output_dir} holds no run; start one with `train`")
    return max(runs, key=started)


def _is_run(path: Path) -> bool:
    return (path / SETTINGS_FILE).is_file() or any(path.glob(f"{FOLDER}/*.ckpt"))


def started(run_dir: Path) -> int:
    """When it was started, or gone on with, in nanoseconds."""
    settings = run_dir / SETTINGS_FILE
    return (settings if settings.is_file() else run_dir).stat().st_mtime_ns


def read_runs(output_dir: str | Path, export_dir: str | Path | None = None) -> list[Run]:
    """All runs, oldest first, the best of each metric and data marked.

    Args:
        output_dir: where they lie.
        export_dir: where their bundles lie; None leaves those out.

    Raises:
        TrainingError: there is none.
    """
    latest_run(output_dir)
    bundles = {} if export_dir is None else _bundles(Path(export_dir))
    folders = sorted(filter(_is_run, Path(output_dir).glob("*")), key=started)
    runs = [
        Run(folder, RunRecord.read(folder), _settings(folder), bundles.get(folder.name))
        for folder in folders
    ]
    return [
        replace(run, is_best=run.record.best is not None and better_run(runs, run.folder) is None)
        for run in runs
    ]


def better_run(runs: Sequence[Run], folder: Path) -> Run | None:
    """The best of the runs that are better than one, on the same data by the same metric."""
    [asked] = [run for run in runs if run.folder == folder]
    best = asked
    for run in runs:
        alike = run.settings.get("data") == asked.settings.get("data")
        if alike and run.record.best is not None and run.record.best.beats(best.record.best):
            best = run
    return None if best is asked else best


def _settings(run_dir: Path) -> Mapping[str, Any]:
    try:
        return read_mapping(run_dir / SETTINGS_FILE)
    except ConfigError:  # damaged
        return {}


def _bundles(export_dir: Path) -> dict[str, Path]:
    """The newest bundle of each run, by the run's name."""
    found: dict[str, Path] = {}
    for file in sorted(export_dir.glob("*/metadata.json"), key=lambda path: path.stat().st_mtime):
        try:
            run = json.loads(file.read_text(encoding="utf-8")).get("run")
        except (OSError, ValueError, AttributeError):  # damaged, or no bundle
            continue
        if isinstance(run, str):
            found[run] = file.parent
    return found


# --- The table -----------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[Run], str]] = {
    "run": lambda run: f"{'★ ' if run.is_best else '  '}{run.folder.name}",
    "start": lambda run: _when(run.record.started),
    "time": lambda run: str(timedelta(seconds=round(run.record.seconds))),
    "outcome": lambda run: run.record.outcome if run.record.started else "",
    "steps": lambda run: str(run.record.optimizer_steps),
    "model": lambda run: str(run.settings.get("model", "")),
    "metric": lambda run: run.record.best.metric if run.record.best else "",
    "best": lambda run: f"{run.record.best.score:.4f}" if run.record.best else "",
    "epoch": lambda run: str(run.record.best.epoch) if run.record.best else "",
    "bundle": lambda run: run.bundle.name if run.bundle else "",
}


def run_table(runs: Sequence[Run], by: str = "start") -> list[str]:
    """A line for each run, and a header; what a run's settings are where they differ stands last.

    Args:
        runs: as `read_runs` gives them.
        by: column to sort by: the newest, longest or best first, names from the first letter on.

    Raises:
        ConfigError: there is no such column.
    """
    if by not in COLUMNS:
        known = list(COLUMNS)
        names = ", ".join(known)
        raise ConfigError([f"--sort: no column {by!r}; there are {names}{nearest(by, known)}"])
    differing = _differing([run.settings for run in runs])
    rows = [[*COLUMNS, "settings"]]
    for run in sorted(runs, key=lambda run: _order(run, by)):
        settings = [f"{name}={run.settings.get(name)}" for name in differing]
        rows.append([*(column(run) for column in COLUMNS.values()), " ".join(settings)])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _order(run: Run, by: str) -> tuple[Any, ...]:
    best = run.record.best
    match by:
        case "start":
            return (-started(run.folder),)
        case "time":
            return (-run.record.seconds,)
        case "steps":
            return (-run.record.optimizer_steps,)
        case "best" | "metric":
            if best is None or math.isnan(best.score):
                return (1, "", 0.0)
            return (0, best.metric, -best.score if best.mode == "max" else best.score)
        case _:
            return (COLUMNS[by](run).strip(),)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings in which runs differ, in their order; the model has a column of its own."""
    return [
        name
        for name in TrainingConfig.names()
        if name not in (*OF_PLACES, "model")
        and any(known.get(name) != settings[0].get(name) for known in settings[1:])
    ]


def _when(started_at: str) -> str:
    try:
        return datetime.fromisoformat(started_at).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""
