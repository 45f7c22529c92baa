"""How long a run is, and its learning rate by optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..config import TrainingConfig


@dataclass(frozen=True)
class RunLength:
    """How long a whole run is.

    Attributes:
        steps: optimizer steps, `max_steps` respected.
        micro_batches: of one process in all its epochs; None where nobody knows.
    """

    steps: int
    micro_batches: int | None = None

    @classmethod
    def from_config(cls, config: TrainingConfig, micro_batches_per_epoch: int) -> RunLength:
        """The length that a configuration gives."""
        steps = config.epochs * steps_per_epoch(
            micro_batches_per_epoch, config.gradient_accumulation_steps
        )
        if config.max_steps is not None:
            steps = min(steps, config.max_steps)
        return cls(steps, config.epochs * micro_batches_per_epoch)


def warmup_cosine(optimizer: Optimizer, warmup_ratio: float, total_steps: int) -> LambdaLR:
    """Linear warm-up to the peak, then half a cosine down to zero.

    Args:
        optimizer: its learning rate is the peak.
        warmup_ratio: share of the steps that rise.
        total_steps: optimizer steps in the whole run.
    """
    warmup_steps = round(warmup_ratio * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)


def steps_per_epoch(micro_batches: int, accumulation: int) -> int:
    """Optimizer steps in one epoch; its end closes a window that is not full."""
    return math.ceil(micro_batches / accumulation)
