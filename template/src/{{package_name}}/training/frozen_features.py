"""What the frozen part of a network makes of every sample, computed once and not in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.module import Batch, UniversalDataModule
from ..data.validation_order import ValidationBatches
from ..forward import LABELS
from .adapter import UniversalModelAdapter
from .distributed import of_all_processes
from .frozen_part import Extent, FrozenPart, find_frozen_part
from .probe import first_batch, without_trace
from .speaker import process_rank

# of memory, for the features of all samples; each process has them all
MOST_BYTES = 2_000_000_000


class FrozenFeatures:
    """Features by sample, and the network that goes on from them.

    Args:
        part: of the network, from whose answers it can go on.
        training, validation: a tensor for each of `part.needed`, a row for each sample.
    """

    def __init__(self, part: FrozenPart, training: list[Tensor], validation: list[Tensor]) -> None:
        self.part = part
        self.by_split = {True: training, False: validation}

    def network(self, batch: Batch, rows: Tensor, *, training: bool) -> Callable[..., Any]:
        """Calls the network with features in place of its frozen part.

        Args:
            batch: as the network sees it, with whatever inputs.
            rows: int64 [B], of its samples.
            training: whether they are rows of the training samples.
        """
        tokens = Extent.of(batch).tokens
        features = []
        for (call, value), stored in zip(self.part.needed, self.by_split[training], strict=True):
            described = self.part.calls[call].values[value]
            chosen = stored[rows]
            for dimension, size in enumerate(described.sizes):
                if size.per_token:
                    chosen = chosen.narrow(dimension, 0, tokens)
            features.append(chosen.to(described.device))
        return self.part.going_on(batch, features)


class KeepFrozenFeatures(Callback):
    """Computes features before the first epoch, where a run freezes a part and no input changes.

    Args:
        data: of the run; it gives no inputs any more as long as the features hold.
        console: for the progress.
    """

    def __init__(self, data: UniversalDataModule, console: Console) -> None:
        self.data, self.console = data, console

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The network has its weights by now, also those of a checkpoint."""
        assert isinstance(pl_module, UniversalModelAdapter)
        config = pl_module.config
        until = config.epochs if config.unfreeze_epoch is None else config.unfreeze_epoch
        if not pl_module.plan.frozen or self._epochs(trainer, pl_module, until) <= 1:
            return  # each sample would be looked at once
        if changes := self.data.modality.changes(self.data.task_spec, config):
            pl_module.log_line(
                f"freeze: what is frozen is computed in every epoch, as {changes} changes its "
                "inputs"
            )
            return
        with without_trace(pl_module, trainer):
            batch = first_batch(self.data, pl_module.device)
            part = find_frozen_part(pl_module, pl_module.input_transform(batch))
            mine = self._compute(part) if part else None
        if part is None:
            pl_module.log_line(
                "freeze: what is frozen is computed in every epoch, as nobody can tell it from "
                "the rest of this network"
            )
        if not trainer.strategy.reduce_boolean_decision(mine is not None):
            return
        assert part is not None
        assert mine is not None
        training, validation = (_of_all_rows(features) for features in mine)
        pl_module.features = FrozenFeatures(part, training, validation)
        self.data.leave_out_inputs(until)
        size = sum(features.nbytes for features in (*training, *validation)) / 1e6
        pl_module.log_line(
            f"freeze: what the frozen part makes of {self._samples()} samples is kept "
            f"({size:,.1f} MB), and not computed again"
        )

    def _epochs(self, trainer: Trainer, adapter: UniversalModelAdapter, until: int) -> float:
        """How many epochs are still to be trained with a frozen part."""
        left = adapter.run_length.micro_batches
        assert left is not None
        in_epoch = self.data.micro_batches_per_epoch(trainer.world_size)
        return min(until - trainer.current_epoch, left / in_epoch)

    def _samples(self) -> int:
        assert self.data.splits is not None
        return len(self.data.splits.train) + len(self.data.splits.val)

    def _compute(self, part: FrozenPart) -> tuple[list[Tensor], list[Tensor]] | None:
        """This process's share of the features of both splits; None where all would be too many."""
        part.adapter.eval()
        training = self._compute_split(part, training=True)
        validation = self._compute_split(part, training=False) if training else None
        return (training, validation) if training and validation else None

    def _compute_split(self, part: FrozenPart, *, training: bool) -> list[Tensor] | None:
        adapter, loader = part.adapter, self.data.in_order(training=training)
        batches: Any = loader.batch_sampler
        assert isinstance(batches, ValidationBatches)
        found: list[list[Tensor]] = []
        for number, loaded in enumerate(self._shown(loader, training)):
            batch = {name: value.to(adapter.device) for name, value in loaded.items()}
            with torch.no_grad():
                features = part.features(adapter.input_transform(batch))
            size = sum(f[0].nbytes for f in features) * self._samples()
            if size > MOST_BYTES:
                adapter.log_line(
                    "freeze: what is frozen is computed in every epoch: to keep what it makes of "
                    f"{self._samples():,} samples takes {size / 1e9:,.1f} GB, and the most is "
                    f"{MOST_BYTES / 1e9:g}"
                )
                return None
            count = len(batch[LABELS]) if batches.counts(number) else 0
            found.append([feature[:count].cpu() for feature in features])
        return [_stacked(list(parts)) for parts in zip(*found, strict=True)]

    def _shown(self, loader: DataLoader[Any], training: bool) -> Iterable[Batch]:
        return track(
            loader,
            f"Computing features of {'training' if training else 'validation'} samples",
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal or process_rank() > 0,
        )


def _stacked(parts: list[Tensor]) -> Tensor:
    """Tensors [n, ...] below one another, with zeros behind those that are shorter."""
    longest = [max(lengths) for lengths in zip(*(part.shape[1:] for part in parts), strict=True)]
    whole = parts[0].new_zeros(sum(map(len, parts)), *longest)
    start = 0
    for part in parts:
        whole[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return whole


def _of_all_rows(mine: list[Tensor]) -> list[Tensor]:
    """A row for each sample: of N processes, each has computed every N-th."""
    of_all = of_all_processes(mine)
    if len(of_all) == 1:
        return mine
    ordered = []
    for parts in zip(*of_all, strict=True):
        stacked = _stacked(list(parts))
        rows = [torch.arange(rank, len(stacked), len(parts)) for rank in range(len(parts))]
        ordered.append(torch.empty_like(stacked).index_copy_(0, torch.cat(rows), stacked))
    return ordered
