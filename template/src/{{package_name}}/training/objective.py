"""What a task minimises and measures. A loss here is a sum and a count, never a mean.

Means of micro-batches do not add up to the mean of their union; sums and counts do. The objectives
here need to know nothing of a modality; `objectives.py` has its others, and the table by task.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelF1Score,
)

from ..forward import IGNORED
from ..task import TaskSpec


class Objective(Protocol):
    """Loss and metrics of one kind of task.

    Attributes:
        monitor: the validation metric that makes a checkpoint the best.
        mode: whether `max` or `min` of it is best.
    """

    monitor: str
    mode: str

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss summed over all targets: a scalar that backpropagates."""

    def count(self, labels: Tensor) -> Tensor:
        """How many targets there are: an int64 scalar on the labels' device."""

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """How many targets a full sample has; only the order of magnitude matters."""

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Fresh metrics, updated with (predictions, labels) of every batch.

        Args:
            task_spec: the task.
            processor: what was learned to make the inputs, where anything was.
        """

    def predictions(self, logits: Tensor) -> Tensor:
        """What the metrics compare with the labels."""


def monitored_metric(objective: Objective) -> str:
    """Name under which validation reports the metric that makes a checkpoint the best."""
    return f"val/{objective.monitor}"


class Classification:
    """One class a sample: logits [B, K], labels int64 [B]."""

    monitor = "accuracy"
    mode = "max"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, summed."""
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")

    def count(self, labels: Tensor) -> Tensor:
        """Labels that are not ignored."""
        return (labels != IGNORED).sum()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One label."""
        return 1

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Accuracy over all samples, F1 averaged over classes."""
        num_outputs = task_spec.num_outputs
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(
                    num_outputs, average="micro", ignore_index=IGNORED, validate_args=False
                ),
                "f1": MulticlassF1Score(
                    num_outputs, average="macro", ignore_index=IGNORED, validate_args=False
                ),
            }
        )

    def predictions(self, logits: Tensor) -> Tensor:
        """Logits as they are."""
        return logits


class Multilabel:
    """Any number of labels a sample: logits [B, K], labels float32 [B, K] of 0 and 1."""

    monitor = "f1"
    mode = "max"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross entropy, summed over samples and labels."""
        return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")

    def count(self, labels: Tensor) -> Tensor:
        """Samples times labels."""
        return labels.new_tensor(labels.numel()).long()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One for each output."""
        return task_spec.num_outputs

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Accuracy over all labels, F1 over all labels."""
        num_outputs = task_spec.num_outputs
        return MetricCollection(
            {
                "accuracy": MultilabelAccuracy(num_outputs, average="micro", validate_args=False),
                "f1": MultilabelF1Score(num_outputs, average="micro", validate_args=False),
            }
        )

    def predictions(self, logits: Tensor) -> Tensor:
        """Probabilities."""
        return logits.float().sigmoid()


class Regression:
    """Numbers to predict: outputs [B, K], labels float32 [B, K]."""

    monitor = "mae"
    mode = "min"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error, summed over samples and values."""
        return F.mse_loss(logits.float(), labels, reduction="sum")

    def count(self, labels: Tensor) -> Tensor:
        """Samples times values."""
        return labels.new_tensor(labels.numel()).long()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One for each output."""
        return task_spec.num_outputs

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Mean absolute and root mean squared error, in the labels' unit."""
        return MetricCollection(
            {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
        )

    def predictions(self, logits: Tensor) -> Tensor:
        """The values themselves."""
        return logits.float()
