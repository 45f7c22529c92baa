"""Loss and metrics of the validation samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric

from ..task import TaskSpec
from .metric_names import LOSS, VALIDATION
from .objective import Objective


class ValidationMetrics(nn.Module):
    """Loss and metrics over all validation samples and processes.

    Args:
        objective: the plain one of the task.
        task_spec: the task.
        processor: what was learned to make the inputs, where anything was.
        shared: whether every process of a run counts samples; else this one counts all of them,
            and waits for no other.
    """

    def __init__(
        self, objective: Objective, task_spec: TaskSpec, processor: Any, *, shared: bool = True
    ) -> None:
        super().__init__()
        self.objective = objective
        self.loss = MeanMetric()
        self.metrics = objective.metrics(task_spec, processor)
        if not shared:
            for metric in (self.loss, *self.metrics.values()):
                metric.distributed_available_fn = _never

    def update(self, logits: Tensor, labels: Tensor, **fields: Tensor) -> None:
        """Add a batch.

        Args:
            logits: the network's outputs for it.
            labels: its targets.
            fields: its other fields; a metric gets those that its `update` names.
        """
        count = self.objective.count(labels)
        mean = self.objective.loss_sum(logits, labels) / count.clamp(min=1)
        self.loss.update(mean, weight=count)
        self.metrics.update(self.objective.predictions(logits), labels, **fields)

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name, `VALIDATION` before each; what comes next is counted anew."""
        found = {LOSS: self.loss.compute(), **self.metrics.compute()}
        self.loss.reset()
        self.metrics.reset()
        return {f"{VALIDATION}{name}": value for name, value in found.items()}


def _never() -> bool:
    """Whether other processes have counted, too."""
    return False
