"""The order of the validation samples: each counts once, in as many batches on every process."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.utils.data import Sampler

from .order import Key


class ValidationBatches(Sampler[list[Key]]):
    """Keys of the validation batches of one process, in the order of the samples.

    The loop's hooks, and networks that are spread over processes, need every process in every
    batch. One whose samples are used up takes the first sample again, which `counts` tells apart.

    Args:
        size: samples over all processes.
        batch_size: samples in a full batch of a process.
        world_size: processes.
        rank: of this process.
    """

    def __init__(self, size: int, batch_size: int, world_size: int = 1, rank: int = 0) -> None:
        self.batch_size = batch_size
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`
        self.mine = range(rank, size, world_size)
        self.batches = math.ceil(len(range(0, size, world_size)) / batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each validation."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in range(self.batches):
            start = batch * self.batch_size
            indices = self.mine[start : start + self.batch_size] or [0]
            yield [(self.epoch, index) for index in indices]

    def counts(self, batch: int) -> bool:
        """Whether a batch, by its number, holds samples of this process."""
        return batch * self.batch_size < len(self.mine)
