"""Numbers of each sample from which metrics can be told, of all samples or of any others.

Every metric is a function of sums over samples: of losses, hits, squared errors, tokens. So a
resample costs no more than other weights in these sums, whatever the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array, hstack
from torch import Tensor

from ..forward import IGNORED
from .metric_names import BALANCED_LOSS, CLASS_FIGURES, LOSS, error_name

Floats = npt.NDArray[np.float64]


class SampleStatistics(ABC):
    """What is summed of each sample, and the metrics that the sums tell.

    Args:
        widths: columns of each block; the first two blocks hold losses and targets, so that their
            sums over all columns are those of a sample.
    """

    def __init__(self, *widths: int) -> None:
        self.widths = widths

    def of_samples(self, logits: Tensor, labels: Tensor, **fields: Tensor) -> csr_array:
        """The numbers of a batch, float64 [B, S]; arguments as the metrics of the task take them.

        Args:
            logits: the network's outputs for it.
            labels: its targets.
            fields: its other fields.
        """
        return hstack(self._blocks(logits, labels, fields), format="csr")

    @abstractmethod
    def _blocks(
        self, logits: Tensor, labels: Tensor, fields: Mapping[str, Tensor]
    ) -> list[csr_array]:
        """The blocks of columns, each float64 [B, its width]."""

    @abstractmethod
    def figures(self, sums: Floats) -> dict[str, Floats]:
        """Metrics by name, each [...]; NaN where the samples do not tell one.

        Args:
            sums: over samples, [..., S].
        """

    def losses_and_targets(self, statistics: csr_array) -> tuple[Floats, Floats]:
        """Sum of the losses, and number of the targets, of each sample: float64 [N] both.

        Args:
            statistics: of the samples, [N, S].
        """
        losses, targets = self.widths[:2]
        ends = statistics[:, :losses].sum(axis=1), statistics[:, losses : losses + targets].sum(1)
        return np.asarray(ends[0], np.float64), np.asarray(ends[1], np.float64)

    def _split(self, sums: Floats) -> list[Floats]:
        return np.split(sums, np.cumsum(self.widths)[:-1], axis=-1)


class ClassStatistics(SampleStatistics):
    """Of samples with one class each: losses, occurrences, answers and hits of each class.

    Args:
        num_classes: K.
        names: of the classes; empty where they have none.
    """

    def __init__(self, num_classes: int, names: Sequence[str]) -> None:
        super().__init__(*[num_classes] * 4)
        self.names = names

    def _blocks(
        self, logits: Tensor, labels: Tensor, fields: Mapping[str, Tensor]
    ) -> list[csr_array]:
        losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
        predicted, counted = logits.argmax(1), labels != IGNORED
        width = self.widths[0]
        return [
            _in_columns(labels, counted, width, losses),
            _in_columns(labels, counted, width),
            _in_columns(predicted, counted, width),
            _in_columns(labels, counted & (predicted == labels), width),
        ]

    def figures(self, sums: Floats) -> dict[str, Floats]:
        """As `Classification.metrics` has them."""
        losses, occurrences, predicted, hits = self._split(sums)
        total = occurrences.sum(-1)
        met = predicted + occurrences > 0
        return {
            LOSS: ratio(losses.sum(-1), total),
            BALANCED_LOSS: _mean(ratio(losses, occurrences), occurrences > 0),
            "accuracy": ratio(hits.sum(-1), total),
            "f1": _mean(_f1(occurrences, predicted, hits), met),
        } | class_figures(self.names, occurrences, predicted, hits)


class LabelStatistics(SampleStatistics):
    """Of samples with any number of labels: loss, targets; occurrences, answers, hits of each.

    Args:
        num_labels: K.
        names: of the labels; empty where they have none.
    """

    def __init__(self, num_labels: int, names: Sequence[str]) -> None:
        super().__init__(1, 1, *[num_labels] * 3)
        self.names = names

    def _blocks(
        self, logits: Tensor, labels: Tensor, fields: Mapping[str, Tensor]
    ) -> list[csr_array]:
        losses = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
        applies, predicted = labels > 0.5, logits.float().sigmoid() > 0.5
        columns = (
            losses.double().sum(1, keepdim=True),
            torch.full_like(losses[:, :1], labels.shape[1]),
            applies,
            predicted,
            applies & predicted,
        )
        return [csr_array(as_floats(column)) for column in columns]

    def figures(self, sums: Floats) -> dict[str, Floats]:
        """As `Multilabel.metrics` has them."""
        losses, targets, occurrences, predicted, hits = self._split(sums)
        wrong = (occurrences + predicted - 2 * hits).sum(-1)
        total = targets.sum(-1)
        return {
            LOSS: ratio(losses.sum(-1), total),
            "accuracy": 1 - ratio(wrong, total),
            "f1": np.nan_to_num(_f1(*(one.sum(-1) for one in (occurrences, predicted, hits)))),
        } | class_figures(self.names, occurrences, predicted, hits)


class ValueStatistics(SampleStatistics):
    """Of values to predict: loss, targets; errors, their squares, labels and theirs of each value.

    Args:
        names: of the K values.
        std: of each, by which standardised predictions and labels are multiplied.
    """

    def __init__(self, names: Sequence[str], std: Sequence[float]) -> None:
        super().__init__(1, 1, *[len(std)] * 4)
        self.names, self.std = names, std

    def _blocks(
        self, logits: Tensor, labels: Tensor, fields: Mapping[str, Tensor]
    ) -> list[csr_array]:
        losses = F.mse_loss(logits.float(), labels, reduction="none")
        wide = labels.double()
        errors = logits.float() - wide
        columns = (
            losses.double().sum(1, keepdim=True),
            torch.full_like(losses[:, :1], labels.shape[1]),
            errors.abs(),
            errors.square(),
            wide,
            wide.square(),
        )
        return [csr_array(as_floats(column)) for column in columns]

    def figures(self, sums: Floats) -> dict[str, Floats]:
        """As `ValueMetrics` has them."""
        losses, targets, absolute, squared, total, total_squared = self._split(sums)
        count = targets / len(self.std)
        rounding = 1000 * np.finfo(np.float64).eps * total_squared
        spread = total_squared - ratio(np.square(total), count)
        constant = spread <= rounding
        explained = 1 - squared / np.where(constant, 1, spread)
        figures = {
            LOSS: ratio(losses, targets)[..., 0],
            "r2": np.where(constant, squared <= rounding, explained).mean(-1),
        }
        mean_absolute, mean_squared = ratio(absolute, count), ratio(squared, count)
        for row, (name, std) in enumerate(zip(self.names, self.std, strict=True)):
            figures[error_name("mae", name, self.names)] = mean_absolute[..., row] * std
            figures[error_name("rmse", name, self.names)] = np.sqrt(mean_squared[..., row]) * std
        return figures


@dataclass(frozen=True)
class TokenTotals:
    """What tokens cost, by where they stand and by which they are; all float64.

    Attributes:
        position_losses, position_counts: [T], by position in a sample: nats, and tokens.
        id_losses, id_counts: [V], the same by token id.
    """

    position_losses: Floats
    position_counts: Floats
    id_losses: Floats
    id_counts: Floats

    def __add__(self, other: TokenTotals) -> TokenTotals:
        return TokenTotals(
            self.position_losses + other.position_losses,
            self.position_counts + other.position_counts,
            self.id_losses + other.id_losses,
            self.id_counts + other.id_counts,
        )


def class_figures(
    names: Sequence[str], occurrences: Floats, predicted: Floats, hits: Floats
) -> dict[str, Floats]:
    """Recall, precision and F1 of each class; NaN where it does not occur.

    Args:
        names: of the K classes; empty for none of these figures.
        occurrences: samples of each class, [..., K].
        predicted: samples that are taken for it, [..., K].
        hits: samples of it that are taken for it, [..., K].
    """
    figures = [
        np.where(occurrences > 0, values, np.nan)
        for values in (
            ratio(hits, occurrences),
            hits / np.maximum(predicted, 1),
            _f1(occurrences, predicted, hits),
        )
    ]
    return {
        f"{figure}/{name}": values[..., row]
        for row, name in enumerate(names)
        for figure, values in zip(CLASS_FIGURES, figures, strict=True)
    }


def _f1(occurrences: Floats, predicted: Floats, hits: Floats) -> Floats:
    return ratio(2 * hits, occurrences + predicted)


def ratio(sums: Floats, counts: Floats) -> Floats:
    """Their quotient; NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients: Floats = np.where(counts > 0, np.divide(sums, counts), np.nan)
    return quotients


def _mean(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the last axis of the values that are chosen; 0 where none is."""
    mean: Floats = np.where(chosen, values, 0).sum(-1) / np.maximum(chosen.sum(-1), 1)
    return mean


def _in_columns(columns: Tensor, counted: Tensor, width: int, values: Tensor | None = None) -> Any:
    """One number, by default 1, in one column of each row that counts: float64 [B, width]."""
    rows = counted.nonzero()[:, 0]
    numbers = torch.ones_like(rows) if values is None else values[rows]
    places = (rows.cpu().numpy(), columns[rows].cpu().numpy())
    return csr_array((as_floats(numbers), places), shape=(len(columns), width))


def as_floats(tensor: Tensor) -> Floats:
    """A tensor of any kind, wherever it lies, as float64."""
    return tensor.detach().cpu().double().numpy()
