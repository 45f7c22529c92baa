"""Charts as Vega-Lite specifications; the page's script draws them in the colours of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .elements import Cell, Html, escaped, number, table

Values = npt.NDArray[np.float64]

# how series of each look are drawn, the hindmost first
MARKS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("raw",), {"type": "line", "strokeWidth": 1, "opacity": 0.45}),
    (("line", "points"), {"type": "line", "strokeWidth": 2}),
    (("points",), {"type": "point", "filled": True, "size": 36, "opacity": 1}),
    (("dots",), {"type": "point", "filled": True, "size": 22, "opacity": 0.55}),
)

# draws the range of x that is looked at next
BRUSH = {"name": "brush", "select": {"type": "interval", "encodings": ["x"]}}

# seen on light and on dark pages
GREY = "#808a96"

# rows of the table that says in numbers what a chart shows
MOST_TABLE_ROWS = 60


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: for the legend.
        x, y: float64 [N].
        look: `line`, `raw` (a thin line behind the others), `points` (a line with marks) or `dots`
            (marks alone).
    """

    name: str
    x: Values
    y: Values
    look: str = "line"

    def finite(self) -> Series:
        """Without the points that no chart can show."""
        shown = np.isfinite(self.x) & np.isfinite(self.y)
        return Series(self.name, self.x[shown], self.y[shown], self.look)


@dataclass(frozen=True)
class Chart:
    """A chart with its controls, its text alternative and its numbers.

    Attributes:
        name: unique within the page.
        title: above it.
        says: what it shows, in a sentence.
        x_title, y_title: of the axes.
        series: what it shows; the colour of each follows from its place.
        kind: `lines` or `bars`; for bars `x` are left edges, and `width` what each spans.
        width: of a bar, in units of x.
        diagonal: whether a line shows where x and y are equal.
        smooths: whether its first series can be smoothed.
        logarithmic: whether y grows by factors.
        whole_x: whether x counts something.
        is_square: whether both axes have the same length.
    """

    name: str
    title: str
    says: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    kind: str = "lines"
    width: float = 0.0
    diagonal: bool = False
    smooths: bool = False
    logarithmic: bool = False
    whole_x: bool = True
    is_square: bool = False
    y_domain: tuple[float, float] | None = None
    note: str = field(default="")

    @property
    def html(self) -> Html:
        """Where the page's script draws it; without scripts the numbers are there."""
        name = escaped(self.name)
        note = f'<p class="note">{escaped(self.note)}</p>\n' if self.note else ""
        return Html(
            f'<figure class="chart{" square" if self.is_square else ""}" data-chart="{name}">\n'
            f'<figcaption><h3 id="{name}-title">{escaped(self.title)}</h3>\n'
            f"<p>{escaped(self.says)}</p></figcaption>\n{self._controls()}"
            f'<div class="plot" role="img" aria-label="{escaped(self.title)}: '
            f'{escaped(self.says)}"><div aria-hidden="true"></div></div>\n{note}'
            f"<details><summary>Numbers of this chart</summary>\n{self._table()}\n</details>\n"
            "</figure>"
        )

    @property
    def _zooms(self) -> bool:
        """Whether a part of x can be looked at; equal axes belong together."""
        return self.kind == "lines" and not self.is_square

    def _controls(self) -> str:
        name = escaped(self.name)
        parts = []
        if len(self.series) > 1:
            boxes = "".join(
                f'<label class="series"><input type="checkbox" checked data-series="{place}">'
                f'<span class="swatch s{place % 8} {one.look}"></span>{escaped(one.name)}</label>'
                for place, one in enumerate(self.series)
            )
            parts.append(
                f'<fieldset class="legend"><legend>Shown in {escaped(self.title)}</legend>'
                f"{boxes}</fieldset>"
            )
        if self.smooths:
            parts.append(
                '<label class="smooth">Smoothing <input type="range" min="0" max="99" value="0" '
                f'data-smooth aria-describedby="{name}-title"></label>'
            )
        if self._zooms:
            parts.append(
                '<span class="zoom">'
                + "".join(
                    f'<button type="button" data-zoom="{way}" title="{says}" '
                    f'aria-label="{says}: {escaped(self.title)}">{text}</button>'
                    for way, says, text in (
                        ("in", "Zoom in", "+"),
                        ("out", "Zoom out", "−"),
                        ("reset", "Show all", "all"),
                    )
                )
                + "</span>"
            )
        return f'<div class="controls">{"".join(parts)}</div>\n' if parts else ""

    def _table(self) -> Html:
        """The numbers, those of series with the same x in one row; of many, evenly chosen."""
        columns = [dict(zip(one.x.tolist(), one.y.tolist(), strict=True)) for one in self.series]
        places = sorted({x for column in columns for x in column})
        chosen = spread(len(places), MOST_TABLE_ROWS)
        caption = f"{self.title}: numbers"
        if len(chosen) < len(places):
            caption += f" ({len(chosen)} of {len(places)} places, evenly chosen)"
        rows: list[list[Cell]] = [
            [_place(places[k]), *(column.get(places[k]) for column in columns)] for k in chosen
        ]
        return table([self.x_title, *(one.name for one in self.series)], rows, caption)

    def drawn(self) -> dict[str, Any]:
        """What the page's script gets: the specification, and the points in columns."""
        return {
            "spec": self.spec(),
            "series": [
                {
                    "name": one.name,
                    "look": one.look,
                    "x": [_short(value) for value in one.x.tolist()],
                    "y": [_short(value) for value in one.y.tolist()],
                }
                for one in self.series
            ],
        }

    def spec(self) -> dict[str, Any]:
        """The specification, whose rows the page's script puts in.

        A row has `x`, `y`, the `series` it is of and how that is drawn.
        """
        x_axis = {"title": self.x_title, **({"tickMinStep": 1} if self.whole_x else {})}
        y_scale: dict[str, Any] = {"zero": self.kind == "bars"}
        if self.logarithmic:
            y_scale["type"] = "log"
        if self.y_domain is not None:
            y_scale["domain"] = list(self.y_domain)
        x_scale: dict[str, Any] = {"zero": False, "nice": False}
        if self.is_square and self.diagonal:
            lowest, highest = self._extent()
            x_scale["domain"] = y_scale["domain"] = [lowest, highest]
        names = [one.name for one in self.series]
        shared = {
            "x": {"field": "x", "type": "quantitative", "axis": x_axis, "scale": x_scale},
            "y": {
                "field": "y",
                "type": "quantitative",
                "axis": {"title": self.y_title},
                "scale": y_scale,
            },
            "color": {
                "field": "series",
                "type": "nominal",
                "scale": {"domain": names},
                "legend": None,
            },
        }
        tooltip = [
            {"field": "x", "type": "quantitative", "title": self.x_title, "format": ",.6~g"},
            {"field": "y", "type": "quantitative", "title": self.y_title, "format": ",.6~g"},
            *([{"field": "series", "title": "series"}] if len(names) > 1 else []),
        ]
        layers = self._bars(tooltip) if self.kind == "bars" else self._lines(tooltip)
        return {
            "width": "container",
            "height": 260,
            "params": [{"name": "hidden", "value": []}, {"name": "zoomed", "value": None}],
            "data": {"name": "rows"},
            "transform": [
                {"filter": "indexof(hidden, datum.series) < 0"},
                {"filter": "!zoomed || (datum.x >= zoomed[0] && datum.x <= zoomed[1])"},
            ],
            "encoding": shared,
            "layer": [*([self._diagonal()] if self.diagonal else []), *layers],
        }

    def _lines(self, tooltip: list[dict[str, Any]]) -> list[dict[str, Any]]:
        looks = {one.look for one in self.series}
        drawn = [
            {
                "transform": [{"filter": f"indexof({json.dumps(shown)}, datum.look) >= 0"}],
                "mark": mark,
            }
            for shown, mark in MARKS
            if looks & set(shown)
        ]
        return [
            *drawn,
            {
                "params": [
                    {
                        "name": "hover",
                        "select": {
                            "type": "point",
                            "nearest": True,
                            "on": "pointerover",
                            "clear": "pointerout",
                        },
                    },
                    *([BRUSH] if self._zooms else []),
                ],
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {
                    "opacity": {
                        "condition": {"param": "hover", "empty": False, "value": 1},
                        "value": 0,
                    },
                    "tooltip": tooltip,
                },
            },
        ]

    def _bars(self, tooltip: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "transform": [{"calculate": f"datum.x + {self.width!r}", "as": "end"}],
                "mark": {"type": "bar", "orient": "vertical", "binSpacing": 1},
                "encoding": {"x2": {"field": "end"}, "y2": {"datum": 0}, "tooltip": tooltip},
            }
        ]

    def _diagonal(self) -> dict[str, Any]:
        ends = self._extent()
        return {
            "data": {"values": [{"x": end, "y": end} for end in ends]},
            "transform": [],
            "mark": {"type": "line", "color": GREY, "strokeDash": [4, 4], "strokeWidth": 1.5},
            "encoding": {"color": None},
        }

    def _extent(self) -> tuple[float, float]:
        if self.y_domain is not None:
            return self.y_domain
        values = np.concatenate([part for one in self.series for part in (one.x, one.y)])
        return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def spread(count: int, most: int) -> list[int]:
    """At most so many places of `count`, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place) for place in np.linspace(0, count - 1, most).tolist()})


def _place(value: float) -> Cell:
    return int(value) if value.is_integer() else number(value)


def _short(value: float) -> float | int:
    """As many digits as a tooltip shows."""
    if value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.6g}") if math.isfinite(value) else 0
