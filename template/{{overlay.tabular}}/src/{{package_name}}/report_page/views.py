"""How rows are shown in a report, and what it says of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.module import UniversalDataModule
from ..data.reading import ROW, cells_of
from ..data.splits import Splits
from ..evaluation import Evaluation, Measured
from ..preprocessing import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Encoded,
    NumberColumn,
    is_missing,
    read_row,
    text_of,
)
from ..training.adapter import UniversalModelAdapter
from ..training.metric_names import VALIDATION
from ..training.objective import monitor_of
from ..training.objectives import OBJECTIVES
from ..training.parameters import untouched
from ..training.trained_model import TrainedModel
from .charts import Chart, Series, spread
from .elements import Cell, Html, Ranged, Share, View, heading, joined, paragraph, table
from .page import Section

if TYPE_CHECKING:
    import datasets

Floats = npt.NDArray[np.float64]

# columns and characters of a cell that show a row
MOST_CELLS, MOST_LETTERS = 12, 24

# of the shuffles
REPEATS, SEED = 5, 0

# rows that the network is asked about in all shuffles together, and those of one shuffle
MOST_ASKED, MOST_ROWS, FEWEST_ROWS = 1_000_000, 2_000, 100

# columns whose partial dependence is shown, outputs of it, and places on the range of a column
MOST_COLUMNS, MOST_OUTPUTS, PLACES = 4, 6, 21


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """The first cells of a row.

    Args:
        measured: what is shown the row.
        rows: of a split.
        number: of the row, from 0.
    """
    cells = list(read_row(rows[number][ROW].encode()).items())
    said = ", ".join(f"{name}: {_short(text_of(cell))}" for name, cell in cells[:MOST_CELLS])
    return View(excerpt=f"{said}, …" if len(cells) > MOST_CELLS else said)


def _short(text: str) -> str:
    return f"{text[:MOST_LETTERS]}…" if len(text) > MOST_LETTERS else text or "–"


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """None: rows are trained on as they are."""
    return None


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """What the columns hold, what they are worth to the network, and how its answers follow them.

    Args:
        measured: the network, or a bundle, which is not asked about single rows again.
        evaluation: what it says of the rows.
    """
    columns = evaluation.task_spec.columns.columns
    shares = _missing_shares(evaluation)
    if not isinstance(measured, TrainedModel):
        return [_columns(columns, shares, evaluation, None)]
    asked = _Asked(measured, evaluation)
    importance = _Importance.of(asked)
    sections = [_columns(columns, shares, evaluation, importance)]
    order = sorted(columns, key=lambda one: -importance.losses[one.name].mean())
    return [*sections, _dependence(asked, order[:MOST_COLUMNS])]


def _missing_shares(evaluation: Evaluation) -> dict[str, float]:
    """The share of the rows in which each column has no value."""
    table = evaluation.task_spec.columns
    rows = cells_of(evaluation.rows)
    return {
        name: sum(is_missing(row.get(name), table.markers) for row in rows) / len(rows)
        for name in table.names
    }


def _columns(
    columns: Sequence[Column],
    shares: dict[str, float],
    evaluation: Evaluation,
    importance: _Importance | None,
) -> Section:
    """A table of all columns, those that are worth most first."""
    count = len(evaluation.rows)
    says = [paragraph(f"The {len(columns)} columns of these {count:,} rows.")]
    header, order = ["column", "kind", "missing"], list(columns)
    if importance is not None:
        says.append(paragraph(importance.says(count)))
        header.append(f"{importance.metric}, worse by")
        order.sort(key=lambda one: -importance.losses[one.name].mean())
    rows: list[list[Cell]] = [
        [
            one.name,
            one.kind,
            Share(shares[one.name]),
            *([] if importance is None else [_ranged(importance.losses[one.name])]),
        ]
        for one in order
    ]
    return Section(
        "Columns", joined([*says, table(header, rows, "Columns; the headers sort", sortable=True)])
    )


def _ranged(losses: Floats) -> Ranged:
    return Ranged(float(losses.mean()), float(losses.min()), float(losses.max()))


# --- Asking the network --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """Rows about which the network is asked again and again, each time with another column.

    Attributes:
        trained: the network.
        evaluation: all rows that were evaluated.
    """

    trained: TrainedModel
    evaluation: Evaluation
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    @cached_property
    def columns(self) -> Sequence[Column]:
        """In the order of the batch's fields."""
        columns: Sequence[Column] = self.trained.task_spec.columns.columns
        return columns

    @cached_property
    def rows(self) -> datasets.Dataset:
        """Some of those that were evaluated, drawn at random, so that asking takes bounded time."""
        count = len(self.evaluation.rows)
        share = MOST_ASKED // (REPEATS * len(self.columns))
        most = min(count, MOST_ROWS, max(FEWEST_ROWS, share))
        chosen = np.sort(self.generator.choice(count, most, replace=False))
        rows: datasets.Dataset = self.evaluation.rows.select(chosen)
        return rows

    @cached_property
    def batch(self) -> dict[str, Tensor]:
        """The rows as validation gives them to the network."""
        task_spec, config = self.trained.task_spec, untouched(self.trained.config)
        splits = Splits(self.rows, self.rows, task_spec.class_names, self.trained.processor)
        data = UniversalDataModule(task_spec, len(self.rows), config=config, splits=splits)
        [batch] = data.val_dataloader()
        return dict(batch)

    @property
    def size(self) -> int:
        """Rows of the batch."""
        return len(self.rows)

    @cached_property
    def _adapter(self) -> UniversalModelAdapter:
        task_spec, config = self.trained.task_spec, untouched(self.trained.config)
        adapter = UniversalModelAdapter(
            self.trained.model, config, self.trained.processor, task_spec=task_spec
        )
        return adapter.eval()

    @torch.inference_mode()
    def logits(self, **changed: Tensor) -> Tensor:
        """What the network gives, float32 [R, K], where some fields of the batch are others."""
        logits: Tensor = self._adapter(self.batch | changed)
        return logits.float()

    def places(self, column: Column) -> tuple[list[int], list[int]]:
        """Where a column's features lie in `numbers`, and its tables in `categories`."""
        table = self.trained.task_spec.columns
        features, tables = list(table.features), list(table.tables)
        return [features.index(n) for n in column.features], [
            tables.index(n) for n in column.tables
        ]

    def shuffled(self, column: Column) -> Tensor:
        """Logits where the rows have each other's cells of a column."""
        order = torch.from_numpy(self.generator.permutation(self.size))
        changed = {}
        for name, places in zip(("numbers", "categories"), self.places(column), strict=True):
            if places:
                changed[name] = self.batch[name].clone()
                changed[name][:, places] = self.batch[name][order][:, places]
        return self.logits(**changed)

    def with_cell(self, column: Column, cell: Any) -> Floats:
        """Mean answer [K] where all rows have this cell in a column, in the answers' own units."""
        markers = self.trained.task_spec.columns.markers
        encoded: Encoded = column.encode([cell], markers)
        numbers, categories = self.places(column)
        changed = {}
        for name, places, found in (
            ("numbers", numbers, encoded.numbers),
            ("categories", categories, encoded.categories),
        ):
            if places:
                changed[name] = self.batch[name].clone()
                values = torch.from_numpy(np.concatenate(found))
                changed[name][:, places] = values.to(changed[name].dtype)
        task_spec = self.trained.task_spec
        answers = OBJECTIVES[task_spec.task_type].answers(self.logits(**changed), task_spec)
        assert answers is not None
        mean: Floats = answers.double().mean(0).numpy()
        return mean


# --- What columns are worth ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Importance:
    """By how much a metric gets worse where a column says nothing any more.

    L. Breiman, "Random Forests", 2001; A. Fisher, C. Rudin and F. Dominici, "All Models are Wrong,
    but Many are Useful", 2019.

    Attributes:
        metric: the one that decides which checkpoint is best.
        size: rows that were shuffled.
        losses: of each column by its name, float64 [REPEATS].
    """

    metric: str
    size: int
    losses: dict[str, Floats]

    @classmethod
    def of(cls, asked: _Asked) -> _Importance:
        """From rows whose cells of one column are shuffled among them."""
        task_spec, config = asked.trained.task_spec, asked.trained.config
        objective = OBJECTIVES[task_spec.task_type]
        monitor = monitor_of(objective.configured(task_spec, config), task_spec, config)
        metric = monitor.column.removeprefix(VALIDATION)
        kind = objective.statistics(task_spec)
        better = 1.0 if monitor.is_better(1.0, 0.0) else -1.0

        def score(logits: Tensor) -> float:
            sums = kind.of_samples(logits, asked.batch["labels"]).sum(axis=0)
            return better * float(kind.figures(np.asarray(sums, np.float64))[metric])

        whole = score(asked.logits())
        losses = {
            one.name: np.array([whole - score(asked.shuffled(one)) for _ in range(REPEATS)])
            for one in asked.columns
        }
        return cls(metric, asked.size, losses)

    def says(self, count: int) -> str:
        """How it was measured."""
        rows = f"{self.size:,} of {count:,} rows" if self.size < count else f"{count:,} rows"
        return (
            f"A column is worth by how much {self.metric} gets worse when its cells are shuffled "
            f"among {rows}: the mean of {REPEATS} shuffles, the least and the largest behind it "
            "(permutation importance: Breiman, 2001). Columns that tell the same share what they "
            "are worth, and may each seem worth nothing."
        )


# --- How answers follow columns ------------------------------------------------------------------


def _dependence(asked: _Asked, columns: Sequence[Column]) -> Section:
    """The mean answer by what a column holds, for the columns that are worth most.

    J. Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", 2001.
    """
    charts: list[Chart] = []
    tables: list[Html] = []
    for place, column in enumerate(columns):
        cells = _cells(column, asked.rows)
        means = np.stack([asked.with_cell(column, cell) for _, cell in cells])
        if isinstance(column, NumberColumn):
            charts.append(_chart(place, column, [float(cell) for _, cell in cells], means, asked))
        else:
            tables.append(_table(column, [name for name, _ in cells], means, asked))
    says = (
        f"The mean answer over {asked.size:,} rows when all of them hold the same in one column, "
        "and what they hold in the others (partial dependence: Friedman, 2001). Where columns hang "
        "together, some of these rows are like none there is."
    )
    parts = [paragraph(says)]
    if charts:
        parts.append(Html(f'<div class="charts">{joined(chart.html for chart in charts)}</div>'))
    more = asked.trained.task_spec.num_outputs - MOST_OUTPUTS
    if more > 0:
        parts.append(paragraph(f"{more} more outputs are not shown.", "note"))
    return Section("Partial dependence", joined([*parts, *tables]), charts)


def _cells(column: Column, rows: datasets.Dataset) -> list[tuple[str, Any]]:
    """Cells that a column may have, each with what it is called."""
    match column:
        case NumberColumn():
            knots = column.feature.scale.knots
            places = np.linspace(min(knots), max(knots), PLACES).tolist()
            return [(f"{number:.4g}", number) for number in places]
        case CategoryColumn():
            chosen = spread(len(column.values), PLACES)
            return [(column.values[place], column.values[place]) for place in chosen]
        case BooleanColumn():
            return [("true", True), ("false", False)]
        case DateColumn():
            return _dates(column, rows)


def _dates(column: DateColumn, rows: datasets.Dataset) -> list[tuple[str, Any]]:
    """Dates of the rows, from the first to the last: between seasons there may be none."""
    cells = [row[column.name] for row in cells_of(rows)]
    found = {date: cell for cell in cells if (date := column.date(cell)) is not None}
    ordered = sorted(found)
    return [(text_of(found[ordered[n]]), found[ordered[n]]) for n in spread(len(ordered), PLACES)]


def _names(asked: _Asked) -> list[str]:
    task_spec = asked.trained.task_spec
    names = task_spec.class_names or [str(place) for place in range(task_spec.num_outputs)]
    return names[:MOST_OUTPUTS]


def _chart(
    place: int, column: NumberColumn, numbers: list[float], means: Floats, asked: _Asked
) -> Chart:
    x = np.array(numbers)
    return Chart(
        f"dependence-{place}",
        column.name,
        f"Mean answer by {column.name}, over the range that it has in training.",
        column.name,
        "mean answer",
        [Series(name, x, means[:, k], "points") for k, name in enumerate(_names(asked))],
        whole_x=False,
    )


def _table(column: Column, cells: list[str], means: Floats, asked: _Asked) -> Html:
    names = _names(asked)
    rows: list[list[Cell]] = [
        [cell, *map(float, mean[: len(names)])] for cell, mean in zip(cells, means, strict=True)
    ]
    return joined(
        [heading(column.name), table([column.name, *names], rows, f"Mean answer by {column.name}")]
    )
