"""The network for tables, with its defaults, beside LightGBM and a linear model with theirs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from .harness import Project, Row, Scale, Target, Way, benchmark, project, versions

# shares of a table that judge, and of the rest that choose the network's checkpoint
TEST, VALIDATION = 0.25, 0.15
MOST_ROWS = 4000
LABEL = "label"

OURS, TREES, LINEAR = "network", "LightGBM", "linear model"
SOURCES = ("scikit-learn", "statsmodels", "river", "palmerpenguins")


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

    @property
    def measure(self) -> str:
        """What contenders are ranked by: less is better."""
        return "rmse" if self.has_values else "loss"


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
    """Every table in each round split anew, and what each contender reaches on rows unseen."""
    with project("tabular") as found:
        check(found)
        chosen = TABLES[:1] if scale.toy else TABLES
        reached: dict[str, list[dict[str, float]]] = {table.name: [] for table in chosen}
        for number in range(scale.rounds):
            for table in chosen:
                split = write(table, Path(f"{number}-{table.name}"), number)
                reached[table.name].append(losses(found, table, split, number))
    if scale.rounds:
        yield ranks(list(reached.values()))
        for table in chosen:
            yield _row(f"{table.name}, {len(_few(table)):,} rows", table, reached[table.name])


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


def losses(found: Project, table: Table, folder: Path, seed: int) -> dict[str, float]:
    """What contenders that were trained on a table reach on its test rows, by their names."""
    evaluation = evaluate(found, table, folder, seed)
    measured = {OURS: evaluation.metrics}
    measured |= {rival.name: rival.metrics for rival in evaluation.rivals}
    return {name: metrics[f"val/{table.measure}"].value for name, metrics in measured.items()}


def evaluate(found: Project, table: Table, folder: Path, seed: int) -> Any:
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
    return found.module("evaluation").evaluate(trained, split="test")


def ranks(reached: Sequence[Sequence[Mapping[str, float]]]) -> Row:
    """How contenders rank on average over all tables, in each round.

    Args:
        reached: what each contender reaches, by table and round.
    """
    of_rounds = [
        {name: statistics.fmean(one[name] for one in of_tables) for name in of_tables[0]}
        for of_tables in zip(*([_ranked(one) for one in table] for table in reached), strict=True)
    ]
    ways = [
        Way(name, version, [of_round[name] for of_round in of_rounds])
        for name, version in _versions().items()
    ]
    note = (
        "1 is the best. Classes are judged by log loss, values by their RMSE, on a quarter of the "
        "rows, which no contender has seen. All learn from the same rows and have their defaults; "
        "the network alone sees validation rows, which choose its checkpoint. Tables are those of "
        f"{versions(*SOURCES)}."
    )
    what = f"mean rank over {len(reached)} tables, each round with other splits"
    return Row(what, "rank", ways, [Target(OURS, TREES, most=1)], note)


def _ranked(reached: Mapping[str, float]) -> dict[str, float]:
    """Ranks from 1; equal ones share the mean of theirs."""
    values = pd.Series(reached).rank()
    return {str(name): float(rank) for name, rank in values.items()}


def _row(what: str, table: Table, reached: Sequence[Mapping[str, float]]) -> Row:
    ways = [
        Way(name, version, [one[name] for one in reached]) for name, version in _versions().items()
    ]
    return Row(what, "RMSE" if table.has_values else "log loss", ways)


def _versions() -> dict[str, str]:
    return {OURS: "ours", TREES: versions("lightgbm"), LINEAR: versions("scikit-learn")}


def check(found: Project) -> None:
    """All contenders find the line that divides a made-up table.

    Raises:
        RuntimeError: one does not.
    """
    choose = np.random.default_rng(0)
    points = pd.DataFrame(choose.normal(size=(400, 2)), columns=["a", "b"])
    points[LABEL] = np.where(points["a"] + points["b"] > 0, "above", "below")
    made_up = Table("made up", lambda: points)
    evaluation = evaluate(found, made_up, write(made_up, Path("made up"), 0), 0)
    measured = {OURS: evaluation.metrics}
    measured |= {rival.name: rival.metrics for rival in evaluation.rivals}
    if measured.keys() != _versions().keys():
        raise RuntimeError(f"contenders are {', '.join(measured)}")
    for name, metrics in measured.items():
        if (accuracy := metrics["val/accuracy"].value) < 0.9:
            raise RuntimeError(f"{name} finds no line: accuracy {accuracy:.2f}")
