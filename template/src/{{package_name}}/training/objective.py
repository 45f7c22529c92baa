"""What a task minimises and measures. A loss here is a sum and a count, never a mean.

Means of micro-batches do not add up to the mean of their union; sums and counts do. The objectives
here need to know nothing of a modality; `objectives.py` has its others, and the table by task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
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


class ValueMetrics(Metric):
    """How well values are predicted, in the unit of each.

    `mae` and `rmse` of a single value, or `mae/<name>` and `rmse/<name>` of each of several. `r2`,
    the coefficient of determination, averages over the values, however large they are: 1 is
    perfect, 0 is what the mean of the validation samples would reach. A value that never changes
    there counts 1 where it is met exactly, else 0, as in scikit-learn's `r2_score`.

    Args:
        names: of the K values.
        std: of each, by which standardised predictions and labels are multiplied.
    """

    count: Tensor
    absolute: Tensor
    squared: Tensor
    total: Tensor
    total_squared: Tensor

    def __init__(self, names: Sequence[str], std: Sequence[float]) -> None:
        super().__init__()
        self.names, self.std = list(names), list(std)
        # float64 tells sums of large squares apart; Apple's GPUs have float32 only
        wide = torch.float32 if torch.backends.mps.is_available() else torch.float64
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        for name in ("absolute", "squared", "total", "total_squared"):
            self.add_state(name, torch.zeros(len(self.std), dtype=wide), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Add a batch: standardised predictions and labels, float32 [B, K]."""
        labels = labels.to(self.total.dtype)
        errors = predictions - labels
        self.count += len(labels)
        self.absolute += errors.abs().sum(0)
        self.squared += errors.square().sum(0)
        self.total += labels.sum(0)
        self.total_squared += labels.square().sum(0)

    def compute(self) -> dict[str, Tensor]:
        """The figures by name."""
        rounding = 1000 * torch.finfo(self.total.dtype).eps * self.total_squared
        spread = self.total_squared - self.total.square() / self.count
        constant = spread <= rounding
        explained = 1 - self.squared / torch.where(constant, 1, spread)
        met = (self.squared <= rounding).to(explained.dtype)
        figures = {"r2": torch.where(constant, met, explained).mean()}
        for row, (name, std) in enumerate(zip(self.names, self.std, strict=True)):
            suffix = f"/{name}" if len(self.names) > 1 else ""
            figures[f"mae{suffix}"] = self.absolute[row] / self.count * std
            figures[f"rmse{suffix}"] = (self.squared[row] / self.count).sqrt() * std
        return figures


class Regression:
    """Numbers to predict: outputs and labels float32 [B, K], both standardised.

    Values of any size are learned alike, and each of several counts as much as the others.
    """

    monitor = "r2"
    mode = "max"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error in units of the variance, summed over samples and values."""
        return F.mse_loss(logits.float(), labels, reduction="sum")

    def count(self, labels: Tensor) -> Tensor:
        """Samples times values."""
        return labels.new_tensor(labels.numel()).long()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One for each output."""
        return task_spec.num_outputs

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Explained variance, and errors in the unit of each value."""
        names = task_spec.class_names or [str(index) for index in range(task_spec.num_outputs)]
        standardisation = task_spec.standardisation
        std = standardisation.std if standardisation else [1.0] * len(names)
        return MetricCollection({"of_values": ValueMetrics(names, std)})

    def predictions(self, logits: Tensor) -> Tensor:
        """The standardised values."""
        return logits.float()
