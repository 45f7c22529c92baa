"""Texts of mixed lengths that share rows, beside the same texts padded."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .harness import (
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    project,
    seconds,
    versions,
)

LONGEST = 256  # tokens
TEXTS_A_STEP = 32
# words of a text: exp of a normal distribution, as lengths of comments and reviews are
MEDIAN_WORDS, SPREAD, MOST_WORDS = 30, 0.8, 240
PACKED, PADDED, GROUPED = "packing: separate", "packing: false", "the same, grouped by length"


@benchmark("Texts that share rows", minutes=4)
def packing(scale: Scale) -> Iterator[Row]:
    """An epoch of the same texts: sharing rows, padded, and padded beside texts of their length."""
    with project("text", task="lm") as found:
        write_corpus(Path("texts.jsonl"), texts=60 if scale.toy else 600)
        packed, padded = Epoch.of(found, "separate"), Epoch.of(found, False)
        check(packed, padded)
        epochs = {
            PACKED: packed.training(packed.batches()),
            PADDED: padded.training(padded.batches()),
            GROUPED: padded.training(grouped(padded)),
        }
        tokens = sum(padded.lengths())
        values = interleave({name: rate_of(run, tokens) for name, run in epochs.items()}, scale)
    ways = [
        Way(PACKED, "ours", values[PACKED]),
        Way(PADDED, "ours", values[PADDED]),
        Way(GROUPED, versions("transformers"), values[GROUPED]),
    ]
    lengths = padded.lengths()
    what = (
        f"Training an epoch of texts of {min(lengths)} to {max(lengths)} tokens, "
        f"{statistics.median(lengths):.0f} in the middle; network of `model.py`"
    )
    note = (
        f"Eager, float32, {TEXTS_A_STEP} texts in an optimizer step each way, raw loop. Rows are "
        f"{packed.fullness():.0%} full, padded batches {padded.fullness():.0%}."
    )
    yield Row(what, "tokens/s", ways, [Target(PACKED, PADDED, least=1.3)], note)


def write_corpus(path: Path, texts: int) -> None:
    """A table of made-up texts, most of them short and a few long."""
    choose = np.random.default_rng(0)
    words = ["".join(choose.choice([*"aeioustrnlmdp"], choose.integers(2, 9))) for _ in range(300)]
    sizes = 1 + (MEDIAN_WORDS * choose.lognormal(0, SPREAD, texts)).astype(int)
    with path.open("w", encoding="utf-8") as file:
        for size in sizes.clip(max=MOST_WORDS):
            file.write(json.dumps({"text": " ".join(choose.choice(words, size))}) + "\n")


@dataclass
class Epoch:
    """The texts in one form, and a network with the weights of one seed.

    Attributes:
        data: the project's data module.
        adapter: holds the network.
    """

    data: Any
    adapter: Any

    @classmethod
    def of(cls, found: Project, packing: str | bool) -> Epoch:
        """As the project reads and builds them; each optimizer step takes as many texts."""
        settings = {"task": "lm", "data": "texts.jsonl", "max_seq_len": LONGEST, "packing": packing}
        module = found.module("data.module").UniversalDataModule
        data = module.from_config(found.config(**settings))
        share = data.samples_per_epoch / len(data.splits.train)
        data.batch_size = max(1, round(TEXTS_A_STEP * share))
        torch.manual_seed(0)
        build = found.module("architecture").Architecture.resolve
        adapter = found.module("training.adapter").UniversalModelAdapter(
            build("builtin", data.task_spec).build(), data.config, task_spec=data.task_spec
        )
        adapter.fit_inputs()
        return cls(data, adapter)

    def batches(self) -> Iterable[dict[str, Tensor]]:
        """Those of the first epoch, in the project's order."""
        loader: Iterable[dict[str, Tensor]] = self.data.train_dataloader()
        return loader

    def training(self, batches: Iterable[dict[str, Tensor]]) -> Callable[[], object]:
        """What trains on them once; weights go on from one call to the next."""
        optimizer = torch.optim.AdamW(self.adapter.parameters(), lr=1e-3)

        def train() -> None:
            for batch in batches:
                optimizer.zero_grad()
                count = self.adapter.objective.count(batch["labels"])
                (self.adapter.loss_sum(batch) / count).backward()
                optimizer.step()

        return train

    def sums(self, batches: Iterable[dict[str, Tensor]]) -> tuple[int, float, Tensor]:
        """Targets, loss and gradient, summed over batches: int, nats, float64 [N]."""
        targets, loss, gradient = 0, 0.0, torch.zeros((), dtype=torch.float64)
        for batch in batches:
            one = self.adapter.loss_sum(batch)
            parts = torch.autograd.grad(one, list(self.adapter.parameters()))
            targets += int(self.adapter.objective.count(batch["labels"]))
            loss += float(one.detach())
            gradient = gradient + torch.cat([part.flatten() for part in parts]).double()
        return targets, loss, gradient

    def lengths(self) -> list[int]:
        """Tokens of each text, those longer than a row being several."""
        return [len(ids) for ids in self.data.splits.train["input_ids"][:]]

    def fullness(self) -> float:
        """Share of the batches that is no padding."""
        masks = [batch["attention_mask"] for batch in self.batches()]
        return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def grouped(epoch: Epoch) -> Iterable[dict[str, Tensor]]:
    """Padded batches of texts of about one length, as Hugging Face's Trainer chooses them."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    data, lengths = epoch.data, epoch.lengths()
    samples = data.modality.make_dataset(
        data.splits.train, data.task_spec, data.config, training=True
    )
    sampler = LengthGroupedSampler(TEXTS_A_STEP, lengths=lengths, generator=torch.Generator())
    return DataLoader(samples, batch_size=TEXTS_A_STEP, sampler=sampler, collate_fn=data.collator)


def check(packed: Epoch, padded: Epoch) -> None:
    """An epoch has the same targets, loss and gradient in each form.

    Raises:
        RuntimeError: it has not.
    """
    ours = packed.sums(packed.batches())
    for name, batches in ((PADDED, padded.batches()), (GROUPED, grouped(padded))):
        theirs = padded.sums(batches)
        apart = float((ours[2] - theirs[2]).norm() / theirs[2].norm())
        is_same = ours[0] == theirs[0] and abs(ours[1] / theirs[1] - 1) < 1e-5 and apart < 1e-4
        if not is_same:
            raise RuntimeError(
                f"{PACKED} and {name} do not learn the same: {ours[0]} and {theirs[0]} targets, "
                f"losses {ours[1]:.6g} and {theirs[1]:.6g}, gradients {apart:.2g} apart"
            )


def rate_of(run: Callable[[], object], tokens: int) -> Callable[[], float]:
    """Tokens a second of an epoch."""
    return lambda: tokens / seconds(run)
