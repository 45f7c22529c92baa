"""Several runs beside each other."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ..errors import TrainingError
from ..training.checkpoints import Judgement, find_checkpoint, read_checkpoint
from ..training.intervals import Interval, kept_metrics
from ..training.metric_names import VALIDATION, is_of_class
from ..training.metrics import read_metrics
from . import curves
from .classes import interval
from .elements import Cell, Html, Ranged, escaped, joined, number, paragraph, table
from .page import Section
from .run import differing

REPORT = "report.html"


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of a run.

    Attributes:
        folder: of the run.
        rows: of its metrics.csv.
        config: its settings.
        metrics: of its best checkpoint.
        step: optimizer steps taken there.
        judged: what made it the best; None where nothing was validated.
        intervals: of the metrics, where the best checkpoint was evaluated.
    """

    folder: Path
    rows: pd.DataFrame
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    step: int
    judged: Judgement | None
    intervals: Mapping[str, Interval]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a run's folder.

        Raises:
            TrainingError: it holds no finished epoch.
        """
        if not (folder / "metrics.csv").is_file():
            raise TrainingError(f"{folder} holds no metrics.csv; give the folder of a run")
        best = find_checkpoint("", str(folder), "best")
        checkpoint = read_checkpoint(best)
        judged = checkpoint["judged"]
        return cls(
            folder,
            read_metrics(folder),
            checkpoint["config"],
            checkpoint["metrics"],
            int(checkpoint["global_step"]),
            None if judged is None else Judgement(**judged),
            kept_metrics(folder, "val", best) or {},
        )


def verdict(runs: Mapping[str, ComparedRun]) -> Html:
    """Which run is best, where all were judged by the same metric."""
    judged = {name: run.judged for name, run in runs.items() if run.judged is not None}
    kinds = {(one.metric, one.mode) for one in judged.values()}
    if len(judged) < len(runs) or len(kinds) > 1:
        says = "The runs were not judged by the same metric."
        return Html(f'<div class="verdict">{paragraph(says, "first")}</div>')
    best = next(iter(judged))
    for name, one in judged.items():
        if one.beats(judged[best]):
            best = name
    metric = judged[best].metric
    says = f"{best} is best: {metric.removeprefix(VALIDATION)} {number(judged[best].score)}."
    lines = [paragraph(says, "first")]
    found = runs[best].intervals.get(metric)
    near = [
        name
        for name, one in judged.items()
        if name != best and found is not None and found.includes(one.score)
    ]
    if found is not None and near:
        ends = interval(found.low, found.high)
        says = f"Perhaps by chance: its 95% interval, {ends}, includes {', '.join(near)}."
        lines.append(paragraph(says))
    return Html(f'<div class="verdict{"" if near else " good"}">{joined(lines)}</div>')


def sections(runs: Mapping[str, ComparedRun], place: Path) -> list[Section]:
    """Best metrics, settings that differ, curves over each other.

    Args:
        runs: at least one, by name.
        place: folder of the page, from which links to the runs' own reports lead.
    """
    return [
        Section("Best metrics", _metrics(runs, place)),
        Section("Settings", differing({name: run.config for name, run in runs.items()})),
        curves.compared({name: run.rows for name, run in runs.items()}),
    ]


def _metrics(runs: Mapping[str, ComparedRun], place: Path) -> Html:
    names = dict.fromkeys(
        name for run in runs.values() for name in run.metrics if not is_of_class(name)
    )
    rows: list[list[Cell]] = [
        [
            _link(name, run, place),
            run.step,
            *(_with_interval(run, metric) for metric in names),
        ]
        for name, run in runs.items()
    ]
    caption = "Metrics of the best checkpoint of each run, with 95% intervals; the headers sort"
    return table(["run", "optimizer step", *names], rows, caption, sortable=True)


def _with_interval(run: ComparedRun, metric: str) -> float | None:
    value, found = run.metrics.get(metric), run.intervals.get(metric)
    if value is None or found is None or math.isnan(found.low) or math.isnan(found.high):
        return value
    return Ranged(value, found.low, found.high)


def _link(name: str, run: ComparedRun, place: Path) -> Html:
    """To the run's own report, where there is one."""
    report = run.folder / REPORT
    if not report.is_file():
        return escaped(name)
    address = Path(os.path.relpath(report, place)).as_posix()
    return Html(f'<a href="{escaped(address)}">{escaped(name)}</a>')
