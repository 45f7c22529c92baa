"""What was understood of the data: told before training, and kept with the run and its bundles."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from ..atomic import write_whole
from .account import Account, account_lines
from .splits import Splits, labels_of

if TYPE_CHECKING:
    import datasets

DATA_FILE = "data.json"

# so many classes are listed each; of more, the largest and the smallest
LISTED_CLASSES = 20
# and of the columns of a table the first
LISTED_COLUMNS = 40
EXTREMES = 3


def summarize(
    *,
    data: str,
    layout: str,
    validation: str,
    splits: dict[str, datasets.Dataset | None],
    outputs: str,
    names: Sequence[str],
    account: Account,
) -> dict[str, Any]:
    """What was understood of the data, ready for JSON.

    Args:
        data: where they lie.
        layout: how they were read, for people.
        validation: how the validation samples were chosen, for people.
        splits: rows by the split's name, with `labels` where the task has them.
        outputs: what `labels` are: `classes`, `labels` (any number of them) or `targets` (values);
            empty where there are none.
        names: of the outputs.
        account: of the reading.
    """
    return {
        "data": data,
        "layout": layout,
        "validation": validation,
        "splits": {
            name: {"samples": len(rows), **_outputs(rows, outputs, names)}
            for name, rows in splits.items()
            if rows is not None
        },
        **account.to_dict(),
    }


def _outputs(rows: datasets.Dataset, outputs: str, names: Sequence[str]) -> dict[str, Any]:
    if not outputs or not len(rows):
        return {}
    labels = labels_of(rows)
    if outputs == "classes":
        counts = np.bincount(labels, minlength=len(names))
        return {outputs: dict(zip(names, counts.tolist(), strict=True))}
    if outputs == "labels":
        return {outputs: dict(zip(names, labels.sum(0).astype(int).tolist(), strict=True))}
    figures = zip(labels.min(0), labels.max(0), labels.mean(0), labels.std(0), strict=True)
    return {
        outputs: {
            name: dict(zip(("min", "max", "mean", "std"), map(float, values), strict=True))
            for name, values in zip(names, figures, strict=True)
        }
    }


def describe(splits: Splits) -> dict[str, Any]:
    """The content of data.json: what was understood, and what examining the samples told."""
    return {**splits.summary, "inputs": splits.facts, "digest": splits.digest}


def write_description(splits: Splits, run_dir: Path) -> None:
    """Keep `describe` with a run, as data.json; nothing where rows were handed over, not read."""
    if not splits.summary:
        return
    content = json.dumps(describe(splits), indent=2, ensure_ascii=False) + "\n"
    write_whole(run_dir / DATA_FILE, content)


def read_description(run_dir: Path) -> dict[str, Any]:
    """What `write_description` kept; empty where it kept nothing, or that is damaged."""
    path = run_dir / DATA_FILE
    if not path.is_file():
        return {}
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        warnings.warn(
            f"{path} is damaged, and left out; `train --resume {run_dir}` writes it anew",
            stacklevel=2,
        )
        return {}
    return described


def tell(described: Mapping[str, Any], console: Console) -> None:
    """Print what was understood, and what is probably not as it should be."""
    for line in lines(described):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for warning in described.get("warnings", ()):
        console.print(
            f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )


def lines(described: Mapping[str, Any]) -> Iterator[str]:
    """What `describe` gives, for people."""
    if "layout" not in described:
        return
    yield f"data: {described['layout']}"
    train = described["splits"]["train"]
    for name, split in described["splits"].items():
        count = split["samples"]
        details = [f"{count} sample{'' if count == 1 else 's'}", *_split_details(split)]
        for outputs in ("classes", "labels"):
            if outputs in split:
                others = train[outputs] if name == "val" else None
                details.append(_counts(split[outputs], outputs, others))
        details += [_target(*target) for target in split.get("targets", {}).items()]
        yield f"  {name}: {'; '.join(details)}"
    yield f"  validation: {described['validation']}"
    columns = described.get("columns", {})
    for name in list(columns)[:LISTED_COLUMNS]:
        yield f"  column {name!r}: {_column(**columns[name])}"
    if len(columns) > LISTED_COLUMNS:
        yield f"  and {len(columns) - LISTED_COLUMNS} columns more, which `data check --json` lists"
    facts = [
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in described["inputs"].items()
        if value not in (None, 0)
    ]
    if facts:
        yield f"  inputs: {'; '.join(facts)}"
    for line in account_lines(described):
        yield f"  {line}"


def _split_details(split: Mapping[str, Any]) -> Iterator[str]:
    if "documents" in split:
        yield f"{split['documents']} texts"
    if "characters" in split:
        found = split["characters"]
        yield f"{found['min']} to {found['max']} characters, {found['median']} in the middle"


def _counts(counts: Mapping[str, int], outputs: str, train: Mapping[str, int] | None) -> str:
    """Classes with their samples; of validation, which share of the class that is."""

    def one(name: str) -> str:
        if train is None or not (total := counts[name] + train.get(name, 0)):
            return f"{name} {counts[name]}"
        return f"{name} {counts[name]} ({counts[name] / total:.0%})"

    if len(counts) <= LISTED_CLASSES:
        return f"{len(counts)} {outputs}: {', '.join(map(one, counts))}"
    ordered = sorted(counts, key=lambda name: -counts[name])
    largest, smallest = ordered[:EXTREMES], ordered[-EXTREMES:]
    return (
        f"{len(counts)} {outputs}, the largest {', '.join(map(one, largest))}, the smallest "
        f"{', '.join(map(one, smallest))}"
    )


def _column(kind: str, missing: float, **values: Any) -> str:
    share = f", {missing:.1%} missing" if missing else ""
    return f"{kind}{share}, {_plain(values)}" if values else f"{kind}{share}"


def _target(name: str, figures: Mapping[str, float]) -> str:
    return f"{name} from {figures['min']:.6g} to {figures['max']:.6g}, mean {figures['mean']:.6g}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(str, value)) if len(value) == 2 else ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
