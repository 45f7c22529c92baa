"""The network for tables, with its defaults, beside LightGBM and a linear model with theirs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from rich.console import Console

from .harness import Project, Row, Scale, Target, Way, benchmark, project, versions

# shares of a table that judge, and of the rest that choose the network's checkpoint
TEST, VALIDATION = 0.25, 0.15
MOST_ROWS = 2000
LABEL = "label"

OURS, TREES, LINEAR = "network", "LightGBM", "linear model"
MEASURES = {"log loss": "val/loss", "accuracy": "val/accuracy", "RMSE": "val/rmse"}

Reached: TypeAlias = Mapping[str, Mapping[str, float]]
"""Metrics by contender and name."""


@dataclass(frozen=True)
class Table:
    """A public table out of a package.

    Attributes:
        name: of it, with its package.
        read: gives the table; what is predicted is its column LABEL.
        has_values: values are predicted, and not classes.
        columns: kinds of columns that look like another, as the setting takes them.
    """

    name: str
    read: Callable[[], pd.DataFrame]
    has_values: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """As the project calls it."""
        return "tabular_regression" if self.has_values else "tabular_classification"


def _scikit_learn(name: str) -> pd.DataFrame:
    import sklearn.datasets

    found = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    classes = getattr(found, "target_names", None)
    target = found.target if classes is None else found.target.map(lambda code: classes[code])
    table: pd.DataFrame = found.data.assign(**{LABEL: target})
    return table


def _statsmodels(name: str, label: str) -> pd.DataFrame:
    import statsmodels.datasets

    table: pd.DataFrame = getattr(statsmodels.datasets, name).load_pandas().data
    return table.rename(columns={label: LABEL})


def _river(name: str) -> pd.DataFrame:
    import river.datasets

    return pd.DataFrame([{**row, LABEL: y} for row, y in getattr(river.datasets, name)()])


def _affairs() -> pd.DataFrame:
    found = _statsmodels("fair", "affairs")
    return found.assign(**{LABEL: np.where(found[LABEL] > 0, "some", "none")})


def _votes() -> pd.DataFrame:
    found = _statsmodels("anes96", "vote").drop(columns="logpopul")
    return found.assign(**{LABEL: np.where(found[LABEL] > 0, "Dole", "Clinton")})


def _schools() -> pd.DataFrame:
    """The twelve columns that were measured; others are their products."""
    found = _statsmodels("star98", "NABOVE")
    share = found[LABEL] / (found[LABEL] + found["NBELOW"])
    return found.drop(columns="NBELOW").iloc[:, 1:13].assign(**{LABEL: share})


def _penguins() -> pd.DataFrame:
    import palmerpenguins

    found = palmerpenguins.load_penguins().rename(columns={"body_mass_g": LABEL})
    return found.dropna(subset=[LABEL])


TABLES = (
    Table("breast_cancer, scikit-learn", lambda: _scikit_learn("breast_cancer")),
    Table("digits, scikit-learn", lambda: _scikit_learn("digits")),
    Table("diabetes, scikit-learn", lambda: _scikit_learn("diabetes"), has_values=True),
    Table("fair, statsmodels", _affairs),
    Table("anes96, statsmodels", _votes),
    Table("randhie, statsmodels", lambda: _statsmodels("randhie", "mdvis"), has_values=True),
    Table("star98, statsmodels", _schools, has_values=True),
    Table("ImageSegments, river", lambda: _river("ImageSegments")),
    Table("Phishing, river", lambda: _river("Phishing")),
    Table("TrumpApproval, river", lambda: _river("TrumpApproval"), has_values=True),
    Table(
        "ChickWeights, river",
        lambda: _river("ChickWeights"),
        has_values=True,
        columns={"chick": "category", "diet": "category"},
    ),
    Table("penguins, palmerpenguins", _penguins, has_values=True),
)


@benchmark("Tables", minutes=20)
def tables(scale: Scale) -> Iterator[Row]:
    """Every table split anew in each round, and what contenders reach on rows they never saw."""
    chosen = TABLES[:1] if scale.toy else TABLES
    reached: list[list[Reached]] = [[] for _ in chosen]
    with project("tabular") as found:
        check(found)
        for number in range(scale.rounds):
            for table, of_rounds in zip(chosen, reached, strict=True):
                folder = write(table, Path(f"{number}-{table.name}"), number)
                of_rounds.append(evaluate(found, table, folder, number))
    if not scale.rounds:
        return
    for of_classes in ("log loss", "accuracy"):
        yield _ranks(chosen, reached, of_classes)
    for table, of_rounds in zip(chosen, reached, strict=True):
        measure = "RMSE" if table.has_values else "log loss"
        what = f"{table.name}: {len(_few(table)):,} rows"
        yield Row(what, measure, _ways([_of(measure, one) for one in of_rounds]))


def write(table: Table, folder: Path, seed: int) -> Path:
    """A folder with `train.csv`, `val.csv` and `test.csv`, at random."""
    rows = _few(table).sample(frac=1, random_state=seed)
    test = round(TEST * len(rows))
    val = test + round(VALIDATION * (len(rows) - test))
    folder.mkdir()
    for name, part in (("test", rows[:test]), ("val", rows[test:val]), ("train", rows[val:])):
        part.to_csv(folder / f"{name}.csv", index=False)
    return folder


def _few(table: Table) -> pd.DataFrame:
    rows = table.read()
    return rows if len(rows) <= MOST_ROWS else rows.sample(MOST_ROWS, random_state=0)


def evaluate(found: Project, table: Table, folder: Path, seed: int) -> Reached:
    """Train the network as a project is rendered, and measure it and its rivals on test rows."""
    settings = {
        "task": table.task,
        "data": str(folder),
        "label_column": LABEL,
        "columns": dict(table.columns),
        "seed": seed,
        "export_bundle": False,
    }
    config = found.module("config").TrainingConfig.load("config.yaml", **settings)
    result = found.module("training.loop").train(config, Console(quiet=True))
    trained = found.module("training.trained_model").load_trained_model(result.best)
    evaluation = found.module("evaluation").evaluate(trained, split="test")
    of_rivals = {rival.name: rival.metrics for rival in evaluation.rivals}
    return {
        name: {measure: interval.value for measure, interval in metrics.items()}
        for name, metrics in ({OURS: evaluation.metrics} | of_rivals).items()
    }


def _of(measure: str, reached: Reached) -> dict[str, float]:
    """What each contender reaches."""
    return {name: metrics[MEASURES[measure]] for name, metrics in reached.items()}


def _ways(of_rounds: Sequence[Mapping[str, float]]) -> list[Way]:
    contenders = {OURS: "ours", TREES: versions("lightgbm"), LINEAR: versions("scikit-learn")}
    return [
        Way(name, version, [one[name] for one in of_rounds]) for name, version in contenders.items()
    ]


def _ranks(chosen: Sequence[Table], reached: Sequence[Sequence[Reached]], of_classes: str) -> Row:
    """How contenders rank on average over all tables, in each round.

    Args:
        chosen: the tables.
        reached: on each, in each round.
        of_classes: what judges classes; values are judged by their RMSE.
    """
    of_rounds = []
    for of_tables in zip(*reached, strict=True):
        ranks = [
            ranked("RMSE" if table.has_values else of_classes, one)
            for table, one in zip(chosen, of_tables, strict=True)
        ]
        of_rounds.append({name: statistics.fmean(one[name] for one in ranks) for name in ranks[0]})
    what = f"mean rank over {len(chosen)} tables by {of_classes} of classes and RMSE of values"
    note = (
        "1 is the best. All learn from the same rows, with defaults, and are judged by a quarter "
        "of the table that none has seen; some more rows let the network choose its checkpoint. "
        f"Of a table with more rows {MOST_ROWS:,} are drawn. The tables are those of "
        f"{versions('scikit-learn', 'statsmodels', 'river', 'palmerpenguins')}."
    )
    return Row(what, "rank", _ways(of_rounds), [Target(OURS, TREES, most=1)], note)


def ranked(measure: str, reached: Reached) -> dict[str, float]:
    """Ranks from 1, the best; equal ones share the mean of theirs."""
    values = pd.Series(_of(measure, reached)).rank(ascending=measure != "accuracy")
    return {str(name): float(rank) for name, rank in values.items()}


def check(found: Project) -> None:
    """All contenders find the line that divides a made-up table.

    Raises:
        RuntimeError: one does not.
    """
    choose = np.random.default_rng(0)
    points = pd.DataFrame(choose.normal(size=(400, 2)), columns=["a", "b"])
    points[LABEL] = np.where(points["a"] + points["b"] > 0, "above", "below")
    made_up = Table("made up", lambda: points)
    reached = evaluate(found, made_up, write(made_up, Path("made up"), 0), 0)
    if reached.keys() != {OURS, TREES, LINEAR}:
        raise RuntimeError(f"contenders are {', '.join(reached)}")
    for name, accuracy in _of("accuracy", reached).items():
        if accuracy < 0.9:
            raise RuntimeError(f"{name} finds no line: accuracy {accuracy:.2f}")
