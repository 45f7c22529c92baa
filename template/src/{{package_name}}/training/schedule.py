"""How long a run is, and its learning rate by optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..config import TrainingConfig


@dataclass(frozen=True)
class RunLength:
    """How long a run is, from its very beginning, whatever settings its first part had.

    Attributes:
        steps: optimizer steps when it ends; those taken with earlier settings count as they were.
        lead: how many steps further it would be by now, had the present settings held from the
            beginning: the schedule goes on from there.
        micro_batches: of one process, that this training still takes; None where nobody knows.
    """

    steps: int
    lead: int = 0
    micro_batches: int | None = None

    @classmethod
    def from_config(
        cls,
        config: TrainingConfig,
        micro_batches_per_epoch: int,
        *,
        taken: int = 0,
        epoch: int = 0,
        micro_batch: int = 0,
    ) -> RunLength:
        """The length that a configuration gives.

        Args:
            config: present settings.
            micro_batches_per_epoch: of one process, with these settings.
            taken: optimizer steps so far.
            epoch: in which training goes on, from 0.
            micro_batch: of it, from 0.
        """
        accumulation = config.gradient_accumulation_steps
        in_epoch = steps_per_epoch(micro_batches_per_epoch, accumulation)
        passed = epoch * in_epoch + micro_batch // accumulation
        owed = config.epochs * in_epoch - passed
        micro_batches = (config.epochs - epoch) * micro_batches_per_epoch - micro_batch
        if config.max_steps is not None:
            owed = min(owed, config.max_steps - taken)
            micro_batches = min(micro_batches, owed * accumulation)
        return cls(taken + max(0, owed), passed - taken, max(0, micro_batches))


def warmup_cosine(optimizer: Optimizer, warmup_ratio: float, length: RunLength) -> LambdaLR:
    """Linear warm-up to the peak, then half a cosine down to zero.

    Args:
        optimizer: its learning rate is the peak.
        warmup_ratio: share of the steps that rise.
        length: of the whole run.
    """
    total_steps = length.steps + length.lead
    warmup_steps = round(warmup_ratio * total_steps)

    def factor(taken: int) -> float:
        step = taken + length.lead
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)


def steps_per_epoch(micro_batches: int, accumulation: int) -> int:
    """Optimizer steps in one epoch; its end closes a window that is not full."""
    return math.ceil(micro_batches / accumulation)
