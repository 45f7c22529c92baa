"""What a checkpoint reached, as the rows that people read in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping

from .metric_names import CLASS_FIGURES

Table = list[list[str]]
"""Rows of cells, the first one being the header."""


def overall_table(metrics: Mapping[str, float], trivial_metrics: Mapping[str, float]) -> Table:
    """Every metric that is not of one class, beside the trivial answer's.

    Args:
        metrics: of the network.
        trivial_metrics: of the answer that looks at no input; empty where nobody knows it.
    """
    of_classes = {_column(figure, name) for name in _classes(metrics) for figure in CLASS_FIGURES}
    names = [name for name in metrics if name not in of_classes]
    if not trivial_metrics:
        return [["metric", "model"], *([name, shown(metrics[name])] for name in names)]
    return [
        ["metric", "model", "trivial answer"],
        *([name, shown(metrics[name]), _shown_if(trivial_metrics, name)] for name in names),
    ]


def class_table(metrics: Mapping[str, float]) -> Table:
    """A row for each class that occurs in the validation samples; empty where none has figures."""
    rows = [
        [name, *(shown(metrics[_column(figure, name)]) for figure in CLASS_FIGURES)]
        for name in _classes(metrics)
    ]
    return (
        [["class", *(figure.removeprefix("class_") for figure in CLASS_FIGURES)], *rows]
        if rows
        else []
    )


def lines(table: Table) -> list[str]:
    """The table for a terminal, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def shown(value: float) -> str:
    """A number of any size in few characters."""
    return f"{value:.4f}" if 1e-2 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}"


def _shown_if(metrics: Mapping[str, float], name: str) -> str:
    return shown(metrics[name]) if name in metrics else ""


def _classes(metrics: Mapping[str, float]) -> list[str]:
    prefix = _column(CLASS_FIGURES[0], "")
    return [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]


def _column(figure: str, name: str) -> str:
    return f"val/{figure}/{name}"
