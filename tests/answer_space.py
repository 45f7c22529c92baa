"""The answers that change what is rendered, and arrays that cover their combinations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import yaml
from rendering import ROOT

Answers = dict[str, Any]
Row = dict[str, Any]

FORMATS = ("onnx", "torchscript", "pytorch", "pt2")
FORMAT_SETS = tuple(
    chain.from_iterable(combinations(FORMATS, size) for size in range(1, len(FORMATS) + 1))
)
TRACKERS = ("wandb", "tensorboard", "mlflow")
COMPILE_MODES = ("none", "auto", "default", "reduce-overhead", "max-autotune")


def overlay(modality: str, template: Path = ROOT) -> Path:
    """The folder of a modality."""
    return template / "template" / f"{{{{overlay.{modality}}}}}"


def _modalities() -> dict[str, dict[str, list[str]]]:
    configuration = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    table: dict[str, dict[str, list[str]]] = yaml.safe_load(configuration["modalities"]["default"])
    return table


MODALITIES = _modalities()
TASKS = tuple((modality, task) for modality, row in MODALITIES.items() for task in row["tasks"])

CORE: dict[str, Sequence[Any]] = {
    "task": TASKS,
    "compile_mode": COMPILE_MODES,
    "gradient_accumulation_steps": (1, 4),
    "export_formats": FORMAT_SETS,
}

# What the expensive gates vary: each format is in or out, instead of fifteen sets of formats. Where
# it does not matter a format is out, since to export it takes its time, but for the last, onnx,
# which is verified without torch. Compiling falls on the first tasks, of small networks.
GATES: dict[str, Sequence[Any]] = {
    "task": TASKS,
    "compile_mode": COMPILE_MODES,
    "gradient_accumulation_steps": (1, 4),
    **dict.fromkeys(reversed(FORMATS), (False, True)),
}


def some_format(row: Row) -> bool:
    """At least one format must be chosen; rows without the format factors always hold."""
    return any(row.get(name, True) for name in FORMATS)


def combinations_of(factors: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Every combination."""
    return [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]


def interactions(
    factors: Mapping[str, Sequence[Any]], strength: int
) -> Iterator[frozenset[tuple[str, Any]]]:
    """Every combination of values of every `strength` factors."""
    for names in combinations(factors, strength):
        for values in product(*(factors[name] for name in names)):
            yield frozenset(zip(names, values, strict=True))


def covering_array(
    factors: Mapping[str, Sequence[Any]],
    strength: int,
    valid: Callable[[Row], bool] = some_format,
) -> list[Row]:
    """Few rows in which every possible combination of `strength` values occurs (greedy).

    Args:
        factors: the values of each.
        strength: how many factors are combined.
        valid: rows that can be.
    """
    candidates = [row for row in combinations_of(factors) if valid(row)]
    covered_by = [
        {frozenset(pairs) for pairs in combinations(row.items(), strength)} for row in candidates
    ]
    missing = set().union(*covered_by)
    rows = []
    while missing:
        best = max(range(len(candidates)), key=lambda index: len(covered_by[index] & missing))
        rows.append(candidates[best])
        missing -= covered_by[best]
    return rows


def answers(row: Row) -> Answers:
    """A row as answers to the template's questions."""
    given = {key: value for key, value in row.items() if key not in FORMATS}
    if "task" in given:
        given["modality"], given["task"] = given["task"]
    if any(name in row for name in FORMATS):
        given["export_formats"] = [name for name in FORMATS if row[name]]
    elif "export_formats" in given:
        given["export_formats"] = list(given["export_formats"])
    return given


def name(row: Row) -> str:
    """A row as the name of a test."""
    chosen = answers(row)
    return "-".join(
        "+".join(value) if isinstance(value, list) else str(value)
        for key, value in chosen.items()
        if key != "modality"
    )
