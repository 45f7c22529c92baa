"""The learning rate, by optimizer step."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


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
