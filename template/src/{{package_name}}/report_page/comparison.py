"""Several runs beside each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ..errors import TrainingError
from ..training.checkpoints import Judgement, find_checkpoint, read_checkpoint
from ..training.metric_names import VALIDATION, is_of_class
from ..training.metrics import read_metrics
from . import curves
from .elements import Cell, Html, escaped, number, paragraph, table
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
    """

    folder: Path
    rows: pd.DataFrame
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    step: int
    judged: Judgement | None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a run's folder.

        Raises:
            TrainingError: it holds no finished epoch.
        """
        if not (folder / "metrics.csv").is_file():
            raise TrainingError(f"{folder} holds no metrics.csv; give the folder of a run")
        checkpoint = read_checkpoint(find_checkpoint("", str(folder), "best"))
        judged = checkpoint["judged"]
        return cls(
            folder,
            read_metrics(folder),
            checkpoint["config"],
            checkpoint["metrics"],
            int(checkpoint["global_step"]),
            None if judged is None else Judgement(**judged),
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
    metric = judged[best].metric.removeprefix(VALIDATION)
    says = f"{best} is best: {metric} {number(judged[best].score)}."
    return Html(f'<div class="verdict good">{paragraph(says, "first")}</div>')


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
            *(run.metrics.get(metric) for metric in names),
        ]
        for name, run in runs.items()
    ]
    caption = "Metrics of the best checkpoint of each run; the headers sort"
    return table(["run", "optimizer step", *names], rows, caption, sortable=True)


def _link(name: str, run: ComparedRun, place: Path) -> Html:
    """To the run's own report, where there is one."""
    report = run.folder / REPORT
    if not report.is_file():
        return escaped(name)
    address = Path(os.path.relpath(report, place)).as_posix()
    return Html(f'<a href="{escaped(address)}">{escaped(name)}</a>')
