"""How texts are shown in a report, and what it says of language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch

from ..data.module import UniversalDataModule
from ..data.splits import Splits
from ..evaluation import Evaluation, Measured
from ..forward import IGNORED
from ..preprocessing import TextTokenizer
from ..training.adapter import UniversalModelAdapter
from ..training.objectives import OBJECTIVES, TokenPrediction, token_losses
from ..training.parameters import untouched
from ..training.trained_model import TrainedModel
from .charts import Chart, Series, Values
from .elements import Cell, Html, View, escaped, heading, joined, number, paragraph, table
from .page import Section

if TYPE_CHECKING:
    import datasets

# of a text, and of the samples whose tokens are shown
EXCERPT_TOKENS, SHOWN_TOKENS = 80, 256

HARDEST = 40

# texts with the loss of each token: the worst, those in the middle and the best
TEXTS = 2

# a token this surprising is marked as strongly as any, in nats
STRONGEST = 8.0

# stretches of the tokens' frequencies, each twice as wide as the one before
FREQUENCIES = 16


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """How a text begins, as its tokens spell it.

    Args:
        measured: what is shown the text; its tokenizer made the tokens.
        rows: of a split.
        number: of the row, from 0.
    """
    ids = rows[number]["input_ids"]
    begin = measured.processor.decode(ids[:EXCERPT_TOKENS])
    return View(excerpt=f"{begin} …" if len(ids) > EXCERPT_TOKENS else begin)


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """None: texts are trained on as they are."""
    return None


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """For language models: what each token costs; none for classes.

    Args:
        measured: the network, or a bundle, which is not asked about single texts again.
        evaluation: what it says of the samples.
    """
    if evaluation.tokens is None:
        return []
    tokens = _tokens(evaluation, measured.processor)
    return (
        [tokens, _texts(measured, evaluation)] if isinstance(measured, TrainedModel) else [tokens]
    )


# --- All tokens ----------------------------------------------------------------------------------


def _tokens(evaluation: Evaluation, tokenizer: TextTokenizer) -> Section:
    assert evaluation.tokens is not None
    totals = evaluation.tokens
    count = int(totals.id_counts.sum())
    charts = [
        _by_position(totals.position_losses, totals.position_counts),
        _by_frequency(totals.id_losses, totals.id_counts),
    ]
    body = [
        paragraph(f"Over all {count:,} tokens of {len(evaluation.losses):,} samples."),
        Html(f'<div class="charts">{joined(chart.html for chart in charts)}</div>'),
        heading("Hardest tokens"),
        _hardest(totals.id_losses, totals.id_counts, tokenizer),
    ]
    return Section("Tokens", joined(body), charts)


def _by_position(losses: Values, counts: Values) -> Chart:
    places = np.flatnonzero(counts)
    return Chart(
        "position",
        "Loss by position",
        "Mean loss by how many tokens stand before; it falls as far as the network uses them.",
        "tokens before",
        "loss (nats)",
        [Series("loss", places.astype(float), losses[places] / counts[places])],
    )


def _by_frequency(losses: Values, counts: Values) -> Chart:
    """Tokens of about the same frequency together: their exponents of 2 are rounded down."""
    seen = np.flatnonzero(counts)
    stretch = np.minimum(np.log2(counts[seen]).astype(int), FREQUENCIES)
    filled = np.unique(stretch)
    of_stretch = np.bincount(stretch, losses[seen]), np.bincount(stretch, counts[seen])
    return Chart(
        "frequency",
        "Loss by frequency",
        "Mean loss of tokens by how often they occur in these samples, as powers of 2.",
        "occurrences, as a power of 2",
        "loss (nats)",
        [
            Series(
                "loss",
                filled.astype(float),
                (of_stretch[0] / of_stretch[1].clip(1))[filled],
                "points",
            )
        ],
    )


def _hardest(losses: Values, counts: Values, tokenizer: TextTokenizer) -> Html:
    """The tokens that make up most of the loss: how often, times how wrong."""
    worst = np.argsort(-losses, kind="stable")[:HARDEST]
    worst = worst[counts[worst] > 0]
    rows: list[list[Cell]] = [
        [
            Html(f"<code>{escaped(repr(tokenizer.decode([index])))}</code>"),
            float(100 * losses[index] / losses.sum()),
            int(counts[index]),
            float(losses[index] / counts[index]),
        ]
        for index in worst.tolist()
    ]
    header = ["token", "% of the whole loss", "occurrences", "mean loss (nats)"]
    caption = f"{len(rows)} of {np.count_nonzero(counts):,} tokens, those that cost most in all"
    return Html(f'<div class="scroll-y">{table(header, rows, caption, sortable=True)}</div>')


# --- Single texts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """Tokens of a sample, with what each cost.

    Attributes:
        ids: int64 [T].
        losses: float32 [T] in nats; NaN for a token that was given, not predicted.
    """

    ids: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float32]


def _texts(trained: TrainedModel, evaluation: Evaluation) -> Section:
    order = np.argsort(evaluation.losses, kind="stable")
    order = order[np.isfinite(evaluation.losses[order])]
    middle = len(order) // 2
    chosen = {
        "Worst": order[::-1][:TEXTS],
        "In the middle": order[middle : middle + TEXTS],
        "Best": order[:TEXTS],
    }
    says = (
        f"{sum(map(len, chosen.values()))} of {len(evaluation.losses):,} samples, at most "
        f"{SHOWN_TOKENS} tokens of each. The darker a token, the larger its loss."
    )
    body = [paragraph(says)]
    for title, numbers in chosen.items():
        body.append(heading(title))
        for sample in numbers.tolist():
            body.append(
                paragraph(
                    f"{evaluation.places[sample]}: {number(float(evaluation.losses[sample]))} "
                    "nats a token",
                    "file",
                )
            )
            body.append(_marked(_look(trained, evaluation, sample), trained.processor))
    return Section("Texts", joined(body))


@torch.inference_mode()
def _look(trained: TrainedModel, evaluation: Evaluation, sample: int) -> _Text:
    """Ask the network about one sample again, as validation does."""
    config = untouched(trained.config)
    rows = evaluation.rows.select([sample])
    splits = Splits(rows, rows, trained.task_spec.class_names, processor=trained.processor)
    data = UniversalDataModule(trained.task_spec, 1, config=config, splits=splits)
    adapter = UniversalModelAdapter(
        trained.model, config, trained.processor, task_spec=trained.task_spec
    ).eval()
    [batch] = data.val_dataloader()
    shift = cast(TokenPrediction, OBJECTIVES[trained.task_spec.task_type]).shift
    labels = batch["labels"]
    found = token_losses(adapter(batch).float(), labels, shift)[0]
    targets = labels[0, shift:]
    # what was asked for where something was, what was given elsewhere
    ids = batch["input_ids"][0].clone()
    counted = targets != IGNORED
    ids[shift:][counted] = targets[counted]
    losses = torch.full(ids.shape, torch.nan)
    losses[shift:][counted] = found[counted]
    return _Text(ids.numpy()[:SHOWN_TOKENS], losses.numpy()[:SHOWN_TOKENS])


def _marked(text: _Text, tokenizer: TextTokenizer) -> Html:
    """Its tokens, the darker the larger the loss."""
    pieces: list[str] = []
    for index, loss in zip(text.ids.tolist(), text.losses.tolist(), strict=True):
        piece = escaped(tokenizer.decode([index]))
        if np.isnan(loss):
            pieces.append(piece)
        else:
            share = min(1.0, loss / STRONGEST)
            pieces.append(f'<span style="--share:{share:.2f}" title="{loss:.2f}">{piece}</span>')
    return Html(f'<div class="tokens">{"".join(pieces)}</div>')
