"""The built-in sample set: 344 penguins of three species, as they were measured on three islands.

From: K. B. Gorman, T. D. Williams, W. R. Fraser, "Ecological Sexual Dimorphism and Environmental
Variability within a Community of Antarctic Penguins (Genus Pygoscelis)", PLoS ONE 9(3), 2014; in
the public domain (CC0), as the package palmerpenguins has them. Numbers, categories, dates and what
is true or false, some missing; and columns that nothing can be learned from.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from .new_folder import new_folder

# every fifth penguin validates
VALIDATION_EVERY = 5

# columns of the package's table, and what they are called here
COLUMNS = {
    "Region": "region",
    "Island": "island",
    "Clutch Completion": "clutch_completion",
    "Date Egg": "date_egg",
    "Culmen Length (mm)": "bill_length_mm",
    "Culmen Depth (mm)": "bill_depth_mm",
    "Flipper Length (mm)": "flipper_length_mm",
    "Body Mass (g)": "body_mass_g",
    "Sex": "sex",
    "Delta 15 N (o/oo)": "delta_15_n",
    "Delta 13 C (o/oo)": "delta_13_c",
    "Comments": "comments",
}

# of the labels `heavy` and `long flippers`, in grams and millimetres
HEAVY, LONG = 4200, 200


def write_sample(destination: Path, task: str) -> int:
    """Write `train.csv` and `val.csv`; the folder appears whole or not at all.

    Classification: the species, `label`. Multilabel: `labels`, which say of a penguin that it is
    female or male, heavy, and has long flippers. Regression: the weight in grams, `target`.

    Returns:
        how many penguins were written.

    Raises:
        DataError: the destination exists or cannot be written.
    """
    penguins = [row for row in _penguins() if _is_known(row, task)]
    with new_folder(destination) as folder:
        folder.mkdir(parents=True)
        for split in ("train", "val"):
            rows = [row for place, row in enumerate(penguins) if _split(place) == split]
            labelled = [_labelled(row, task) for row in rows]
            with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(labelled[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(labelled)
    return len(penguins)


def _penguins() -> list[dict[str, str]]:
    import palmerpenguins

    table = Path(palmerpenguins.__file__).parent / "data" / "penguins-raw.csv"
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _is_known(row: Mapping[str, str], task: str) -> bool:
    """Whether what is to be predicted was measured."""
    needed = {
        "tabular_multilabel": ("Sex", "Body Mass (g)", "Flipper Length (mm)"),
        "tabular_regression": ("Body Mass (g)",),
    }.get(task, ())
    return all(row[name] != "NA" for name in needed)


def _labelled(row: Mapping[str, str], task: str) -> dict[str, str]:
    cells = {name: row[column] for column, name in COLUMNS.items()}
    if task == "tabular_classification":
        return {**cells, "label": row["Species"].partition(" ")[0]}
    cells["species"] = row["Species"].partition(" ")[0]
    weight = cells.pop("body_mass_g")
    if task == "tabular_regression":
        return {**cells, "target": weight}
    flippers = cells.pop("flipper_length_mm")
    labels = [cells.pop("sex").lower()]
    labels += ["heavy"] if float(weight) > HEAVY else []
    labels += ["long flippers"] if float(flippers) > LONG else []
    return {**cells, "labels": ";".join(labels)}


def _split(number: int) -> str:
    return "val" if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"
