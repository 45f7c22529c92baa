"""Samples of a micro-batch that are mixed with each other in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..forward import LABELS

if TYPE_CHECKING:
    from .module import Batch

Mix: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From inputs [B, ...] and classes int64 [B] to mixed inputs and shares of classes [B, K]."""


class MixUp:
    """Blends each input with the one before it, and their classes in the same proportion.

    H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018. The proportion is drawn once
    for a batch.

    Args:
        alpha: of the beta distribution of the proportion.
        num_classes: of the task.
    """

    def __init__(self, alpha: float, num_classes: int) -> None:
        self.proportion = torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha]))
        self.num_classes = num_classes

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Floats [B, ...] and classes int64 [B]; the shares of classes are float32 [B, K]."""
        own = float(self.proportion.sample(()))
        shares = nn.functional.one_hot(labels, self.num_classes).float()
        return _blended(inputs, own), _blended(shares, own)


def _blended(values: Tensor, own: float) -> Tensor:
    return values.roll(1, 0).mul_(1 - own).add_(values.mul(own))


class MixSamples(nn.Module):
    """In training, mixes each input of a micro-batch with the one before it.

    Every sample lends as much of its class as it gets of another's, so that the targets of a
    micro-batch weigh together what they weighed before.

    Args:
        name: of the input.
        mix: does it.
    """

    def __init__(self, name: str, mix: Mix) -> None:
        super().__init__()
        self.name, self.mix = name, mix

    def forward(self, batch: Batch) -> Batch:
        """The batch with mixed inputs, and `labels` as float32 [B, K] that add up to 1."""
        if not self.training:
            return batch
        inputs, labels = self.mix(batch[self.name], batch[LABELS])
        return {**batch, self.name: inputs, LABELS: labels}


def refuse_mixing(settings: list[str], task: str) -> None:
    """Say that a task has no classes to mix.

    Args:
        settings: names of those that ask for it.
        task: that does not know it.

    Raises:
        ConfigError: there are such settings.
    """
    if settings:
        raise ConfigError(
            [
                f"{name}: {task} does not know it; it is for tasks with one class a sample"
                for name in settings
            ]
        )
