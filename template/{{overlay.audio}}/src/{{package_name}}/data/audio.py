"""Sounds: the dataset, the collator, and what is left to do on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidAudio, Waveform
from ..task import TaskSpec
from .audio_facts import explain
from .augmentation import change_features, change_waveform
from .file_facts import source_of
from .known import samples_of
from .mixing import MixSamples, MixUp, refuse_mixing
from .module import Batch
from .order import Key, sample_seed
from .reading import PROCESSOR_FILES as PROCESSOR_FILES
from .reading import count_repeated as count_repeated
from .reading import examine as examine
from .reading import fingerprint as fingerprint
from .reading import keep_example as keep_example
from .reading import load_processor as load_processor
from .reading import places as places
from .reading import read_samples as read_samples
from .reading import read_splits as read_splits
from .reading import review as review
from .reading import save_processor as save_processor
from .rivals import rivals as rivals
from .row_dataset import BlankSamples, RowDataset, stack_labels

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule

# decoding and features take milliseconds
IS_DEAR = True


# --- Samples -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """A sound on its way to the network.

    Attributes:
        window: float32 [T].
        inputs: float32 [C, M, F], or [T] of raw sound.
    """

    window: Waveform
    inputs: npt.NDArray[np.float32]


class AudioDataset(RowDataset):
    """Samples `{"features": float32 [C, M, F], "labels": ...}`, addressed by (epoch, index).

    Raw sound is `waveform`, float32 [T].

    Args:
        rows: table with `audio` (path or bytes) and `labels`.
        task_spec: how a sound becomes an input.
        augment: `none`; `light` or `strong` change sounds, and crop longer ones at random.
        seed: with the key, fixes every random choice.
        max_seconds: of the longest sound.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        task_spec: TaskSpec,
        *,
        augment: str = "none",
        seed: int = 0,
        max_seconds: float | None = None,
    ) -> None:
        super().__init__(rows)
        self.preprocessing = task_spec.preprocessing
        self.name = task_spec.input_name
        self.augment, self.seed = augment, seed
        self.max_seconds = max_seconds

    def sample(self, key: Key, row: dict[str, Any]) -> dict[str, Any]:
        """The sample of a row.

        Raises:
            DataError: its file cannot be read.
        """
        return {self.name: torch.from_numpy(self.heard(key, row).inputs), "labels": row["labels"]}

    def heard(self, key: Key, row: Mapping[str, Any]) -> Heard:
        """What a row gives to hear, and to the network.

        Raises:
            DataError: its file cannot be read.
        """
        recipe = self.preprocessing
        try:
            waveform = recipe.read(source_of(row["audio"]), self.max_seconds)
        except (InvalidAudio, FileNotFoundError) as error:
            raise DataError(explain(row, key[1], error)) from error
        if self.augment == "none":
            window = recipe.fit(waveform)
            return Heard(window, recipe.inputs(window))
        generator = np.random.default_rng(sample_seed(self.seed, key))
        room = max(0, len(waveform) - recipe.num_samples)
        window = recipe.fit(waveform, int(generator.integers(room + 1)))
        window = change_waveform(window, recipe.sample_rate, self.augment, generator)
        inputs = recipe.inputs(window)
        if recipe.features == "log_mel":
            inputs = change_features(inputs, self.augment, generator)
        return Heard(window, inputs)


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> AudioDataset:
    """Augmented for training, as inference will hear them otherwise."""
    augment = config.augment if training else "none"
    return AudioDataset(
        rows, task_spec, augment=augment, seed=config.seed, max_seconds=config.max_seconds
    )


def make_blanks(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> BlankSamples:
    """The labels alone."""
    shape = task_spec.input_schema["input_shape"]
    return BlankSamples(rows, task_spec.input_name, shape, torch.float32)


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """Augmentation, and samples that are mixed."""
    mixing = ["mixup"] if config.mixup else []
    augment = [] if config.augment == "none" else [f"augment: {config.augment}"]
    return " and ".join([*augment, *mixing])


# --- Batches -------------------------------------------------------------------------------------


class AudioCollator:
    """Stack samples into a batch.

    Args:
        name: of the input.
        value_dtype: of labels that are values; float64 keeps every digit until they are
            standardised.
    """

    def __init__(self, name: str, value_dtype: torch.dtype = torch.float32) -> None:
        self.name, self.value_dtype = name, value_dtype

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate samples.

        Returns:
            the input, float32 [B, ...]; `labels` [B] or [B, K], int64 for classes and
            `value_dtype` for values, where the samples have them.

        Raises:
            ValueError: some labels are missing.
        """
        inputs = torch.stack([sample[self.name] for sample in batch])
        return {self.name: inputs, **stack_labels(batch, self.value_dtype)}


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, processor: Any = None
) -> AudioCollator:
    """The collator for the task's input."""
    value_dtype = torch.float64 if task_spec.standardisation else torch.float32
    return AudioCollator(task_spec.input_name, value_dtype)


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Mixing in training; features are made in the loader.

    Raises:
        ConfigError: this task has no classes to mix.
    """
    if not config.mixup:
        return nn.Identity()
    if task_spec.task_type != "audio_classification":
        refuse_mixing(["mixup"], task_spec.task_type)
    return MixSamples(task_spec.input_name, MixUp(config.mixup, task_spec.num_outputs))


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Ways to make one micro-batch; each returns its number of sounds."""
    assert data.splits is not None
    plain = make_dataset(data.splits.train, data.task_spec, config, training=False)
    changed = make_dataset(data.splits.train, data.task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, len(plain)))]
    first = plain.rows.select(range(len(keys)))["audio"]
    read = [plain.preprocessing.read(source_of(file)) for file in first]

    def features() -> int:
        windows = np.stack([plain.preprocessing.fit(waveform) for waveform in read])
        return len(plain.preprocessing.inputs(windows))

    return {
        "features": features,
        "read, features": lambda: len(samples_of(plain, keys)),
        f"read, augment: {config.augment}, features": lambda: len(samples_of(changed, keys)),
    }
