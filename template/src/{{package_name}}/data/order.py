"""The order of the samples and the seeds of everything random, as functions of where training is.

The order of an epoch and every random choice within it are pure functions of (seed, epoch, index).
A position in training is therefore two integers, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

Key: TypeAlias = tuple[int, ...]
"""(epoch, index): names one sample and seeds its augmentation.

Where an epoch takes a sample several times, the later ones have their number behind: (epoch, index,
1) and so on.
"""


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


@dataclass(frozen=True)
class EpochShape:
    """How an epoch's samples fall into micro-batches.

    A single sample that would be left over at a process's end gets another one from the micro-batch
    before (or joins it, where that has two): batch normalisation cannot average over one. Every
    process has equally many micro-batches: up to `world_size - 1` samples are left out where they
    would make one more on some.

    Attributes:
        size: samples over all processes.
        batch_size: samples in a full micro-batch of a process.
        world_size: processes.
    """

    size: int
    batch_size: int
    world_size: int = 1

    def samples_of(self, rank: int) -> int:
        """Samples that a process takes."""
        least = self.size // self.world_size
        if self._count(least) != self._count(least + 1):
            return least
        return len(range(rank, self.size, self.world_size))

    @property
    def micro_batches(self) -> int:
        """Micro-batches of each process."""
        return self._count(self.size // self.world_size)

    @property
    def smallest_micro_batch(self) -> int:
        """The fewest samples in any micro-batch of any process; 0 where there is none."""
        last = self.world_size - 1  # has as few samples as any
        return min(self.sizes(last), default=0)

    def sizes(self, rank: int) -> list[int]:
        """Samples in each micro-batch of a process."""
        ends = [self._end(self.samples_of(rank), done) for done in range(self.micro_batches + 1)]
        return [end - start for start, end in pairwise(ends)]

    def used(self, micro_batches: int) -> int:
        """Samples that all processes have used after so many micro-batches of each."""
        return sum(
            self._end(self.samples_of(rank), micro_batches) for rank in range(self.world_size)
        )

    def micro_batches_at(self, samples: int, accumulation: int) -> int:
        """Micro-batches of each process, at the last window boundary not behind a position.

        Args:
            samples: used so far, over all processes.
            accumulation: micro-batches in one window.
        """
        done = samples // (self.batch_size * self.world_size)
        if done < self.micro_batches and self.used(done + 1) <= samples:
            done += 1  # the last but one is a sample short
        return done // accumulation * accumulation

    def _count(self, samples: int) -> int:
        """Micro-batches that so many samples of a process fall into."""
        joined = self.batch_size == 2 and samples % 2 == 1 and samples > 1
        return samples // 2 if joined else math.ceil(samples / self.batch_size)

    def _end(self, samples: int, micro_batches: int) -> int:
        """How many of a process's samples lie before the end of a micro-batch."""
        count = self._count(samples)
        if micro_batches >= count:
            return samples
        short = 0 < micro_batches == count - 1 and samples % self.batch_size == 1
        return micro_batches * self.batch_size - (short and self.batch_size > 2)


class EpochSampler(Sampler[Key]):
    """Keys of this process's samples for one epoch; the first may begin at a later micro-batch.

    Args:
        shape: how many there are, and how they fall into micro-batches.
        seed: of the order.
        shuffle: in training; else the samples come in order, every one of them.
        rank: of this process.
        classes: of every sample, int64 [size]. Where they are given, an epoch draws each class
            equally often: rare samples several times, of the others as many as there is room for.
    """

    def __init__(
        self,
        shape: EpochShape,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        classes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.shape, self.rank = shape, rank
        self.seed, self.shuffle, self.classes = seed, shuffle, classes
        self.epoch = self.start_epoch = 0
        self.start_batch = 0

    def start_at(self, epoch: int, micro_batch: int) -> None:
        """Leave out the micro-batches of that epoch that were already trained on."""
        self.epoch = self.start_epoch = epoch
        self.start_batch = micro_batch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a whole epoch."""
        if self.shuffle:
            return self.shape.micro_batches
        return math.ceil(len(self) / self.shape.batch_size)

    def sizes(self) -> list[int]:
        """Samples in each micro-batch of a whole epoch."""
        if self.shuffle:
            return self.shape.sizes(self.rank)
        full, rest = divmod(len(self), self.shape.batch_size)
        return [self.shape.batch_size] * full + [rest] * (rest > 0)

    @property
    def skipped(self) -> int:
        """Micro-batches of the epoch in progress that were already trained on."""
        return self.start_batch if self.epoch == self.start_epoch else 0

    def __len__(self) -> int:
        if self.shuffle:
            return self.shape.samples_of(self.rank)
        return len(range(self.rank, self.shape.size, self.shape.world_size))

    def __iter__(self) -> Iterator[Key]:
        mine = self._order()[self.rank :: self.shape.world_size][: len(self)]
        start = sum(self.sizes()[: self.skipped])
        for index in mine[start:]:
            yield self.epoch, *index

    def _order(self) -> list[tuple[int, ...]]:
        """What names each sample of the epoch, over all processes: its index, or that and more."""
        if not self.shuffle:
            return [(index,) for index in range(self.shape.size)]
        generator = torch.Generator().manual_seed(sample_seed(self.seed, (self.epoch, -1)))
        if self.classes is not None:
            return _balanced(self.classes, generator)
        order = torch.randperm(self.shape.size, generator=generator)
        return [(index,) for index in order.tolist()]


class MicroBatches(Sampler[list[Key]]):
    """The keys of a sampler as micro-batches.

    Args:
        sampler: an attribute by this name is where Lightning looks for `set_epoch`.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return self.sampler.micro_batches

    def __iter__(self) -> Iterator[list[Key]]:
        keys = iter(self.sampler)
        for size in self.sampler.sizes()[self.sampler.skipped :]:
            yield list(islice(keys, size))


def _balanced(classes: npt.NDArray[np.int64], generator: torch.Generator) -> list[tuple[int, ...]]:
    """As many draws as there are samples, equally many of each class, in random order.

    A class is drawn from without replacement until it is used up, then anew.
    """
    present = np.unique(classes)
    draws: list[tuple[int, ...]] = []
    # the classes that get one more are others in each epoch
    turn = torch.randperm(len(present), generator=generator).tolist()
    for place, row in enumerate(turn):
        members = np.flatnonzero(classes == present[row])
        share = len(range(place, len(classes), len(present)))
        for repeat in range(math.ceil(share / len(members))):
            order = torch.randperm(len(members), generator=generator)
            chosen = members[order[: share - repeat * len(members)].numpy()].tolist()
            draws += [(index, repeat) if repeat else (index,) for index in chosen]
    return [draws[place] for place in torch.randperm(len(draws), generator=generator).tolist()]
