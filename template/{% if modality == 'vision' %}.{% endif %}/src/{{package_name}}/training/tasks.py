"""The objectives of the vision tasks."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection
from torchmetrics.classification import MultilabelAccuracy, MultilabelF1Score

from ..task import TaskSpec
from .objectives import Classification, Objective


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

    def metrics(self, task_spec: TaskSpec, tokenizer: Any) -> MetricCollection:
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

    def metrics(self, task_spec: TaskSpec, tokenizer: Any) -> MetricCollection:
        """Mean absolute and root mean squared error, in the labels' unit."""
        return MetricCollection(
            {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
        )

    def predictions(self, logits: Tensor) -> Tensor:
        """The values themselves."""
        return logits.float()


OBJECTIVES: dict[str, Objective] = {
    "vision_classification": Classification(),
    "vision_multilabel": Multilabel(),
    "vision_regression": Regression(),
}
