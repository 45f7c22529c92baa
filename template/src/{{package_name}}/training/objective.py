"""What a task minimises and measures. A loss here is a sum and a weight, never a mean.

Means of micro-batches do not add up to the mean of their union; sums and weights do. The objectives
here need to know nothing of a modality; `objectives.py` has its others, and the table by task.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassStatScores,
    MultilabelAccuracy,
    MultilabelF1Score,
    MultilabelStatScores,
)

from ..config import TrainingConfig, nearest
from ..errors import ConfigError
from ..forward import IGNORED
from ..task import TaskSpec
from .metric_names import BALANCED_LOSS, CLASS_FIGURES, LOSS, error_name
from .statistics import (
    ClassStatistics,
    LabelStatistics,
    SampleStatistics,
    TokenTotals,
    ValueStatistics,
)

# with more classes than this, figures of each would drown the others
CLASSES_WITH_FIGURES = 20
MIN, MAX = "min", "max"

# makes odds equal, but for a rest that says which class is the largest
NEARLY_EQUAL = 1e-4


class Objective(Protocol):
    """Loss and metrics of one kind of task.

    Those of the table are plain: so is the loss of the validation, which runs with other settings
    can be compared by.
    """

    @property
    def monitor(self) -> str:
        """The validation metric that makes a checkpoint the best."""

    def configured(self, task_spec: TaskSpec, config: TrainingConfig) -> Objective:
        """The one to train with: its loss is weighted and smoothed as the settings say.

        Raises:
            ConfigError: settings that this kind of task cannot follow.
        """

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss summed over all targets: a scalar that backpropagates."""

    def count(self, labels: Tensor) -> Tensor:
        """How many targets there are, or what they weigh together: a scalar beside the labels."""

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """How many targets a full sample has; only the order of magnitude matters."""

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Fresh metrics, updated with (predictions, labels) of every batch.

        Args:
            task_spec: the task.
            processor: what was learned to make the inputs, where anything was.
        """

    def directions(self, task_spec: TaskSpec) -> dict[str, str]:
        """Names of the figures that the metrics give; whether `max` or `min` of each is best."""

    def predictions(self, logits: Tensor) -> Tensor:
        """What the metrics compare with the labels."""

    def statistics(self, task_spec: TaskSpec) -> SampleStatistics:
        """What is summed over samples to tell the metrics of any of them."""

    def answers(self, logits: Tensor, task_spec: TaskSpec) -> Tensor | None:
        """What people read of the logits, [B, K]: probabilities, or values in their own units.

        None where there is too much of it to be kept.
        """

    def token_totals(
        self, logits: Tensor, labels: Tensor, task_spec: TaskSpec
    ) -> TokenTotals | None:
        """What the tokens of a batch cost; None where none are predicted."""

    def trivial_logits(self, task_spec: TaskSpec, rows: Any) -> Tensor | None:
        """The best answer that looks at no input, as logits: float32 [K].

        Args:
            task_spec: what is known of the training labels.
            rows: the training rows.

        Returns:
            None where the task does not know its training labels.
        """


def loss_sum_of_members(
    loss_sum: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor
) -> Tensor:
    """The mean of the losses of an ensemble's members, each of which learns by itself.

    Args:
        loss_sum: of an objective.
        logits: of the members, [B, M, ...].
        labels: of the samples.
    """
    members = logits.shape[1]
    return loss_sum(logits.flatten(0, 1), labels.repeat_interleave(members, dim=0)) / members


# --- What decides which checkpoint is best -------------------------------------------------------


@dataclass(frozen=True)
class Monitor:
    """The metric that decides which checkpoint is best.

    Attributes:
        column: its name among the metrics.
        mode: whether `max` or `min` of it is best.
    """

    column: str
    mode: str

    @property
    def worst(self) -> float:
        """What every value is better than."""
        return -math.inf if self.mode == MAX else math.inf

    def is_better(self, score: float, than: float) -> bool:
        """Whether one value is strictly better than another; NaN never is."""
        return score > than if self.mode == MAX else score < than


def monitor_of(objective: Objective, task_spec: TaskSpec, config: TrainingConfig) -> Monitor:
    """What `config.monitor` names, or what suits the task.

    Args:
        objective: the configured one.
        task_spec: of the run.
        config: of the run.

    Raises:
        ConfigError: there is no such metric.
    """
    directions = {LOSS: MIN} | objective.directions(task_spec)
    name = config.monitor or objective.monitor
    if name not in directions:
        # one name for those of every class
        kinds = dict.fromkeys(re.sub("/.*", "/NAME", known) for known in directions)
        raise ConfigError(
            [
                f"monitor: {task_spec.task_type} has no metric {name!r}; there are "
                f"{', '.join(kinds)}{nearest(name, list(directions))}"
            ]
        )
    return Monitor(f"val/{name}", directions[name])


# --- Classes and labels --------------------------------------------------------------------------


@dataclass(frozen=True)
class Classification:
    """One class a sample: logits [B, K], labels int64 [B].

    Attributes:
        class_weights: of the K classes; None for 1 each.
        label_smoothing: share of a target that is spread over all classes. C. Szegedy et al.,
            "Rethinking the Inception Architecture for Computer Vision", 2016.
        balanced: rare classes are made up for, so that each class counts alike when it is decided
            which checkpoint is best. That takes their losses: a few samples of a class are found
            or not by chance, but how sure the network is of them grows.
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    balanced: bool = False

    @property
    def monitor(self) -> str:
        """Accuracy, or the mean loss of all classes."""
        return BALANCED_LOSS if self.balanced else "accuracy"

    def configured(self, task_spec: TaskSpec, config: TrainingConfig) -> Classification:
        """With weights and smoothing."""
        return replace(
            self,
            class_weights=_class_weights(task_spec, config, _balanced_classes),
            label_smoothing=config.label_smoothing,
            balanced=config.class_weights != "none" or config.balanced_sampling,
        )

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, summed; divided by `count` it is torch's weighted mean.

        Labels may be float32 [B, K], shares of the classes: the loss is that of each class times
        its share.
        """
        return F.cross_entropy(
            logits.float(),
            labels,
            weight=_tensor(self.class_weights, logits.device) if self.class_weights else None,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def count(self, labels: Tensor) -> Tensor:
        """Labels that are not ignored, or their weights together."""
        counted = labels != IGNORED
        if self.class_weights is None:
            return counted.sum()
        return _tensor(self.class_weights, labels.device)[labels[counted]].sum()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One label."""
        return 1

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Accuracy of all samples; F1 and loss averaged over classes; figures of a few classes."""
        num_outputs = task_spec.num_outputs
        metrics: dict[str, Metric | MetricCollection] = {
            BALANCED_LOSS: BalancedLoss(num_outputs),
            "accuracy": MulticlassAccuracy(
                num_outputs, average="micro", ignore_index=IGNORED, validate_args=False
            ),
            "f1": MulticlassF1Score(
                num_outputs, average="macro", ignore_index=IGNORED, validate_args=False
            ),
        }
        if names := _names_with_figures(task_spec):
            metrics["of_classes"] = FiguresOfClasses(names)
        return MetricCollection(metrics)

    def directions(self, task_spec: TaskSpec) -> dict[str, str]:
        """More is better, but of the loss."""
        return {BALANCED_LOSS: MIN} | _more_is_better(task_spec)

    def predictions(self, logits: Tensor) -> Tensor:
        """Logits as they are."""
        return logits

    def statistics(self, task_spec: TaskSpec) -> ClassStatistics:
        """Sums for each class."""
        return ClassStatistics(task_spec.num_outputs, task_spec.class_names)

    def answers(self, logits: Tensor, task_spec: TaskSpec) -> Tensor:
        """Probabilities of the classes, float32."""
        return logits.float().softmax(1)

    def token_totals(self, logits: Tensor, labels: Tensor, task_spec: TaskSpec) -> None:
        """None: a sample has one answer."""

    def trivial_logits(self, task_spec: TaskSpec, rows: Any) -> Tensor | None:
        """Each class as likely as it is in training: the largest is the answer.

        A class that does not occur counts as one that occurs once. Where rare classes are made up
        for, all are about equally likely, and the largest is still the answer.
        """
        if (counts := task_spec.label_counts) is None:
            return None
        logits = log_shares(np.array(counts))
        return logits * NEARLY_EQUAL if self.balanced else logits


@dataclass(frozen=True)
class Multilabel:
    """Any number of labels a sample: logits [B, K], labels float32 [B, K] of 0 and 1.

    Attributes:
        positive_weights: of each label where it applies; None for 1 each.
    """

    positive_weights: tuple[float, ...] | None = None
    monitor = "f1"

    def configured(self, task_spec: TaskSpec, config: TrainingConfig) -> Multilabel:
        """With weights."""
        refuse_settings(task_spec, config, "label_smoothing", "balanced_sampling")
        return replace(self, positive_weights=_class_weights(task_spec, config, _balanced_labels))

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross entropy, summed over samples and labels."""
        weights = self.positive_weights
        return F.binary_cross_entropy_with_logits(
            logits.float(),
            labels,
            reduction="sum",
            pos_weight=_tensor(weights, logits.device) if weights else None,
        )

    def count(self, labels: Tensor) -> Tensor:
        """Samples times labels."""
        return labels.new_tensor(labels.numel()).long()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """One for each output."""
        return task_spec.num_outputs

    def metrics(self, task_spec: TaskSpec, processor: Any) -> MetricCollection:
        """Accuracy over all labels, F1 over all labels, and figures of a few labels."""
        num_outputs = task_spec.num_outputs
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MultilabelAccuracy(num_outputs, average="micro", validate_args=False),
            "f1": MultilabelF1Score(num_outputs, average="micro", validate_args=False),
        }
        if names := _names_with_figures(task_spec):
            metrics["of_labels"] = FiguresOfLabels(names)
        return MetricCollection(metrics)

    def directions(self, task_spec: TaskSpec) -> dict[str, str]:
        """More is better."""
        return _more_is_better(task_spec)

    def predictions(self, logits: Tensor) -> Tensor:
        """Probabilities."""
        return logits.float().sigmoid()

    def statistics(self, task_spec: TaskSpec) -> LabelStatistics:
        """Sums for each label."""
        return LabelStatistics(task_spec.num_outputs, task_spec.class_names)

    def answers(self, logits: Tensor, task_spec: TaskSpec) -> Tensor:
        """Probability of each label, float32."""
        return self.predictions(logits)

    def token_totals(self, logits: Tensor, labels: Tensor, task_spec: TaskSpec) -> None:
        """None: labels are no tokens."""

    def trivial_logits(self, task_spec: TaskSpec, rows: Any) -> Tensor | None:
        """Each label as likely as it is in training: those that apply to most are the answer.

        One that applies to no sample, or to all, counts as if it did to half a sample more or less.
        """
        if (counts := task_spec.label_counts) is None:
            return None
        positive = np.clip(counts, 0.5, task_spec.train_samples - 0.5)
        return torch.from_numpy(np.log(positive / (task_spec.train_samples - positive))).float()


class BalancedLoss(Metric):
    """Cross entropy averaged over the samples of each class, then over the classes that occur.

    Args:
        num_classes: K.
    """

    losses: Tensor
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("losses", "counts"):
            self.add_state(name, torch.zeros(num_classes), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [B, K], labels int64 [B]."""
        counted = labels != IGNORED
        losses = F.cross_entropy(logits[counted].float(), labels[counted], reduction="none")
        self.losses.index_add_(0, labels[counted], losses)
        self.counts.index_add_(0, labels[counted], torch.ones_like(losses))

    def compute(self) -> Tensor:
        """A scalar; 0 without any sample."""
        occurring = (self.counts > 0).sum().clamp(min=1)
        return (self.losses / self.counts.clamp(min=1)).sum() / occurring


class FiguresOfClasses(MulticlassStatScores):
    """Recall, precision and F1 of each class that occurs, by the names of CLASS_FIGURES."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(len(names), average=None, ignore_index=IGNORED, validate_args=False)
        self.names = list(names)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The figures by name."""
        return _figures(super().compute(), self.names)


class FiguresOfLabels(MultilabelStatScores):
    """Recall, precision and F1 of each label that occurs, by the names of CLASS_FIGURES."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(len(names), average=None, validate_args=False)
        self.names = list(names)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The figures by name."""
        return _figures(super().compute(), self.names)


def _figures(statistics: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """From true and false positives, true and false negatives, and occurrences: int64 [K, 5]."""
    right, wrong, _, missed, occurrences = statistics.float().unbind(1)
    recall = right / occurrences
    precision = right / (right + wrong).clamp(min=1)
    f1 = 2 * right / (2 * right + wrong + missed)
    return {
        f"{figure}/{names[row]}": values[row]
        for row in occurrences.nonzero().flatten().tolist()
        for figure, values in zip(CLASS_FIGURES, (recall, precision, f1), strict=True)
    }


def _names_with_figures(task_spec: TaskSpec) -> list[str]:
    names = task_spec.class_names
    return names if len(names) <= CLASSES_WITH_FIGURES else []


def _more_is_better(task_spec: TaskSpec) -> dict[str, str]:
    names = _names_with_figures(task_spec)
    of_classes = [f"{figure}/{name}" for name in names for figure in CLASS_FIGURES]
    return dict.fromkeys(["accuracy", "f1", *of_classes], MAX)


def log_shares(counts: npt.NDArray[np.int64]) -> Tensor:
    """Logarithm of how often each of K things occurs, float32 [K]; 0 times counts as once."""
    seen = np.maximum(counts, 1)
    return torch.from_numpy(np.log(seen / seen.sum())).float()


# --- Settings about classes ----------------------------------------------------------------------


def refuse_settings(task_spec: TaskSpec, config: TrainingConfig, *names: str) -> None:
    """Say that settings about classes mean nothing to this kind of task.

    Raises:
        ConfigError: one of them differs from its default.
    """
    settings, defaults = config.to_dict(), TrainingConfig.defaults()
    problems = [
        f"{name}: {task_spec.task_type} does not know it; it is for tasks with one class a sample"
        for name in names
        if settings[name] != defaults[name]
    ]
    if problems:
        raise ConfigError(problems)


def _class_weights(
    task_spec: TaskSpec,
    config: TrainingConfig,
    balance: Callable[[TaskSpec], tuple[float, ...]],
) -> tuple[float, ...] | None:
    """Weights in the order of the outputs, or None."""
    wanted = config.class_weights
    if isinstance(wanted, Mapping):
        return _weights_by_name(wanted, task_spec.class_names)
    if wanted == "none":
        return None
    if task_spec.label_counts is None:
        raise ConfigError(["class_weights: balanced needs the counts of the training labels"])
    return balance(task_spec)


def _weights_by_name(wanted: Mapping[str, float], names: list[str]) -> tuple[float, ...]:
    problems = [
        f"class_weights: there is no class {name!r}{nearest(name, names)}"
        for name in wanted
        if name not in names
    ]
    if missing := [name for name in names if name not in wanted]:
        problems.append(f"class_weights: {', '.join(missing)} without a weight; 1 is the usual one")
    if problems:
        raise ConfigError(problems)
    return tuple(wanted[name] for name in names)


def _balanced_classes(task_spec: TaskSpec) -> tuple[float, ...]:
    """Every class weighs the same in all, and a sample 1 on average."""
    counts = np.array(task_spec.label_counts)
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return tuple(weights.tolist())


def _balanced_labels(task_spec: TaskSpec) -> tuple[float, ...]:
    """Where a label applies it weighs as much in all as where it does not."""
    counts = np.array(task_spec.label_counts)
    others = task_spec.train_samples - counts
    known = (counts > 0) & (others > 0)
    return tuple(np.where(known, others / np.maximum(counts, 1), 1.0).tolist())


@cache
def _tensor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """On the device once and for all: a copy in every step would make the GPU wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


# --- Values --------------------------------------------------------------------------------------


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
            mae, rmse = (error_name(kind, name, self.names) for kind in ("mae", "rmse"))
            figures[mae] = self.absolute[row] / self.count * std
            figures[rmse] = (self.squared[row] / self.count).sqrt() * std
        return figures


class Regression:
    """Numbers to predict: outputs and labels float32 [B, K], both standardised.

    Values of any size are learned alike, and each of several counts as much as the others.
    """

    monitor = "r2"

    def configured(self, task_spec: TaskSpec, config: TrainingConfig) -> Regression:
        """As it is."""
        refuse_settings(task_spec, config, "class_weights", "label_smoothing", "balanced_sampling")
        return self

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
        metrics = ValueMetrics(_value_names(task_spec), _value_std(task_spec))
        return MetricCollection({"of_values": metrics})

    def predictions(self, logits: Tensor) -> Tensor:
        """The standardised values."""
        return logits.float()

    def statistics(self, task_spec: TaskSpec) -> ValueStatistics:
        """Sums for each value."""
        return ValueStatistics(_value_names(task_spec), _value_std(task_spec))

    def answers(self, logits: Tensor, task_spec: TaskSpec) -> Tensor:
        """Values in the units of the labels, float64."""
        values = logits.double()
        if (known := task_spec.standardisation) is None:
            return values
        return values * values.new_tensor(known.std) + values.new_tensor(known.mean)

    def token_totals(self, logits: Tensor, labels: Tensor, task_spec: TaskSpec) -> None:
        """None: values are no tokens."""

    def directions(self, task_spec: TaskSpec) -> dict[str, str]:
        """More variance explained is better, and less error."""
        names = _value_names(task_spec)
        errors = [error_name(kind, name, names) for name in names for kind in ("mae", "rmse")]
        return {"r2": MAX} | dict.fromkeys(errors, MIN)

    def trivial_logits(self, task_spec: TaskSpec, rows: Any) -> Tensor | None:
        """The mean of the training values, which standardising has made 0."""
        if task_spec.standardisation is None:
            return None
        return torch.zeros(task_spec.num_outputs)


def _value_names(task_spec: TaskSpec) -> list[str]:
    return task_spec.class_names or [str(index) for index in range(task_spec.num_outputs)]


def _value_std(task_spec: TaskSpec) -> Sequence[float]:
    """By what standardised values are multiplied."""
    standardisation = task_spec.standardisation
    return standardisation.std if standardisation else [1.0] * task_spec.num_outputs
