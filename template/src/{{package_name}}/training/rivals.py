"""Other methods beside a network: fitted on the same training samples, measured on the same others.

What they are the modality says; see `Modality.rivals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .intervals import Interval, interval_of, kept_evaluation
from .metric_names import VALIDATION


@dataclass(frozen=True)
class Rival:
    """Another method.

    Attributes:
        name: of it.
        metrics: by their names in metrics.csv, as far as they are of all outputs.
        judged_by: which of them decides.
        is_better: whether the network's is worse.
    """

    name: str
    metrics: Mapping[str, Interval]
    judged_by: str
    is_better: bool

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        metrics = {name: interval_of(one) for name, one in kept["metrics"].items()}
        return cls(**{**kept, "metrics": metrics})

    @property
    def reached(self) -> str:
        """What decides, for people."""
        return f"{self.judged_by.removeprefix(VALIDATION)} {self.metrics[self.judged_by].value:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def verdict(rivals: Sequence[Rival], metrics: Mapping[str, Interval]) -> str:
    """How a network does beside other methods, in a line.

    Args:
        rivals: the methods; at least one.
        metrics: of the network, with those of `judged_by`.
    """
    judged_by = rivals[0].judged_by
    own, name = metrics[judged_by], judged_by.removeprefix(VALIDATION)
    if not (better := [rival for rival in rivals if rival.is_better]):
        alike = [rival for rival in rivals if rival.metrics[judged_by].value == own.value]
        how = f"no better than {_listed(alike, judged_by)}" if alike else ""
        how = how or f"better than {_listed(rivals, judged_by)}"
        return f"{how}, by {name} {own.value:.4f}"
    doubt = all(own.includes(rival.metrics[judged_by].value) for rival in better)
    perhaps = ", which the network's 95 % interval includes" if doubt else ""
    return f"beaten by {_listed(better, judged_by)}, by {name} {own.value:.4f}{perhaps}"


def _listed(rivals: Sequence[Rival], metric: str) -> str:
    return " and ".join(f"{one.name} ({one.metrics[metric].value:.4f})" for one in rivals)


def kept_rivals(run_dir: Path, split: str, checkpoint: Path) -> list[Rival]:
    """Those that an evaluation of this very checkpoint has left with its run; none without one.

    Args:
        run_dir: folder of the run.
        split: `val` or `test`.
        checkpoint: its file.
    """
    kept = kept_evaluation(run_dir, split, checkpoint)
    try:
        return [Rival.from_dict(one) for one in (kept or {}).get("rivals", [])]
    except (AttributeError, KeyError, TypeError):  # damaged
        return []
