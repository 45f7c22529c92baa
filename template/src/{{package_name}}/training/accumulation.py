"""Exact gradient accumulation: a window of micro-batches gives the gradient of one big batch.

Averaging the means of micro-batches weighs a target by how many share its micro-batch, and a window
cut short by the end of an epoch comes out too small. Here every micro-batch contributes its loss
sum, and the gradient is divided once by what the targets of the whole window weigh, over all
processes: by their number, or the sum of their class weights. With C a constant, W processes and n
that weight:

    gradient = (C * W / n) * mean over processes of sum over micro-batches of d(loss_sum / C)

C keeps the numbers as small as a mean would, which 16-bit gradients need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Signals:
    """What processes tell each other at the end of a window.

    Attributes:
        stop: end training after this window.
        fallback: go on without the compiler.
    """

    stop: bool = False
    fallback: bool = False


@dataclass(frozen=True)
class WindowTotal:
    """A closed window, over all processes.

    Attributes:
        sums: loss, weight of the targets, processes that signal `stop`, processes that signal
            `fallback`; a tensor [4] on the loss's device.
        is_empty: no process had a target, so there is nothing to learn and no gradient.
    """

    sums: Tensor
    is_empty: bool

    @property
    def loss_sum(self) -> Tensor:
        """Loss summed over all targets: a scalar on the loss's device."""
        return self.sums[0]


class AccumulationWindow:
    """Weighs the targets of the window in progress and normalises its gradient.

    Args:
        micro_batches: how many make a full window. Lightning divides every loss by this number,
            so `scale_loss` multiplies by it.
        expected_targets: about how many targets a micro-batch has; must be equal on all processes.
    """

    def __init__(self, micro_batches: int, expected_targets: int) -> None:
        self.micro_batches = micro_batches
        # a power of two, so that dividing by it and multiplying again loses no bit; as large as a
        # full window, whose gradient then often is the mean already
        self.constant = float(2 ** round(math.log2(max(1, expected_targets * micro_batches))))
        self._weight = 0.0
        self._loss_sums: list[Tensor] = []

    @property
    def is_open(self) -> bool:
        """Whether micro-batches have come in since the last optimizer step."""
        return bool(self._loss_sums)

    def scale_loss(self, loss_sum: Tensor, weight: float) -> Tensor:
        """Add a micro-batch to the window.

        Args:
            loss_sum: loss summed over its targets.
            weight: how many there are, or what they weigh together. It is summed on the host, so
                that nothing waits for the device.

        Returns:
            the scalar to backpropagate.
        """
        self._weight += weight
        self._loss_sums.append(loss_sum.detach())
        return loss_sum * (self.micro_batches / self.constant)

    def normalize_gradients(
        self, parameters: Iterable[nn.Parameter], signals: Signals
    ) -> WindowTotal:
        """Close the window: turn the accumulated sums into the gradient of the mean.

        Args:
            parameters: those whose gradients were accumulated.
            signals: what this process tells the others; it travels with the sums.

        Runs on every process, after gradients are unscaled and before they are clipped. A window
        without targets leaves no gradients at all, so that the optimizer changes nothing: with
        gradients of zero, momentum and weight decay would still move the weights.

        Raises:
            RuntimeError: no micro-batch came in since the last step.
        """
        if not self._loss_sums:
            raise RuntimeError("no micro-batch since the last optimizer step")
        weight, loss_sums = self._weight, self._loss_sums
        self._weight, self._loss_sums = 0.0, []
        loss_sum = torch.stack(loss_sums).sum(dtype=_wide(loss_sums[0]))
        counts = (weight, signals.stop, signals.fallback)
        sums = torch.stack([loss_sum, *(torch.full_like(loss_sum, count) for count in counts)])
        parameters = list(parameters)
        factor: Tensor | float = self.constant / (weight or 1)
        is_empty = weight == 0
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(sums)
            factor = self.constant * dist.get_world_size() / torch.where(sums[1] == 0, 1, sums[1])
            # who has targets knows that the window has; only who has none must wait and look
            is_empty = is_empty and sums[1].item() == 0
        gradients = [p.grad for p in parameters if p.grad is not None]
        if is_empty:
            drop_gradients(parameters)
        # asking what a tensor holds would wait for the device
        elif gradients and (isinstance(factor, Tensor) or factor != 1):
            torch._foreach_mul_(gradients, factor)
        return WindowTotal(sums, is_empty)


def drop_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make the next optimizer step change nothing."""
    for parameter in parameters:
        parameter.grad = None


def _wide(loss: Tensor) -> torch.dtype:
    """float64 counts targets exactly and adds losses in any order; Apple's GPUs have float32."""
    return torch.float32 if loss.device.type == "mps" else torch.float64
