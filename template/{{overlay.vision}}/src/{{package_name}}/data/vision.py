"""Images: the dataset, VisionDataCollator, and what is left to do on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision.transforms import InterpolationMode, v2

from .. import preprocessing
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidImage
from ..task import TaskSpec
from . import mixing
from .file_facts import source_of
from .image_facts import explain
from .known import samples_of
from .memory import ReusedMemory
from .module import Batch, Method
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
from .row_dataset import BlankSamples, RowDataset, stack_labels

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule

# decoding and augmenting takes milliseconds
IS_DEAR = True

# values that torch still leaves to one thread
THREAD_GRAIN = 32_768

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


# --- Samples -------------------------------------------------------------------------------------


class ImageDataset(RowDataset):
    """Samples `{"pixel_values": uint8 [C, H, W], "labels": ...}`, addressed by (epoch, index).

    Images stay uint8: a quarter of the bytes to move, and nobody can take them for normalised.

    Args:
        rows: table with `image` (path or bytes) and `labels`.
        task_spec: size and resize of an image.
        augment: `none`, `light` or `photo`.
        seed: with the key, fixes every random choice.
        max_pixels: largest image; Pillow's own limit by default.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        task_spec: TaskSpec,
        *,
        augment: str = "none",
        seed: int = 0,
        max_pixels: int | None = None,
    ) -> None:
        super().__init__(rows)
        self.image_size = task_spec.input_schema["image_size"]
        self.preprocessing_config = task_spec.preprocessing_config
        self.augment = augment
        self.transform = augmentation(augment, self.image_size)
        self.seed = seed
        self.max_pixels = max_pixels

    def sample(self, key: Key, row: dict[str, Any]) -> dict[str, Any]:
        """The sample of a row.

        Raises:
            DataError: its file cannot be read.
        """
        try:
            pixels = self._read(source_of(row["image"]))
        except (InvalidImage, FileNotFoundError) as error:
            raise DataError(explain(row, key[1], error)) from error
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):
                # torch.manual_seed seeds every kind of device, which costs far more
                torch.default_generator.manual_seed(sample_seed(self.seed, key))
                pixels = self.transform(pixels)
        return {"pixel_values": pixels, "labels": row["labels"]}

    def _read(self, source: str | bytes) -> Tensor:
        if self.augment == "photo":  # crops from the whole picture
            value_range = self.preprocessing_config.get("value_range")
            least = preprocessing.least_size(tuple(self.image_size[1:]), self.preprocessing_config)
            image = preprocessing.open_image(
                source, self.image_size[0], value_range, self.max_pixels, least
            )
            return torch.from_numpy(preprocessing.to_channels_first(image))
        pixels = preprocessing.read_pixels(
            source, self.image_size, self.preprocessing_config, self.max_pixels
        )
        return torch.from_numpy(pixels)


def augmentation(name: str, image_size: Sequence[int]) -> v2.Transform | None:
    """Random changes from uint8 [C, h, w] to uint8 [C, H, W]; None where nothing changes."""
    channels, height, width = image_size
    bilinear = InterpolationMode.BILINEAR
    if name == "light":
        return v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=bilinear)
    if name == "photo":
        crop = v2.RandomResizedCrop((height, width), scale=(0.35, 1.0), interpolation=bilinear)
        colour = [v2.ColorJitter(0.2, 0.2, 0.2, 0.05)] if channels == 3 else []
        return v2.Compose([crop, v2.RandomHorizontalFlip(), *colour])
    return None


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> ImageDataset:
    """Augmented for training, as inference will see them otherwise."""
    augment = config.augment if training else "none"
    return ImageDataset(
        rows, task_spec, augment=augment, seed=config.seed, max_pixels=config.max_pixels
    )


def make_blanks(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> BlankSamples:
    """The labels alone."""
    return BlankSamples(rows, "pixel_values", task_spec.input_schema["image_size"], torch.uint8)


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """Augmentation, and samples that are mixed."""
    mixing = [name for name in ("mixup", "cutmix") if getattr(config, name)]
    augment = [] if config.augment == "none" else [f"augment: {config.augment}"]
    return " and ".join([*augment, *mixing])


# --- Batches -------------------------------------------------------------------------------------


class VisionDataCollator:
    """Stack samples into a batch and normalise its pixels.

    A sample is `{"pixel_values": [C, H, W], "labels": ...}`, labels being optional: an int (a
    class), a float or a list of floats (values, or a multi-hot vector). uint8 pixels count 0..255
    and are brought to 0..1 first; float pixels are taken to lie there already.

    Args:
        normalize: subtract `mean`, divide by `std`.
        mean, std: one value per channel, on the 0..1 scale; ImageNet's by default.
        defer: leave uint8 batches as they are, for `DeviceNormalize` after the transfer.
        value_dtype: of labels that are values; float64 keeps every digit until they are
            standardised.

    Raises:
        ValueError: mean and std differ in length, or std is not positive.
    """

    def __init__(
        self,
        normalize: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        defer: bool = False,
        value_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.normalize = normalize
        self.mean = tuple(mean) if mean is not None else IMAGENET_MEAN
        self.std = tuple(std) if std is not None else IMAGENET_STD
        self.defer = defer
        self.value_dtype = value_dtype
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have same length, got {len(self.mean)} vs {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate samples.

        Returns:
            `pixel_values` [B, C, H, W], float32, or uint8 where that is deferred; `labels` [B] or
            [B, K], int64 for classes and `value_dtype` for values, where the samples have them.

        Raises:
            ValueError: shapes differ, channels do not match mean and std, some labels are missing.
        """
        images = [sample["pixel_values"] for sample in batch]
        self._check_shape(images[0].shape)
        return {"pixel_values": self._stack(images), **stack_labels(batch, self.value_dtype)}

    def _check_shape(self, shape: torch.Size) -> None:
        if len(shape) != 3:
            raise ValueError(f"pixel_values must be [C, H, W], got {list(shape)}")
        if self.normalize and shape[0] != len(self.mean):
            raise ValueError(f"images have {shape[0]} channels, mean and std {len(self.mean)}")

    def _stack(self, images: list[Tensor]) -> Tensor:
        raw = images[0].dtype == torch.uint8
        if raw and self.defer:
            try:
                # in a loader's process into shared memory
                stacked: Tensor = default_collate(images)
            except RuntimeError:  # looking for it beforehand takes as long as to stack small ones
                _refuse_other_shapes(images)
                raise
            return stacked
        _refuse_other_shapes(images)
        if not self.normalize:
            return torch.stack(images).div(255) if raw else torch.stack(images).float()
        # row by row into one buffer: large temporaries cost more than the arithmetic
        mean, std = torch.tensor(self.mean).double(), torch.tensor(self.std).double()
        scale = (1 / (std * 255 if raw else std)).float().view(-1, 1, 1)
        bias = (-mean / std).float().view(-1, 1, 1)
        pixels = torch.empty(len(images), *images[0].shape)
        for image, row in zip(images, pixels, strict=True):
            torch.mul(image, scale, out=row).add_(bias)
        return pixels


def _refuse_other_shapes(images: list[Tensor]) -> None:
    shapes = [image.shape for image in images]
    shape = shapes[0]
    if shapes.count(shape) < len(shapes):
        position = next(n for n, other in enumerate(shapes) if other != shape)
        raise ValueError(
            f"images of one batch must have one size: sample 0 is {list(shape)}, "
            f"sample {position} is {list(shapes[position])}; resize them in the dataset"
        )


class DeviceNormalize(nn.Module):
    """Normalise uint8 pixels of a batch on whatever device it lies; floats are normalised already.

    Args:
        task_spec: channels, mean and std.
    """

    def __init__(self, task_spec: TaskSpec) -> None:
        super().__init__()
        scale, bias = preprocessing.scale_and_bias(
            task_spec.input_schema["image_size"][0], task_spec.preprocessing_config
        )
        self.register_buffer("scale", torch.from_numpy(scale), persistent=False)
        self.register_buffer("bias", torch.from_numpy(bias), persistent=False)
        self.memory = ReusedMemory()

    def forward(self, batch: Batch) -> Batch:
        """The batch with `pixel_values` as float32 [B, C, H, W]."""
        pixels = batch["pixel_values"]
        if pixels.dtype != torch.uint8:
            return batch
        scale, bias = cast(Tensor, self.scale), cast(Tensor, self.bias)
        if pixels.device.type != "cpu":
            return {**batch, "pixel_values": (pixels * scale).add_(bias)}
        normalized = self.memory.empty(pixels.shape, torch.float32)
        if pixels.is_shared():  # type: ignore[no-untyped-call]
            # other processes have loaded it, and use the cores: threads that share each pass would
            # wait for one that has none
            for part, place in zip(_parts(pixels), _parts(normalized), strict=True):
                place.copy_(part).mul_(scale).add_(bias)
        else:
            normalized.copy_(pixels).mul_(scale).add_(bias)
        return {**batch, "pixel_values": normalized}


def _parts(images: Tensor) -> Iterator[Tensor]:
    """Images [B, C, H, W] in parts that torch gives to one thread, and that fit a cache."""
    _, channels, height, width = images.shape
    for some in torch.split(images, max(1, THREAD_GRAIN // (channels * height * width))):
        yield from torch.split(some, max(1, THREAD_GRAIN // (channels * width)), dim=2)


class ChannelsLast(nn.Module):
    """Lets the channels of a pixel lie beside each other in memory; convolutions go on with it."""

    def forward(self, batch: Batch) -> Batch:
        """The batch with `pixel_values` as before, [B, C, H, W]."""
        pixels = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        return {**batch, "pixel_values": pixels}


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, processor: Any = None
) -> VisionDataCollator:
    """The collator with the task's normalisation."""
    preprocessing_config = task_spec.preprocessing_config
    return VisionDataCollator(
        normalize=preprocessing_config.get("normalize", True),
        mean=preprocessing_config.get("mean"),
        std=preprocessing_config.get("std"),
        defer=config.normalize_on == "device",
        value_dtype=torch.float64 if task_spec.standardisation else torch.float32,
    )


class MixSamples(mixing.MixSamples):
    """In training, mixes each image of a micro-batch with the one before it.

    S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", 2019.

    Args:
        mixup, cutmix: alpha of each; one of them is not 0. Chance chooses between two.
        num_classes: of the task.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        kinds = ((mixing.MixUp, mixup), (v2.CutMix, cutmix))
        ways = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha > 0]
        super().__init__("pixel_values", v2.RandomChoice(ways))


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Normalisation on the device, where the collator has not done it, and mixing in training.

    Last of all, the memory's layout.

    Raises:
        ConfigError: this task has no classes to mix.
    """
    steps: list[nn.Module] = []
    if config.normalize_on == "device":
        steps.append(DeviceNormalize(task_spec))
    if config.mixup or config.cutmix:
        if task_spec.task_type != "vision_classification":
            asked = [name for name in ("mixup", "cutmix") if getattr(config, name)]
            mixing.refuse_mixing(asked, task_spec.task_type)
        steps.append(MixSamples(config.mixup, config.cutmix, task_spec.num_outputs))
    if config.channels_last:
        steps.append(ChannelsLast())
    return nn.Sequential(*steps)


def rivals(task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
    """None."""
    return {}


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Ways to bring one micro-batch to the network as floats; each returns its number of images."""
    assert data.splits is not None
    task_spec, splits = data.task_spec, data.splits
    channels = task_spec.input_schema["image_size"][0]
    preprocessing_config = task_spec.preprocessing_config
    mean = preprocessing_config["mean"] if config.normalize else [0.0] * channels
    std = preprocessing_config["std"] if config.normalize else [1.0] * channels
    plain = make_dataset(splits.train, task_spec, config, training=False)
    augmented = make_dataset(splits.train, task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, len(plain)))]
    samples = samples_of(plain, keys)
    collate = VisionDataCollator(True, mean, std)
    stack = VisionDataCollator(True, mean, std, defer=True)
    on_device = DeviceNormalize(task_spec)
    normalize_one = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    )

    def per_sample() -> int:
        return len(torch.stack([normalize_one(sample["pixel_values"]) for sample in samples]))

    def in_collator() -> int:
        return len(collate(samples)["pixel_values"])

    def after_transfer() -> int:
        return len(on_device(stack(samples))["pixel_values"])

    return {
        "collate, Normalize per image": per_sample,
        "collate, normalize_on: collator": in_collator,
        "collate, normalize_on: device": after_transfer,
        "read and resize": lambda: len(samples_of(plain, keys)),
        f"read, resize, augment: {config.augment}": lambda: len(samples_of(augmented, keys)),
    }
