"""`docs/benchmarks.md`: the table and the picture of what was measured."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import vl_convert
from PIL import Image

from .catalogue import BENCHMARKS
from .harness import ROOT, Outcome, Row, Target, Way

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks.json"
PICTURE = ROOT / "docs" / "images" / "benchmarks.png"

HEAD = """\
# Benchmarks

What tp35 costs beside what people would use instead, and beside the limit. This page is written by

<!-- not run: takes an hour and more -->
```sh
uv run --group benchmarks python -m tests.benchmarks
```

in a clone of tp35, from figures in [benchmarks.json](benchmarks.json); names of benchmarks after
the command measure these only. All contenders of a row run in turns in one process, or as
processes in turns, and each is checked first to give the right result. Figures are medians with
their quartiles; ratios are taken round by round, so that what else the machine does hits both
sides. On other machines the figures differ, and the ratios somewhat.

![Ratios and their targets](images/benchmarks.png)
"""


def read_outcomes() -> dict[str, Outcome]:
    """What was measured before, by benchmark."""
    if not FIGURES.exists():
        return {}
    kept = json.loads(FIGURES.read_text("utf-8"))
    return {one["benchmark"]: Outcome.of(one) for one in kept if one["benchmark"] in BENCHMARKS}


def write(outcomes: Mapping[str, Outcome]) -> None:
    """The page, its figures and its picture."""
    ordered = [outcomes[name] for name in BENCHMARKS if name in outcomes]
    kept = [outcome.to_dict() for outcome in ordered]
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(outcomes), "utf-8")
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(picture(ordered), scale=1.5)))
    # a tenth of the bytes, and nobody sees it
    drawn.convert("RGB").quantize(32).save(PICTURE, optimize=True)


def page(outcomes: Mapping[str, Outcome]) -> str:
    """Markdown."""
    parts = [HEAD, summary(outcomes.values())]
    for name, found in BENCHMARKS.items():
        parts.append(f"\n## {found.title}\n\n")
        if name not in outcomes:
            parts.append("Not measured" + (": needs a GPU.\n" if found.is_gpu else ".\n"))
            continue
        outcome = outcomes[name]
        parts.append(f"`{name}`, {outcome.date}, {outcome.machine}; {outcome.took:g} minutes.\n")
        parts += [section(row) for row in outcome.rows]
    return "".join(parts)


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many targets are met."""
    met = [
        target.is_met(row.ways)
        for outcome in outcomes
        for row in outcome.rows
        for target in row.targets
    ]
    return (
        f"\nOf {len(met)} targets {sum(met)} are met. One that is missed says by how much, and its "
        "row why.\n"
    )


def section(row: Row) -> str:
    """A row's table and what is claimed."""
    rounds = len(row.ways[0].values)
    rounds_in_words = "1 round" if rounds == 1 else f"{rounds} rounds"
    lines = [f"\n**{row.what}**, {rounds_in_words}\n", f"| contender | {row.unit} |", "|---|---|"]
    lines += [f"| {way.name} ({way.version}) | {spread(way.values)} |" for way in row.ways]
    claims = [claim(target, row.ways) for target in row.targets]
    note = ["", row.note] if row.note else []
    return "\n".join([*lines, "", *claims, *note]) + "\n"


def claim(target: Target, ways: Sequence[Way]) -> str:
    """One line: the ratio, its target and whether it is met."""
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", target.least), ("at most", target.most))
        if bound is not None
    ]
    whose = target.way if target.against is None else f"{target.way} / {target.against}"
    verdict = "met" if target.is_met(ways) else f"**missed** by {missed_by(target, ways)}"
    return f"- {whose}: {spread(target.ratios(ways))}; target {' and '.join(bounds)}: {verdict}"


def missed_by(target: Target, ways: Sequence[Way]) -> str:
    """By what part of the bound."""
    ratio = statistics.median(target.ratios(ways))
    is_below = target.least is not None and ratio < target.least
    bound = target.least if is_below else target.most
    assert bound is not None
    share = abs(ratio / bound - 1)
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    median = statistics.median(values)
    if len(values) < 2:
        return number(median)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{number(median)} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def picture(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Every ratio as a share of its target, on a scale on which twice and half look alike."""
    points = [
        {
            "row": f"{row.what}: {target.way} / {target.against or 'limit'}",
            "share": share,
            "target": "met" if target.is_met(row.ways) else "missed",
        }
        for outcome in outcomes
        for row in outcome.rows
        for target in row.targets
        for share in [share_of_target(target, row.ways)]
    ]
    colours = {"domain": ["met", "missed"], "range": ["#2a7f62", "#c2410c"]}
    horizontal = {
        "field": "share",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2},
        "title": "times as good as the target",
    }
    rows = {
        "field": "row",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 700},
    }
    return {
        "width": 420,
        "data": {"values": points},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": {
                    "x": horizontal,
                    "y": rows,
                    "color": {"field": "target", "type": "nominal", "scale": colours},
                },
            },
            {
                "data": {"values": [{"one": 1}]},
                "mark": {"type": "rule", "strokeDash": [4, 4]},
                "encoding": {"x": {"field": "one", "type": "quantitative"}},
            },
        ],
    }


def share_of_target(target: Target, ways: Sequence[Way]) -> float:
    """How many times as good as its bound the ratio is."""
    ratio = statistics.median(target.ratios(ways))
    if target.least is not None:
        return ratio / target.least
    assert target.most is not None
    return target.most / ratio


def path_in_clone(path: Path) -> str:
    """For messages."""
    return path.relative_to(ROOT).as_posix()
