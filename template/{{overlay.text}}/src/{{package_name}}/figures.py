"""Pictures of how a trained network does on its validation texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from .data import text
from .data.doctor import Findings
from .data.module import UniversalDataModule
from .errors import DataError
from .forward import IGNORED
from .plots import confusion
from .preprocessing import TextTokenizer
from .training.adapter import UniversalModelAdapter
from .training.objectives import OBJECTIVES, TokenPrediction, token_losses
from .training.parameters import untouched
from .training.trained_model import TrainedModel

# enough to see how the network does; a large validation set would make the report slow
MAX_SAMPLES = 512
HARDEST = 20


@dataclass(frozen=True)
class TokenEvaluation:
    """What each predicted token of the validation texts cost.

    Attributes:
        tokens: int64 [N], the token that was right.
        positions: int64 [N], where in its sample it stands.
        losses: float32 [N], in nats.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float32]


def evaluation_figures(trained: TrainedModel) -> list[tuple[str, Figure]]:
    """Titles and figures that fit the task; none where the data are gone."""
    try:
        batches = list(_batches(trained))
    except DataError:
        return []
    if trained.task_spec.task_type == "text_classification":
        labels, logits = _classes(batches)
        return [
            (
                "Confusion on validation texts",
                confusion(labels, logits, trained.task_spec.class_names),
            ),
            ("How sure, and how often right", reliability(labels, logits)),
        ]
    evaluation = _tokens(batches, trained)
    figures = [("Hardest tokens of the validation texts", hardest(evaluation, trained.processor))]
    if trained.task_spec.task_type == "lm":
        figures.insert(0, ("What context is worth", loss_by_position(evaluation)))
    return figures


def doctor_figures(trained: TrainedModel, findings: Findings) -> list[tuple[str, Figure]]:
    """None: the findings show how each text begins."""
    return []


@torch.inference_mode()
def _batches(trained: TrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Labels and logits of the first validation samples.

    Raises:
        DataError: the data cannot be read any more.
    """
    splits = text.read_splits(trained.config, trained.processor)
    data = UniversalDataModule(
        trained.task_spec, trained.config.batch_size, config=trained.config, splits=splits
    )
    adapter = UniversalModelAdapter(
        trained.model, untouched(trained.config), trained.processor, task_spec=trained.task_spec
    ).eval()
    found, seen = [], 0
    for batch in data.val_dataloader():
        found.append((batch["labels"], adapter(batch).float()))
        seen += len(batch["labels"])
        if seen >= MAX_SAMPLES:
            break
    return found


def _classes(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[npt.NDArray[Any], ...]:
    labels = torch.cat([labels for labels, _ in batches])
    return labels.numpy(), torch.cat([logits for _, logits in batches]).numpy()


def _tokens(
    batches: list[tuple[torch.Tensor, torch.Tensor]], trained: TrainedModel
) -> TokenEvaluation:
    objective = OBJECTIVES[trained.task_spec.task_type]
    assert isinstance(objective, TokenPrediction)
    tokens, positions, losses = [], [], []
    for labels, logits in batches:
        targets = labels[:, objective.shift :]
        counted = targets != IGNORED
        tokens.append(targets[counted])
        positions.append(counted.nonzero()[:, 1] + objective.shift)
        losses.append(token_losses(logits, labels, objective.shift)[counted])
    return TokenEvaluation(*(torch.cat(parts).numpy() for parts in (tokens, positions, losses)))


def loss_by_position(evaluation: TokenEvaluation) -> Figure:
    """Mean loss by the number of tokens before; it falls as far as the network uses context."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots()
    counts = np.bincount(evaluation.positions)
    sums = np.bincount(evaluation.positions, weights=evaluation.losses)
    places = np.flatnonzero(counts)
    axes.plot(places, sums[places] / counts[places])
    axes.set(xlabel="tokens before", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    return figure


def hardest(evaluation: TokenEvaluation, tokenizer: TextTokenizer) -> Figure:
    """The tokens that make up most of the loss: how often, times how wrong."""
    counts = np.bincount(evaluation.tokens, minlength=tokenizer.vocab_size)
    sums = np.bincount(evaluation.tokens, weights=evaluation.losses, minlength=tokenizer.vocab_size)
    worst = np.argsort(sums)[::-1][:HARDEST]
    worst = worst[counts[worst] > 0][::-1]
    figure = Figure(figsize=(10, 1 + 0.22 * len(worst)), layout="constrained")
    axes = figure.subplots()
    axes.barh([repr(tokenizer.decode([index])) for index in worst], sums[worst] / sums.sum())
    for place, index in enumerate(worst):
        mean = sums[index] / counts[index]
        axes.text(
            sums[index] / sums.sum(),
            place,
            f"  {counts[index]} times, {mean:.1f} nats",
            va="center",
        )
    axes.margins(x=0.2)
    axes.set_xlabel("share of the whole loss")
    return figure


def reliability(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> Figure:
    """Accuracy among guesses of about the same probability; on the line it is what they claim."""
    probabilities = torch.from_numpy(logits).softmax(1).numpy().max(1)
    right = logits.argmax(1) == labels
    bins = np.clip((probabilities * 10).astype(int), 0, 9)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    filled = np.unique(bins)
    axes.plot(
        [probabilities[bins == bin_].mean() for bin_ in filled],
        [right[bins == bin_].mean() for bin_ in filled],
        "o-",
    )
    axes.axline((0, 0), slope=1, color="grey", lw=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the guess", ylabel="share right")
    return figure
