"""Metrics with their intervals, as an evaluation leaves them with its run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..serving.runtime import file_hash
from .metric_names import VALIDATION

# in a run's folder, with a folder for each split in it
FOLDER, METRICS = "evaluation", "metrics.json"


@dataclass(frozen=True)
class Interval:
    """A metric, and how far it may be from that of all samples of this kind.

    Attributes:
        value: of the samples there are.
        low, high: ends of the 95 % interval; NaN where no resample tells the metric.
    """

    value: float
    low: float
    high: float

    def includes(self, value: float) -> bool:
        """Whether a number may as well be the metric of all samples; False for ends of NaN."""
        return self.low <= value <= self.high


def kept_evaluation(run_dir: Path, split: str, checkpoint: Path) -> Mapping[str, Any] | None:
    """What an evaluation of this very checkpoint has left in `metrics.json`, if there was one.

    Args:
        run_dir: folder of the run.
        split: `val` or `test`.
        checkpoint: its file.
    """
    path = run_dir / FOLDER / split / METRICS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept if kept["sha256"] == file_hash(checkpoint) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        return None


def kept_metrics(run_dir: Path, split: str, checkpoint: Path) -> dict[str, Interval] | None:
    """Metrics by their names in metrics.csv, if an evaluation of this very checkpoint has left any.

    Args:
        run_dir: folder of the run.
        split: `val` or `test`.
        checkpoint: its file.
    """
    try:
        kept = (kept_evaluation(run_dir, split, checkpoint) or {})["metrics"]
        return {f"{VALIDATION}{name}": interval_of(one) for name, one in kept.items()}
    except (AttributeError, KeyError, TypeError, ValueError):  # none, or damaged
        return None


def interval_of(kept: Mapping[str, float | None]) -> Interval:
    """The interval of which a file keeps value, low and high end: null for a number that is none.

    Raises:
        KeyError: it lacks one.
    """
    ends = (kept[name] for name in ("value", "low", "high"))
    return Interval(*(math.nan if end is None else float(end) for end in ends))
