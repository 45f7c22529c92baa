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


def as_key(key: Key | int) -> Key:
    """The key of a sample that is asked for by its index alone: that of the first epoch."""
    return key if isinstance(key, tuple) else (0, key)


# keys that are made at a time: as Python's objects, those of an epoch would take much memory
BLOCK = 4096


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
        size: samples that it has.
    """

    epoch: int
    samples: int
    size: int


@dataclass(frozen=True)
class Start:
    """Where in an epoch training begins.

    Attributes:
        micro_batch: the first one, from 0.
        samples: used before it, over all processes; it begins behind them.
    """

    micro_batch: int = 0
    samples: int = 0


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
    def left_out(self) -> int:
        """Samples that no process takes."""
        return self.size - self.used(self.micro_batches)

    @property
    def smallest_micro_batch(self) -> int:
        """The fewest samples in any micro-batch of any process; 0 where there is none."""
        last = self.world_size - 1  # has as few samples as any
        return min(self.sizes(last), default=0)

    def sizes(self, rank: int) -> list[int]:
        """Samples in each micro-batch of a process."""
        samples, count = self.samples_of(rank), self.micro_batches
        full = max(0, count - 2)  # only the last two may differ
        ends = [self._end(samples, done) for done in range(full, count + 1)]
        return [self.batch_size] * full + [end - start for start, end in pairwise(ends)]

    def used(self, micro_batches: int) -> int:
        """Samples that all processes have used after so many micro-batches of each."""
        return sum(
            self._end(self.samples_of(rank), micro_batches) for rank in range(self.world_size)
        )

    def go_on(self, position: Position) -> tuple[int, Start]:
        """Epoch and place in it to go on at, whatever batch size and processes led there.

        What is left of a micro-batch makes a smaller one. Where that would be a single sample on
        some process, the next micro-batch takes it along; behind the last one it is left out.
        """
        samples = position.samples
        ranks = range(self.world_size)
        used = [len(range(rank, samples, self.world_size)) for rank in ranks]

        def left(micro_batches: int) -> list[int]:
            """What each process has yet to take of its first so many micro-batches."""
            ends = [self._end(self.samples_of(rank), micro_batches) for rank in ranks]
            return [end - taken for end, taken in zip(ends, used, strict=True)]

        done = min(self.micro_batches, samples // (self.batch_size * self.world_size) + 1)
        while done and max(left(done)) > 0:
            done -= 1
        if done < self.micro_batches and any(left(done)) and min(left(done + 1)) < 2:
            done += 1
        if done == self.micro_batches:
            return position.epoch + 1, Start()
        return position.epoch, Start(done, samples)

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
        self.start = Start()

    def start_at(self, epoch: int, start: Start) -> None:
        """Leave out what that epoch has been trained on already."""
        self.epoch = self.start_epoch = epoch
        self.start = start

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
        """Samples in each micro-batch that is left of the epoch in progress."""
        if self.shuffle:
            first, whole = self._start.micro_batch, self.shape.sizes(self.rank)
            left = whole[first:]
            if left:  # the first is smaller or larger where it was cut differently before
                left[0] += sum(whole[:first]) - self._used
            return left
        full, rest = divmod(len(self), self.shape.batch_size)
        return [self.shape.batch_size] * full + [rest] * (rest > 0)

    def __len__(self) -> int:
        if self.shuffle:
            return self.shape.samples_of(self.rank)
        return len(range(self.rank, self.shape.size, self.shape.world_size))

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        mine = self._order()[self.rank :: self.shape.world_size][: len(self)][self._used :]
        for start in range(0, len(mine), BLOCK):
            for index, *repeat in mine[start : start + BLOCK].tolist():
                yield (epoch, index, *repeat) if any(repeat) else (epoch, index)

    @property
    def _start(self) -> Start:
        return self.start if self.epoch == self.start_epoch else Start()

    @property
    def _used(self) -> int:
        """This process's samples that were trained on already in the epoch in progress."""
        used = len(range(self.rank, self._start.samples, self.shape.world_size))
        return min(used, len(self))

    def _order(self) -> npt.NDArray[np.int64]:
        """What names each sample of the epoch, over all processes: [size, 1], its index.

        Or [size, 2] with classes, the second being how often it came before.
        """
        if not self.shuffle:
            return np.arange(self.shape.size)[:, np.newaxis]
        generator = torch.Generator().manual_seed(sample_seed(self.seed, (self.epoch, -1)))
        if self.classes is not None:
            return _balanced(self.classes, generator)
        order: npt.NDArray[np.int64] = torch.randperm(self.shape.size, generator=generator).numpy()
        return order[:, np.newaxis]


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
        for size in self.sampler.sizes():
            yield list(islice(keys, size))


def _balanced(classes: npt.NDArray[np.int64], generator: torch.Generator) -> npt.NDArray[np.int64]:
    """As many draws as there are samples, equally many of each class, in random order.

    A class is drawn from without replacement until it is used up, then anew.

    Returns:
        [size, 2]: index of the sample, and how often it was drawn before.
    """
    by_class = np.argsort(classes, kind="stable")
    _, counts = np.unique(classes, return_counts=True)
    ends = np.cumsum(counts)
    draws = np.empty((len(classes), 2), np.int64)
    drawn = 0
    # the classes that get one more are others in each epoch
    turn = torch.randperm(len(counts), generator=generator).tolist()
    for place, row in enumerate(turn):
        members = by_class[ends[row] - counts[row] : ends[row]]
        share = len(range(place, len(classes), len(counts)))
        for repeat in range(math.ceil(share / len(members))):
            order = torch.randperm(len(members), generator=generator).numpy()
            chosen = members[order[: share - repeat * len(members)]]
            draws[drawn : drawn + len(chosen)] = np.stack(
                [chosen, np.full(len(chosen), repeat)], axis=1
            )
            drawn += len(chosen)
    shuffled: npt.NDArray[np.int64] = draws[torch.randperm(len(draws), generator=generator).numpy()]
    return shuffled
