"""What each text task minimises and measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from ..config import TrainingConfig
from ..forward import IGNORED
from ..preprocessing import TextTokenizer
from ..task import TaskSpec
from .metric_names import LOSS
from .objective import MAX, MIN, Classification, Objective, log_shares, refuse_settings
from .statistics import Floats, SampleStatistics, TokenTotals, as_floats, ratio

if TYPE_CHECKING:
    import datasets

ROWS_AT_A_TIME = 10_000


class TokenMetrics(Metric):
    """How well tokens are predicted, over all that have a label.

    `perplexity`; `bits_per_byte` of the text they stand for, which is comparable across
    tokenizers, and 0 where nobody has counted the bytes; `accuracy`. Without any label they are 1,
    0 and 0.

    Args:
        shift: how many positions behind its input the label of an output stands.
    """

    nll: Tensor
    targets: Tensor
    text_bytes: Tensor
    correct: Tensor

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.add_state("nll", torch.tensor(0.0), dist_reduce_fx="sum")
        for name in ("targets", "text_bytes", "correct"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, text_bytes: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logits: [B, T, V].
            labels: int64 [B, T].
            text_bytes: how many bytes of text the token at each place stands for, int64 [B, T].
        """
        if text_bytes is not None:
            has_label = labels[:, self.shift :] != IGNORED
            self.text_bytes += text_bytes[:, self.shift :][has_label].sum()
        logits, labels = align(logits, labels, self.shift)
        counted = labels != IGNORED
        self.nll += F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        self.targets += counted.sum()
        self.correct += (logits.argmax(1) == labels).sum()

    def compute(self) -> dict[str, Tensor]:
        """The three figures, by name."""
        return {
            "perplexity": (self.nll / self.targets.clamp(min=1)).exp(),
            "bits_per_byte": torch.where(
                self.text_bytes > 0, self.nll / math.log(2) / self.text_bytes.clamp(min=1), 0
            ),
            "accuracy": self.correct / self.targets.clamp(min=1),
        }


class TokenStatistics(SampleStatistics):
    """Of tokens to predict: loss, targets, bytes of text, hits.

    Args:
        shift: how many positions behind its input the label of an output stands.
    """

    def __init__(self, shift: int) -> None:
        super().__init__(1, 1, 1, 1)
        self.shift = shift

    def _blocks(
        self, logits: Tensor, labels: Tensor, fields: Mapping[str, Tensor]
    ) -> list[csr_array]:
        losses = token_losses(logits, labels, self.shift)
        targets = labels[:, self.shift :]
        counted = targets != IGNORED
        sizes = fields.get("text_bytes", torch.zeros_like(labels))[:, self.shift :]
        predicted = logits[:, : targets.shape[1]].argmax(-1)
        columns = (losses.double(), counted, sizes * counted, counted & (predicted == targets))
        return [csr_array(as_floats(column.sum(1, keepdim=True))) for column in columns]

    def figures(self, sums: Floats) -> dict[str, Floats]:
        """As `TokenMetrics` has them."""
        nll, targets, sizes, hits = (block[..., 0] for block in self._split(sums))
        counted = np.maximum(targets, 1)
        with np.errstate(over="ignore"):
            perplexity = np.exp(nll / counted)
        return {
            LOSS: ratio(nll, targets),
            "perplexity": perplexity,
            "bits_per_byte": np.nan_to_num(ratio(nll / math.log(2), sizes)),
            "accuracy": hits / counted,
        }


class TokenPrediction:
    """A token at each position: logits [B, T, V], labels int64 [B, T], most or few of them ignored.

    Args:
        shift: 1 where the label is the next token, 0 where it stands at its own position.
        density: about which share of the positions has a label.
    """

    monitor = "loss"

    def __init__(self, shift: int, density: float = 1.0) -> None:
        self.shift, self.density = shift, density

    def configured(self, task_spec: TaskSpec, config: TrainingConfig) -> TokenPrediction:
        """As it is."""
        refuse_settings(task_spec, config, "class_weights", "label_smoothing", "balanced_sampling")
        return self

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy in nats, summed over tokens; 0 where all are ignored."""
        logits, labels = align(logits, labels, self.shift)
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")

    def count(self, labels: Tensor) -> Tensor:
        """Tokens to predict."""
        return (labels[:, self.shift :] != IGNORED).sum()

    def targets_per_sample(self, task_spec: TaskSpec) -> int:
        """About how many tokens a full sample predicts."""
        return max(1, round(self.density * int(task_spec.input_schema["max_seq_len"])))

    def metrics(self, task_spec: TaskSpec, processor: TextTokenizer | None) -> MetricCollection:
        """Perplexity, accuracy, and bits per byte."""
        return MetricCollection({"tokens": TokenMetrics(self.shift)})

    def directions(self, task_spec: TaskSpec) -> dict[str, str]:
        """Less surprise is better, and more tokens that are right."""
        return {"perplexity": MIN, "bits_per_byte": MIN, "accuracy": MAX}

    def predictions(self, logits: Tensor) -> Tensor:
        """Logits as they are."""
        return logits

    def statistics(self, task_spec: TaskSpec) -> TokenStatistics:
        """Sums over tokens."""
        return TokenStatistics(self.shift)

    def answers(self, logits: Tensor, task_spec: TaskSpec) -> None:
        """None: a vocabulary of probabilities for each token would fill any memory."""

    def token_totals(self, logits: Tensor, labels: Tensor, task_spec: TaskSpec) -> TokenTotals:
        """What the tokens cost that have a label."""
        targets = labels[:, self.shift :]
        counted = targets != IGNORED
        losses = as_floats(token_losses(logits, labels, self.shift)[counted])
        positions = (counted.nonzero()[:, 1] + self.shift).cpu().numpy()
        ids = targets[counted].cpu().numpy()
        length, vocabulary = task_spec.input_schema["max_seq_len"], task_spec.num_outputs
        ones = np.ones_like(losses)
        return TokenTotals(
            np.bincount(positions, losses, length).astype(np.float64),
            np.bincount(positions, ones, length).astype(np.float64),
            np.bincount(ids, losses, vocabulary).astype(np.float64),
            np.bincount(ids, ones, vocabulary).astype(np.float64),
        )

    def trivial_logits(self, task_spec: TaskSpec, rows: datasets.Dataset) -> Tensor | None:
        """Each token as likely as it is in training, whatever stands around it: the unigrams."""
        if not len(rows):
            return None
        return log_shares(token_counts(rows, task_spec.num_outputs))


def token_counts(rows: datasets.Dataset, vocab_size: int) -> npt.NDArray[np.int64]:
    """How often each token occurs: int64 [vocab_size]."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    # some at a time: a corpus may be larger than memory
    for table in rows.select_columns("input_ids").with_format("arrow").iter(ROWS_AT_A_TIME):
        ids = table["input_ids"].combine_chunks().flatten().to_numpy()
        counts += np.bincount(ids, minlength=vocab_size)
    return counts


def align(logits: Tensor, labels: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Outputs beside the labels they are meant to predict: float32 [N, V] and int64 [N]."""
    outputs = logits[:, : logits.shape[1] - shift]
    return outputs.flatten(0, 1).float(), labels[:, shift:].flatten()


def token_losses(logits: Tensor, labels: Tensor, shift: int) -> Tensor:
    """Cross entropy in nats of each token [B, T - shift]; 0 where the label is ignored."""
    outputs, targets = align(logits, labels, shift)
    losses = F.cross_entropy(outputs, targets, ignore_index=IGNORED, reduction="none")
    return losses.view(len(labels), -1)


OBJECTIVES: dict[str, Objective] = {
    "lm": TokenPrediction(shift=1),
    "masked_lm": TokenPrediction(shift=0, density=0.15),
    "text_classification": Classification(),
}
