"""The order of the samples and the seeds of everything random, as functions of where training is.

The order of an epoch and every random choice within it are pure functions of (seed, epoch, index).
A position in training is therefore two integers, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.utils.data import Sampler

Key: TypeAlias = tuple[int, int]
"""(epoch, index): names one sample and seeds its augmentation."""


def sample_seed(seed: int, key: Key) -> int:
    """Seed of one sample's random choices in one epoch, the same in every worker and process."""
    return _digest(seed, *key)


def micro_batch_seed(seed: int, epoch: int, micro_batch: int, rank: int) -> int:
    """Seed of dropout and the like in one micro-batch on one process."""
    return _digest(seed, epoch, micro_batch, rank)


def _digest(*numbers: int) -> int:
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch wants a signed 64-bit seed


@dataclass(frozen=True)
class Position:
    """Where training stands, whatever the number of processes and workers.

    The processes take every `world_size`-th key of one common order, so that after equally many
    micro-batches they have used a prefix of it: one number says which samples are still to come.

    Attributes:
        epoch: the one in progress, from 0.
        samples: samples used in it, over all processes.
    """

    epoch: int
    samples: int

    def to_micro_batches(self, per_round: int, accumulation: int) -> int:
        """Micro-batches of a process, at the last window boundary not behind the position.

        Args:
            per_round: samples that all processes take together in one micro-batch.
            accumulation: micro-batches in one window.
        """
        return self.samples // (per_round * accumulation) * accumulation


class EpochSampler(Sampler[Key]):
    """Keys of this process's samples for one epoch; the first may begin at a later micro-batch.

    Every process gets the same number of micro-batches: in training, up to `world_size - 1`
    samples an epoch (others each time) are left out where they would make one more on some.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.batch_size = size, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start_epoch = 0
        self.start_batch = 0

    def start_at(self, epoch: int, micro_batch: int) -> None:
        """Leave out the micro-batches of that epoch that were already trained on."""
        self.epoch = self.start_epoch = epoch
        self.start_batch = micro_batch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        mine = len(range(self.rank, self.size, self.world_size))
        if self.shuffle and (self.size // self.world_size) % self.batch_size == 0:
            return min(mine, self.size // self.world_size)
        return mine

    def __iter__(self) -> Iterator[Key]:
        order = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, (self.epoch, -1)))
            order = torch.randperm(self.size, generator=generator)
        mine = order[self.rank :: self.world_size][: len(self)].tolist()
        start = self.start_batch * self.batch_size if self.epoch == self.start_epoch else 0
        for index in mine[start:]:
            yield self.epoch, index
