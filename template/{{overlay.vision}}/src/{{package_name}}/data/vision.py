"""Images: reading folders and manifests, the dataset, and VisionDataCollator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from .. import preprocessing
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import InvalidImage
from ..task import TaskSpec
from .module import Batch
from .order import Key, sample_seed
from .splits import Examination, Splits
from .tables import (
    HUB,
    MANIFESTS,
    class_index,
    class_labels,
    column_values,
    find_sources,
    hold_out,
    read_hub,
    read_manifest,
)

if TYPE_CHECKING:
    import datasets

    from .module import UniversalDataModule

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LAYOUTS = "a folder per class, or a CSV, JSONL or Parquet manifest"


# --- Reading -------------------------------------------------------------------------------------


def read_splits(config: TrainingConfig) -> Splits:
    """Read `config.data`: a folder per class, a manifest, a folder with train/val of either, a hub.

    Without validation data, `config.validation_split` of the training rows are set aside, with the
    same share of every class, chosen by `config.seed`.

    Raises:
        DataError: nothing there, or not in one of these layouts.
    """
    if config.data.startswith(HUB):
        return _read_hub(config)
    train_source, val_source = find_sources(Path(config.data), MANIFESTS, LAYOUTS)
    read = _read_folder if train_source.is_dir() else _read_manifest
    train, names = read(train_source, config.task)
    if val_source is not None:
        val, _ = read(val_source, config.task, names)
    else:
        train, val = _split(train, config)
    return Splits(train, val, names)


def _read_folder(
    root: Path, task: str, names: list[str] | None = None
) -> tuple[datasets.Dataset, list[str]]:
    if task != "vision_classification":
        raise DataError(f"{root} is a folder per class, but {task} needs a manifest with labels")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"{root} holds no class folders; give {LAYOUTS}")
    found = [folder.name for folder in folders]
    names = names or found
    if unknown := sorted(set(found) - set(names)):
        raise DataError(f"{root} has classes that the training data lack: {', '.join(unknown)}")
    paths: list[str] = []
    labels: list[int] = []
    extensions = Image.registered_extensions()
    for folder in folders:
        files = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in extensions and p.is_file()
        )
        if not files:
            raise DataError(f"{folder} holds no images; add some or remove the folder")
        paths += [str(file) for file in files]
        labels += [names.index(folder.name)] * len(files)
    return _table(paths, labels), names


def _read_manifest(
    path: Path, task: str, names: list[str] | None = None
) -> tuple[datasets.Dataset, list[str]]:
    rows = read_manifest(path)
    images = [str(path.parent / str(name)) for name in column_values(path, rows, "image")]
    labels, names = _LABEL_READERS[task](path, rows, names)
    return _table(images, labels), names


def _read_hub(config: TrainingConfig) -> Splits:
    """A dataset of the Hugging Face hub, or saved in its form: columns as in a manifest."""
    train, held_out = read_hub(config.data)
    train, names = _with_labels(train, config, None)
    if held_out is None:
        train, val = _split(train, config)
    else:
        val, _ = _with_labels(held_out, config, names)
    return Splits(train, val, names)


def _with_labels(
    rows: datasets.Dataset, config: TrainingConfig, names: list[str] | None
) -> tuple[datasets.Dataset, list[str]]:
    import datasets

    place = Path(config.data)
    if "image" not in rows.column_names:
        raise DataError(f"{place} has no column 'image'; it has {', '.join(rows.column_names)}")
    labels, names = _LABEL_READERS[config.task](place, rows.remove_columns("image"), names)
    images = rows.select_columns("image").cast_column("image", datasets.Image(decode=False))
    return images.add_column("labels", labels), names


def _multi_hot_labels(
    path: Path, rows: datasets.Dataset, names: list[str] | None
) -> tuple[list[list[float]], list[str]]:
    """`labels` is a list, or in CSV a text with semicolons between; empty means none applies."""
    values = [
        value.split(";") if isinstance(value, str) else list(value if value is not None else ())
        for value in column_values(path, rows, "labels", allow_empty=True)
    ]
    cleaned = [[str(label).strip() for label in value if str(label).strip()] for value in values]
    names = names or sorted({label for value in cleaned for label in value})
    multi_hot = np.zeros((len(cleaned), len(names)), dtype=np.float32)
    for row, value in enumerate(cleaned):
        for label in value:
            multi_hot[row, class_index(path, row, label, names)] = 1
    return multi_hot.tolist(), names


def _regression_values(
    path: Path, rows: datasets.Dataset, names: list[str] | None
) -> tuple[list[list[float]], list[str]]:
    """Every column but `image` is a value to predict."""
    names = names or [name for name in rows.column_names if name != "image"]
    if not names:
        raise DataError(f"{path} has no value column beside 'image'")
    columns = []
    for name in names:
        try:
            columns.append(np.asarray(column_values(path, rows, name), dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: column {name!r} holds something that is no number") from error
    values = np.stack(columns, axis=1)
    if bad := np.argwhere(~np.isfinite(values)).tolist():
        row, column = bad[0]
        raise DataError(f"{path}, row {row + 1}: {names[column]} is not a finite number")
    return values.tolist(), names


_LABEL_READERS: dict[str, Callable[..., tuple[list[Any], list[str]]]] = {
    "vision_classification": class_labels,
    "vision_multilabel": _multi_hot_labels,
    "vision_regression": _regression_values,
}


def _table(images: list[str], labels: Sequence[Any]) -> datasets.Dataset:
    import datasets

    rows = datasets.Dataset.from_dict({"image": images, "labels": labels})
    return rows.cast_column("image", datasets.Image(decode=False))


def _split(
    rows: datasets.Dataset, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Set validation rows aside; a class (or all, where labels are no classes) keeps its share."""
    labels = np.asarray(rows["labels"])
    groups = labels if labels.ndim == 1 else np.zeros(len(labels), dtype=int)
    held_out = hold_out(groups, config.validation_split, config.seed)
    if not held_out or len(held_out) == len(rows):
        raise DataError(f"{config.data}: {len(rows)} images are too few to set some aside")
    kept = np.setdiff1d(np.arange(len(rows)), held_out)
    return rows.select(kept), rows.select(held_out)


def examine(rows: datasets.Dataset) -> Examination:
    """Decode every image; one line, starting with its path, for each that cannot be."""

    def problem(row: dict[str, Any]) -> str | None:
        source = row["image"]["bytes"] or row["image"]["path"]
        try:
            preprocessing.open_image(source, 3)
        except FileNotFoundError as error:
            return str(error)
        except InvalidImage as error:
            return f"{row['image']['path']}: {error}"
        return None

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        results = pool.map(problem, rows.select_columns("image"))
        console = Console(stderr=True)
        checked = track(results, "Checking images", len(rows), console=console, transient=True)
        return Examination([line for line in checked if line])


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep one validation image as `example.*`: the bundle stores it with its prediction."""
    image = splits.val[0]["image"]
    suffix = Path(image["path"] or "image.png").suffix  # a hub's images may have no name
    content = image["bytes"] or Path(image["path"]).read_bytes()
    (run_dir / f"example{suffix.lower()}").write_bytes(content)


# what `save_processor` writes: pixels need nothing that was learned from data
PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: images have no processor."""


def load_processor(folder: Path) -> None:
    """None: images have no processor."""


# --- Samples -------------------------------------------------------------------------------------


class ImageDataset(Dataset[dict[str, Any]]):
    """Samples `{"pixel_values": uint8 [C, H, W], "labels": ...}`, addressed by (epoch, index).

    Images stay uint8: a quarter of the bytes to move, and nobody can take them for normalised.

    Args:
        rows: table with `image` (path or bytes) and `labels`.
        task_spec: size and resize of an image.
        augment: `none`, `light` or `photo`.
        seed: with the key, fixes every random choice.
    """

    def __init__(
        self, rows: datasets.Dataset, task_spec: TaskSpec, *, augment: str = "none", seed: int = 0
    ) -> None:
        self.rows = rows
        self.image_size = task_spec.input_schema["image_size"]
        self.preprocessing_config = task_spec.preprocessing_config
        self.augment = augment
        self.transform = augmentation(augment, self.image_size)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        key = key if isinstance(key, tuple) else (0, key)
        row = self.rows[key[1]]
        try:
            pixels = self._read(row["image"]["bytes"] or row["image"]["path"])
        except (InvalidImage, FileNotFoundError) as error:
            raise DataError(f"{row['image']['path']}: {error}") from error
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):
                # torch.manual_seed seeds every kind of device, which costs far more
                torch.default_generator.manual_seed(sample_seed(self.seed, key))
                pixels = self.transform(pixels)
        return {"pixel_values": pixels, "labels": row["labels"]}

    def _read(self, source: str | bytes) -> Tensor:
        if self.augment == "photo":  # crops from the whole picture
            image = preprocessing.open_image(source, self.image_size[0])
            return torch.from_numpy(preprocessing.to_channels_first(image))
        return torch.from_numpy(
            preprocessing.read_pixels(source, self.image_size, self.preprocessing_config)
        )


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
    return ImageDataset(rows, task_spec, augment=augment, seed=config.seed)


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
    ) -> None:
        self.normalize = normalize
        self.mean = tuple(mean) if mean is not None else IMAGENET_MEAN
        self.std = tuple(std) if std is not None else IMAGENET_STD
        self.defer = defer
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
            [B, K], int64 for classes and float32 for values, where the samples have them.

        Raises:
            ValueError: shapes differ, channels do not match mean and std, some labels are missing.
        """
        images = [sample["pixel_values"] for sample in batch]
        self._check_shapes(images)
        collated = {"pixel_values": self._stack(images)}
        labelled = sum("labels" in sample for sample in batch)
        if labelled:
            if labelled < len(batch):
                raise ValueError(f"{len(batch) - labelled} of {len(batch)} samples have no labels")
            labels = torch.stack([torch.as_tensor(sample["labels"]) for sample in batch])
            collated["labels"] = labels.float() if labels.is_floating_point() else labels.long()
        return collated

    def _check_shapes(self, images: list[Tensor]) -> None:
        shape = images[0].shape
        for position, image in enumerate(images):
            if image.shape != shape:
                raise ValueError(
                    f"images of one batch must have one size: sample 0 is {list(shape)}, "
                    f"sample {position} is {list(image.shape)}; resize them in the dataset"
                )
        if len(shape) != 3:
            raise ValueError(f"pixel_values must be [C, H, W], got {list(shape)}")
        if self.normalize and shape[0] != len(self.mean):
            raise ValueError(f"images have {shape[0]} channels, mean and std {len(self.mean)}")

    def _stack(self, images: list[Tensor]) -> Tensor:
        raw = images[0].dtype == torch.uint8
        if raw and self.defer:
            return torch.stack(images)
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


class DeviceNormalize(nn.Module):
    """Normalise uint8 pixels of a batch on whatever device it lies; floats are normalised already.

    Args:
        task_spec: channels, mean and std.
    """

    # bytes of float output written at a time on a CPU: more, and page faults cost most of the time
    CHUNK_BYTES = 512 * 1024

    def __init__(self, task_spec: TaskSpec) -> None:
        super().__init__()
        scale, bias = preprocessing.scale_and_bias(
            task_spec.input_schema["image_size"][0], task_spec.preprocessing_config
        )
        self.register_buffer("scale", torch.from_numpy(scale), persistent=False)
        self.register_buffer("bias", torch.from_numpy(bias), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        """The batch with `pixel_values` as float32 [B, C, H, W]."""
        pixels = batch["pixel_values"]
        if pixels.dtype != torch.uint8:
            return batch
        scale, bias = cast(Tensor, self.scale), cast(Tensor, self.bias)
        normalized = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        rows = len(pixels)
        if pixels.device.type == "cpu":
            rows = max(1, self.CHUNK_BYTES // (4 * pixels[0].numel()))
        for chunk, out in zip(*(torch.split(t, rows) for t in (pixels, normalized)), strict=True):
            torch.mul(chunk, scale, out=out).add_(bias)
        return {**batch, "pixel_values": normalized}


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
    )


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Normalisation on the device, or nothing where the collator has done it."""
    return DeviceNormalize(task_spec) if config.normalize_on == "device" else nn.Identity()


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Ways to bring one micro-batch to the network as floats; each returns its number of images."""
    assert data.splits is not None
    task_spec, splits = data.task_spec, data.splits
    channels = task_spec.input_schema["image_size"][0]
    preprocessing_config = task_spec.preprocessing_config
    mean = preprocessing_config["mean"] if config.normalize else [0.0] * channels
    std = preprocessing_config["std"] if config.normalize else [1.0] * channels
    plain = ImageDataset(splits.train, task_spec)
    augmented = make_dataset(splits.train, task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, len(plain)))]
    samples = [plain[key] for key in keys]
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
        "read and resize": lambda: len([plain[key] for key in keys]),
        f"read, resize, augment: {config.augment}": lambda: len([augmented[key] for key in keys]),
    }
