"""UniversalDataModule: datasets, collator and loaders for any modality, and an exact position."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable, Sized
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from ..config import TrainingConfig
from ..errors import ConfigError
from ..forward import LABELS
from ..task import TaskSpec
from ..task_base import Standardisation
from .check import Reading, with_facts
from .known import KnownSamples, NamingCollator, samples_of
from .order import EpochSampler, EpochShape, Key, MicroBatches, Position, Start
from .processor import KeepsProcessor
from .splits import Splits
from .validation_order import ValidationBatches
from .workers import settled_workers

if TYPE_CHECKING:
    import datasets

Batch: TypeAlias = dict[str, torch.Tensor]
Collator: TypeAlias = Callable[[list[dict[str, Any]]], Batch]
Predictor: TypeAlias = "Callable[[datasets.Dataset], npt.NDArray[np.float64]]"
"""Gives logits [N, K] for rows: log-probabilities, log-odds, or values in their own units."""
Method: TypeAlias = "Callable[[datasets.Dataset], Predictor]"
"""Learns from training rows what it predicts for others."""


class Modality(Reading, KeepsProcessor, Protocol):
    """What a module `data/<modality>.py` provides."""

    def make_dataset(
        self, rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
    ) -> Dataset[dict[str, Any]]:
        """Samples addressed by `Key`."""

    def make_blanks(
        self, rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
    ) -> Dataset[dict[str, Any]]:
        """The same samples without inputs that are dear to read: for a network that knows them."""

    def changes(self, task_spec: TaskSpec, config: TrainingConfig) -> str:
        """What gives a training sample other inputs in each epoch; empty where nothing does."""

    def make_collator(
        self, task_spec: TaskSpec, config: TrainingConfig, processor: Any
    ) -> Collator:
        """The function that makes one batch of several samples."""

    def make_input_transform(self, task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
        """What is left to do to a batch once it is on the device; maps a batch to a batch."""

    IS_DEAR: bool
    """Whether a sample takes far longer to read than to hand to another process."""

    def keep_example(self, splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
        """Write a validation input to `example.*`, for the bundle to store with its answer."""

    def rivals(self, task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
        """Other methods to hold a network against, by their names; may be none."""

    def benchmarks(
        self, data: UniversalDataModule, config: TrainingConfig
    ) -> dict[str, Callable[[], int]]:
        """Ways to make a micro-batch, each returning its number of samples; the first compares."""


def load_modality(name: str) -> Modality:
    """The module `data/<name>.py`.

    Raises:
        ValueError: this project has no such modality.
    """
    try:
        return cast(Modality, importlib.import_module(f".{name}", __package__))
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        raise ValueError(
            f"Unsupported modality: {name!r}; this project was made for {TaskSpec.modality!r}"
        ) from error


class FittedTransform(nn.Module):
    """An input transform that depends on the network."""

    def fit(self, network: nn.Module, logits: Callable[[Batch], torch.Tensor]) -> None:
        """See what suits a network.

        Args:
            network: in evaluation mode; whatever becomes of its weights is undone.
            logits: calls it with a transformed batch.

        Raises:
            ModelError: nothing does.
        """
        raise NotImplementedError


class StandardisingCollator:
    """A collator whose labels, values to predict, are standardised: float32, as the loss sees them.

    It happens here, in float64 and in the loader: Lightning makes every float of a batch float32
    for mixed precision, and Apple's GPUs have no float64.

    Args:
        collator: gives `labels`, float64 [B, K].
        standardisation: of the K values.
    """

    def __init__(self, collator: Collator, standardisation: Standardisation) -> None:
        self.collator = collator
        self.mean = torch.tensor(standardisation.mean, dtype=torch.float64)
        self.std = torch.tensor(standardisation.std, dtype=torch.float64)

    def __call__(self, samples: list[dict[str, Any]]) -> Batch:
        """The batch with `labels` as float32 [B, K]."""
        batch = self.collator(samples)
        return {**batch, LABELS: ((batch[LABELS] - self.mean) / self.std).float()}


class SharingCollator:
    """A collator that moves a batch to shared memory in the loader's process that has made it.

    torch would do so in a thread whose errors reach nobody: where that memory is full, training
    would wait for the batch for ever.

    Args:
        collator: makes the batch.
    """

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, samples: list[dict[str, Any]]) -> Batch:
        """The batch.

        Raises:
            RuntimeError: shared memory is full.
        """
        batch = self.collator(samples)
        if get_worker_info() is not None:
            for value in batch.values():
                value.share_memory_()  # type: ignore[no-untyped-call]
        return batch


class UniversalDataModule(LightningDataModule):
    """Data for training and validation, with the collator that the task's modality asks for.

    Args:
        task_spec: decides the modality, hence dataset class and collator.
        batch_size: samples in one micro-batch on one process.
        config: where the data lie and how they are loaded; defaults apply without it.
        splits: rows already read; otherwise `setup` reads `config.data`.

    Raises:
        ValueError: the project has no such modality.
    """

    def __init__(
        self,
        task_spec: TaskSpec,
        batch_size: int = 32,
        *,
        config: TrainingConfig | None = None,
        splits: Splits | None = None,
        processor: Any = None,
    ) -> None:
        super().__init__()
        self.task_spec = task_spec
        self.batch_size = batch_size
        self.config = config or TrainingConfig.from_dict({"task": task_spec.task_type})
        self.modality = load_modality(task_spec.modality)
        self.splits = splits
        self.processor = splits.processor if splits and processor is None else processor
        self.collator = self._get_collator(task_spec)
        self._start_epoch, self._start = 0, Start()
        self._datasets: list[KnownSamples] = []

    @classmethod
    def from_config(
        cls, config: TrainingConfig, processor: Any = None, splits: Splits | None = None
    ) -> UniversalDataModule:
        """Read the data a configuration names, look at every sample, derive the task from both.

        Args:
            config: says where they lie.
            processor: of a run that goes on, used instead of learning another from the data.
            splits: of `with_facts`, where that has been done already.

        Raises:
            DataError: nothing there, not in a layout this project reads, or samples that cannot be
                read, all of them named.
            TrainingError: the output folder cannot be written.
        """
        if splits is None:
            modality = load_modality(TaskSpec.modality)
            splits = with_facts(modality, modality.read_splits(config, processor), config)
        task_spec = TaskSpec.from_config(config, splits)
        return cls(task_spec, config.batch_size, config=config, splits=splits)

    def _get_collator(self, task_spec: TaskSpec) -> Collator:
        return self.modality.make_collator(task_spec, self.config, self.processor)

    def setup(self, stage: str = "fit") -> None:
        """Read the data unless they were given."""
        if self.splits is None:
            self.splits = self.modality.read_splits(self.config)
        if self.processor is None and self.splits.processor is not None:
            self.processor = self.splits.processor
            self.collator = self._get_collator(self.task_spec)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Micro-batches in a new order each epoch, from the stored position on."""
        dataset = self._dataset(training=True)
        world_size, rank = self._place()
        sampler = EpochSampler(
            EpochShape(len(cast(Sized, dataset)), self.batch_size, world_size),
            seed=self.config.seed,
            shuffle=True,
            rank=rank,
            classes=self._classes() if self.config.balanced_sampling else None,
        )
        # before the loader's workers begin to fetch, which is before Lightning sets the epoch
        sampler.start_at(self._start_epoch, self._start)
        return self._loader(dataset, MicroBatches(sampler))

    def micro_batches_per_epoch(self, world_size: int) -> int:
        """Micro-batches of one epoch, the same on every process.

        Args:
            world_size: processes over all machines.
        """
        return self.epoch_shape(world_size).micro_batches

    def epoch_shape(self, world_size: int) -> EpochShape:
        """How the training samples fall into micro-batches.

        Args:
            world_size: processes over all machines.
        """
        return EpochShape(self.samples_per_epoch, self.batch_size, world_size)

    @cached_property
    def samples_per_epoch(self) -> int:
        """Training samples; fewer than there are rows, where several make one sample."""
        return len(cast(Sized, self._samples(training=True)))

    def first_samples(self, count: int) -> Batch:
        """A micro-batch of the first training samples: so many, or all there are."""
        dataset = self._samples(training=True)
        numbers = range(min(count, self.samples_per_epoch))
        return self.collate_fn(samples_of(dataset, [(0, number) for number in numbers]))

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every validation sample, in order, unaugmented; as many batches on every process."""
        return self.in_order(training=False)

    def in_order(self, *, training: bool) -> DataLoader[dict[str, Any]]:
        """Every sample of a split, in the order of the rows; as many batches on every process."""
        dataset = self._dataset(training=training)
        size = len(cast(Sized, dataset))
        return self._loader(dataset, ValidationBatches(size, self.batch_size, *self._place()))

    def leave_out_inputs(self, until: int) -> None:
        """Give no inputs any more, but the rows of the samples, for a network that knows them.

        To be called before the first batch is fetched.

        Args:
            until: the first epoch that needs inputs again.
        """
        for dataset in self._datasets:
            dataset.until = until

    def _samples(self, *, training: bool, blank: bool = False) -> Dataset[dict[str, Any]]:
        self.setup()
        assert self.splits is not None
        rows = self.splits.train if training else self.splits.val
        make = self.modality.make_blanks if blank else self.modality.make_dataset
        return make(rows, self.task_spec, self.config, training=training)

    def _dataset(self, *, training: bool) -> Dataset[dict[str, Any]]:
        samples = self._samples(training=training)
        if not self.config.freeze:
            return samples
        blanks = self._samples(training=training, blank=True)
        self._datasets.append(KnownSamples(samples, blanks))
        return self._datasets[-1]

    def _place(self) -> tuple[int, int]:
        """Processes over all machines, and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, dataset: Dataset[dict[str, Any]], batches: Sampler[list[Key]]
    ) -> DataLoader[dict[str, Any]]:
        workers = self.workers
        if self.config.num_workers == "auto":
            workers = min(workers, len(cast(Sized, batches)))
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=SharingCollator(NamingCollator(self.collate_fn)),
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_ignore_first_signal,
            pin_memory=self._device().type == "cuda",
        )

    @property
    def workers(self) -> int:
        """Processes that load data for this one, each a micro-batch at a time."""
        processes = self.trainer.num_devices if self.trainer else 1
        is_dear = self.modality.IS_DEAR
        return settled_workers(self.config, self._device(), processes, is_dear=is_dear)

    def _device(self) -> torch.device:
        """Where the batches go."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def collate_fn(self) -> Collator:
        """What makes a batch of samples, with standardised labels where they are values."""
        standardisation = self.task_spec.standardisation
        if standardisation is None:
            return self.collator
        return StandardisingCollator(self.collator, standardisation)

    def _classes(self) -> npt.NDArray[np.int64]:
        assert self.splits is not None
        if "labels" in self.splits.train.column_names:
            labels = np.asarray(self.splits.train["labels"][:])
            if labels.ndim == 1:
                return labels
        raise ConfigError(
            [f"balanced_sampling: {self.task_spec.task_type} has no classes to draw equally often"]
        )

    def state_dict(self) -> dict[str, Any]:
        """Position after the last finished micro-batch: saved inside every checkpoint."""
        assert self.trainer is not None
        epoch, shape = self.trainer.current_epoch, self.epoch_shape(self.trainer.world_size)
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done >= self.trainer.num_training_batches:
            return asdict(Position(epoch + 1, 0, shape.size))
        return asdict(Position(epoch, shape.used(done), shape.size))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the saved position."""
        assert self.trainer is not None
        shape = self.epoch_shape(self.trainer.world_size)
        self._start_epoch, self._start = shape.go_on(Position(**state_dict))


def _ignore_first_signal(worker_id: int) -> None:
    """Ctrl-C reaches a whole process group: the training process still needs its workers then.

    A second SIGTERM ends a worker, as it must when the interpreter exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _restore(number))


def _restore(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
