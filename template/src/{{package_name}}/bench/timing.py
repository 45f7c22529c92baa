"""Timing alternatives against each other, and showing the result as a table and as a picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import vl_convert
from rich.console import Console
from rich.table import Table

from ..atomic import write_whole
from ..config import TrainingConfig

ROUNDS = 9


@dataclass(frozen=True)
class Timing:
    """Median time of one batch.

    Attributes:
        name: what was timed.
        milliseconds: for one batch.
        samples: in one batch.
        each: milliseconds of each batch that was timed.
    """

    name: str
    milliseconds: float
    samples: int
    each: tuple[float, ...] = ()

    @property
    def per_second(self) -> float:
        """Samples a second."""
        return 1000 * self.samples / self.milliseconds

    def percentile(self, percent: int) -> float:
        """Milliseconds within which so many of the batches were done."""
        return float(np.percentile(self.each or [self.milliseconds], percent))


def interleave(work: Mapping[str, Callable[[], int]], rounds: int = ROUNDS) -> list[Timing]:
    """Time several ways of doing the same, one after the other in every round.

    Args:
        work: functions that handle one batch and return how many samples it had.
        rounds: repetitions, after one that does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    samples: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, run in work.items():
            start = time.perf_counter()
            samples[name] = run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return [
        Timing(
            name,
            1000 * statistics.median(values),
            samples[name],
            tuple(1000 * value for value in values),
        )
        for name, values in seconds.items()
    ]


def print_table(
    title: str,
    timings: Sequence[Timing],
    console: Console,
    extra: Mapping[str, Sequence[str]] | None = None,
    *,
    counted: str = "samples",
) -> None:
    """One row a timing; the first is what the others are compared with.

    Args:
        title: above the table.
        timings: the rows.
        console: where the table goes.
        extra: further columns by heading, a text for each row.
        counted: what a batch consists of.
    """
    columns: dict[str, Sequence[str]] = {
        "way": [timing.name for timing in timings],
        "ms a batch": [_short(timing.milliseconds) for timing in timings],
        f"{counted} a second": [f"{timing.per_second:,.0f}" for timing in timings],
        "speed": [f"{timing.per_second / timings[0].per_second:.2f}x" for timing in timings],
    } | dict(extra or {})
    table = Table(title=title)
    for heading in columns:
        # where a terminal is narrow, nothing is cut off: headings give way first
        is_name = heading == "way"
        table.add_column(
            heading, justify="left" if is_name else "right", no_wrap=is_name, overflow="fold"
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def percentiles(timings: Sequence[Timing], *percents: int) -> dict[str, list[str]]:
    """Columns for `print_table`: milliseconds within which so many percent of batches were done."""
    return {f"p{p}": [_short(timing.percentile(p)) for timing in timings] for p in percents}


def _short(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def save_picture(
    title: str, chart: dict[str, Any], config: TrainingConfig, console: Console
) -> None:
    """Draw a chart beside the runs, as `bench-<title>.png`, and say where.

    Args:
        title: of the benchmark.
        chart: a Vega-Lite specification.
        config: whose `output_dir` it is.
        console: where its place goes.
    """
    picture = Path(config.output_dir) / f"bench-{title.replace(' ', '-')}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_whole(picture, vl_convert.vegalite_to_png(chart, scale=2))
    console.print(f"picture: {picture}", highlight=False, markup=False)


def throughput(title: str, timings: Sequence[Timing]) -> dict[str, Any]:
    """Samples a second, one bar each."""
    return {
        "title": title,
        "width": 480,
        "data": {"values": [{"way": t.name, "samples": t.per_second} for t in timings]},
        "mark": "bar",
        "encoding": {
            "y": {"field": "way", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "samples", "type": "quantitative", "title": "samples a second"},
        },
    }
