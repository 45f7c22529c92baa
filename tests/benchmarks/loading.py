"""How fast images and texts become batches that a network takes."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from .harness import (
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    project,
    rate,
    seconds,
    versions,
)

OURS = "ours"
PER_SAMPLE = "per-sample Normalize, default collate"
TIMM = "timm fast_collate, PrefetchLoader"
LOADED_ELSEWHERE = (
    "Measured apart with images of 224x224 and two processes on two threads of one core: receiving "
    "a batch takes 60 us an image, most of it for new shared memory, which the system clears page "
    "by page, and normalising 130 us instead of 36 us, as three processes share the core. The "
    "first all contenders pay, those that normalise elsewhere for four times the bytes."
)
IN_COLLATOR = "normalised in the collator, as the first design had it"
STACK = "torch.stack"
MEAN = STD = (0.5, 0.5, 0.5)

Batches = Callable[[], Iterable[Tensor]]


class InMemory(Dataset[Any]):
    """Images in memory, uint8 [N, C, H, W], as often as needed.

    Args:
        images: all of them.
        count: samples.
        sample: makes one of an image and its class.
    """

    def __init__(self, images: Tensor, count: int, sample: Callable[[Tensor, int], Any]) -> None:
        self.images, self.count, self.sample = images, count, sample

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | tuple[int, ...]) -> Any:
        index = key[1] if isinstance(key, tuple) else key
        return self.sample(self.images[index % len(self.images)], index % 10)


def _as_dict(image: Tensor, label: int) -> dict[str, Any]:
    return {"pixel_values": image, "labels": label}


def _as_tuple(image: Tensor, label: int) -> tuple[Tensor, int]:
    return image, label


class Normalized:
    """A sample as floats, by torchvision.

    Args:
        sample: makes a sample of an image and its class.
    """

    def __init__(self, sample: Callable[[Tensor, int], Any] = _as_tuple) -> None:
        self.sample = sample
        self.transform = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
        )

    def __call__(self, image: Tensor, label: int) -> Any:
        return self.sample(self.transform(image), label)


def normalized_batch(samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Samples of uint8 as one batch of floats."""
    images, labels = zip(*samples, strict=True)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (torch.stack(images) / 255 - mean) / std, torch.tensor(labels)


@benchmark("Loading images", minutes=9)
def loading(scale: Scale) -> Iterator[Row]:
    """From memory and from JPEG files to normalised floats."""
    with project("vision") as vision:
        for side in (224, 32):
            for batch_size in (64, 256):
                for workers in (0, 2):
                    yield _from_memory(vision, side, batch_size, workers, scale)
                yield _collating(vision, side, batch_size, scale)
        yield _from_files(vision, scale)
        yield _large_photos(vision, scale)


def _random_images(side: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def _from_memory(vision: Project, side: int, batch_size: int, workers: int, scale: Scale) -> Row:
    from timm.data.loader import PrefetchLoader, fast_collate

    count = 2 * batch_size if scale.toy else max(8 * batch_size, 2048 if side == 224 else 16_384)
    images = _random_images(side, 8 if scale.toy else 512)

    def ours() -> Iterator[Tensor]:
        for batch in _project_loader(
            vision, InMemory(images, count, _as_dict), batch_size, workers
        ):
            yield normalize(batch)["pixel_values"]

    def per_sample() -> Iterator[Tensor]:
        dataset = InMemory(images, count, Normalized())
        for pixels, _ in DataLoader(dataset, batch_size, num_workers=workers):
            yield pixels

    def timm() -> Iterator[Tensor]:
        dataset = InMemory(images, count, _as_tuple)
        loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=fast_collate)
        device = torch.device("cpu")
        for pixels, _ in PrefetchLoader(loader, mean=MEAN, std=STD, device=device):
            yield pixels

    def in_collator() -> Iterator[Tensor]:
        dataset = InMemory(images, count, _as_tuple)
        loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=normalized_batch)
        return (pixels for pixels, _ in loader)

    normalize = vision.module("data.vision").DeviceNormalize(_task(vision))
    ways: dict[str, Batches] = {
        OURS: ours,
        PER_SAMPLE: per_sample,
        IN_COLLATOR: in_collator,
        TIMM: timm,
    }
    _check_alike(ways)
    values = interleave({name: _per_second(batches) for name, batches in ways.items()}, scale)
    return Row(
        f"loader, uint8 images of {side}x{side} in memory, batch {batch_size}, {workers} workers",
        "images/s",
        [
            Way(OURS, "ours", values[OURS]),
            Way(PER_SAMPLE, versions("torch", "torchvision"), values[PER_SAMPLE]),
            Way(IN_COLLATOR, versions("torch"), values[IN_COLLATOR]),
            Way(TIMM, versions("timm"), values[TIMM]),
        ],
        [
            Target(OURS, PER_SAMPLE, least=2.5),
            Target(OURS, TIMM, least=1.5 if side == 224 else 1.2),
        ],
        LOADED_ELSEWHERE if workers else "",
    )


def _task(vision: Project) -> Any:
    return vision.module("task").TaskSpec.vision_tiny()


def _project_loader(
    vision: Project, dataset: Dataset[Any], batch_size: int, workers: int
) -> DataLoader[Any]:
    """The loader that a run of the project has, over these samples in their order."""
    order = vision.module("data.order")
    config = vision.config(batch_size=batch_size, num_workers=workers)
    data = vision.module("data.module").UniversalDataModule(_task(vision), config=config)
    shape = order.EpochShape(len(dataset), batch_size)  # type: ignore[arg-type]
    sampler = order.EpochSampler(shape, seed=0, shuffle=False)
    loader: DataLoader[Any] = data._loader(dataset, order.MicroBatches(sampler))
    return loader


def _check_alike(ways: dict[str, Batches], tolerance: float = 1e-5) -> None:
    """Every way gives the same first batch."""
    (first, expected), *others = ((name, next(iter(ways[name]()))) for name in ways)
    for name, pixels in others:
        if pixels.dtype != torch.float32 or pixels.shape != expected.shape:
            raise ValueError(f"{name} gives {pixels.dtype} {list(pixels.shape)}, unlike {first}")
        if (error := float((pixels - expected).abs().max())) > tolerance:
            raise ValueError(f"{name} differs from {first} by {error:.1e}")


def _per_second(batches: Batches) -> Callable[[], float]:
    """Images a second behind the first batch, for which worker processes start."""

    def measure() -> float:
        left = iter(batches())
        next(left)
        counts: list[int] = []
        took = seconds(lambda: counts.extend(len(batch) for batch in left))
        return sum(counts) / took

    return measure


def _collating(vision: Project, side: int, batch_size: int, scale: Scale) -> Row:
    """What a process that loads does with the samples, against the least there is to do."""
    images = list(_random_images(side, batch_size))
    samples = [_as_dict(image, row % 10) for row, image in enumerate(images)]
    collate = _project_loader(vision, samples, batch_size, 0).collate_fn  # type: ignore[arg-type]
    if not torch.equal(collate(samples)["pixel_values"], torch.stack(images)):
        raise ValueError("the collator's pixels are not those of torch.stack")
    repeats = 1 if scale.toy else (10 if side == 224 else 200)

    def milliseconds(action: Callable[[], object]) -> Callable[[], float]:
        return lambda: 1000 * seconds(lambda: [action() for _ in range(repeats)]) / repeats

    ways = {
        OURS: milliseconds(lambda: collate(samples)),
        STACK: milliseconds(lambda: torch.stack(images)),
    }
    values = interleave(ways, scale)
    return Row(
        f"collating uint8 images of {side}x{side}, batch {batch_size}",
        "ms",
        [Way(OURS, "ours", values[OURS]), Way(STACK, versions("torch"), values[STACK])],
        [Target(OURS, STACK, most=1.15)],
        "Ours takes the images from the samples and collates their labels, too.",
    )


# --- JPEG files ----------------------------------------------------------------------------------

ALONE = "decoding and augmenting alone"


def photos(width: int, height: int, count: int) -> list[bytes]:
    """JPEG files made of two photos that come with scikit-learn, with the noise of a sensor."""
    from sklearn.datasets import load_sample_images

    noise = np.random.default_rng(0)
    contents = []
    for row in range(count):
        photo = load_sample_images().images[row % 2]
        fitted = np.asarray(ImageOps.fit(Image.fromarray(photo), (width, height)), np.float32)
        fitted = fitted + noise.normal(0, 6, (height, width, 1)).astype(np.float32)
        content = io.BytesIO()
        Image.fromarray(fitted.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
        contents.append(content.getvalue())
    return contents


def _from_files(vision: Project, scale: Scale) -> Row:
    """Photos as they lie in sets such as ImageNet."""
    side, count = 224, 8 if scale.toy else 128
    for row, content in enumerate(photos(500, 375, count)):
        path = Path("photos/train", "ab"[row // 2 % 2], f"{row}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = vision.config(
        data="photos", image_size=[3, side, side], augment="photo", batch_size=min(32, count // 2)
    )
    data = vision.module("data.module").UniversalDataModule.from_config(config)
    normalize = vision.module("data.vision").DeviceNormalize(data.task_spec)
    dataset = data.train_dataloader().dataset
    keys = [key for keys in data.train_dataloader().batch_sampler for key in keys]

    class PerSample(Dataset[Any]):
        """The same samples, normalised one by one."""

        normalized = Normalized()

        def __len__(self) -> int:
            return len(keys)

        def __getitem__(self, row: int) -> Any:
            sample = dataset[keys[row]]
            return self.normalized(sample["pixel_values"], sample["labels"])

    preprocessing = vision.module("preprocessing")

    def alone() -> None:
        for key in keys:
            path = dataset.rows[key[1]]["image"]["path"]
            image = preprocessing.open_image(path, 3)
            dataset.transform(torch.from_numpy(preprocessing.to_channels_first(image)))

    def ours() -> Iterator[Tensor]:
        return (normalize(batch)["pixel_values"] for batch in data.train_dataloader())

    def per_sample() -> Iterator[Tensor]:
        return (pixels for pixels, _ in DataLoader(PerSample(), config.batch_size))

    _check_alike({OURS: ours, PER_SAMPLE: per_sample})
    values = interleave(
        {
            OURS: rate(len(keys), lambda: [*ours()]),
            PER_SAMPLE: rate(len(keys), lambda: [*per_sample()]),
            ALONE: rate(len(keys), alone),
        },
        scale,
    )
    version = versions("torch", "torchvision", "pillow")
    return Row(
        "JPEG files of 500x375, decoded and augmented (photo) to 224x224, 0 workers",
        "images/s",
        [
            Way(OURS, "ours", values[OURS]),
            Way(PER_SAMPLE, version, values[PER_SAMPLE]),
            Way(ALONE, version, values[ALONE]),
        ],
        [Target(OURS, PER_SAMPLE, least=1.1), Target(OURS, ALONE, least=0.9)],
        "Decoding and augmenting alone is "
        f"{statistics.median(values[ALONE]) / statistics.median(values[PER_SAMPLE]):.2f} times as "
        "fast as the per-sample way: more than that is not there to gain."
        if scale.rounds
        else "",
    )


SCALED, WHOLE = "ours, jpeg_decoding: scaled", "ours, jpeg_decoding: full"
PILLOW, TORCHVISION = "Pillow", "torchvision decode_jpeg"
# of 0..255, that scaled decoding may be off
MEAN_ERROR, LARGEST_ERROR = 1.0, 8


def _large_photos(vision: Project, scale: Scale) -> Row:
    from torchvision.io import ImageReadMode, decode_jpeg

    width, height, side = (400, 304, 16) if scale.toy else (4000, 3000, 224)
    contents = photos(width, height, 2)
    read_pixels = vision.module("preprocessing").read_pixels

    def ours(content: bytes, how: str) -> Any:
        return read_pixels(content, [3, side, side], {"jpeg_decoding": how})

    def pillow(content: bytes) -> Any:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        fitted = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
        return np.asarray(fitted).transpose(2, 0, 1)

    def torchvision(content: bytes) -> Any:
        data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        square = v2.functional.center_crop(decode_jpeg(data, mode=ImageReadMode.RGB), [height] * 2)
        return v2.functional.resize(square, [side, side], antialias=True).numpy()

    ways: dict[str, Callable[[bytes], Any]] = {
        SCALED: lambda content: ours(content, "scaled"),
        WHOLE: lambda content: ours(content, "full"),
        PILLOW: pillow,
        TORCHVISION: torchvision,
    }
    errors = {}
    for name, read in ways.items():
        off = np.abs(
            np.stack([read(content).astype(int) - pillow(content) for content in contents])
        )
        errors[name] = f"{off.mean():.2f} on average, at most {off.max()}"
        if off.mean() > MEAN_ERROR or (name == SCALED and off.max() > LARGEST_ERROR):
            raise ValueError(f"{name} is off by {errors[name]} of 255")
    if not errors[WHOLE].endswith("at most 0"):
        raise ValueError(f"{WHOLE} is off by {errors[WHOLE]} of 255")

    def all_by(read: Callable[[bytes], Any]) -> Callable[[], object]:
        return lambda: [read(content) for content in contents]

    values = interleave(
        {name: rate(len(contents), all_by(read)) for name, read in ways.items()}, scale
    )
    version = {TORCHVISION: versions("torchvision"), PILLOW: versions("pillow")}
    return Row(
        "JPEG photos of 12 megapixels, decoded and resized to 224x224",
        "images/s",
        [Way(name, version.get(name, "ours"), values[name]) for name in ways],
        [Target(SCALED, PILLOW, least=1.5)],
        note="Off from Pillow's full decoding, of 255: "
        + "; ".join(f"{name} {errors[name]}" for name in (SCALED, WHOLE, TORCHVISION))
        + ". `scaled` is a setting; the default is `full`.",
    )


# --- texts ---------------------------------------------------------------------------------------

COLLATOR = "datasets, DataCollatorWithPadding"


@benchmark("Loading texts", minutes=2)
def loading_texts(scale: Scale) -> Iterator[Row]:
    """Rows of tokens become padded batches."""
    import datasets
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

    with project("text") as text:
        lengths = np.random.default_rng(0).integers(8, 128, 200 if scale.toy else 20_000)
        learned = text.module("data.reading").learn_tokenizer(["some words to learn from"], 300)
        rows = datasets.Dataset.from_dict(
            {
                "input_ids": [[5 + n % 200 for n in range(length)] for length in lengths],
                "labels": (lengths % 2).tolist(),
            },
            features=datasets.Features(
                {
                    "input_ids": datasets.List(datasets.Value("int32")),
                    "labels": datasets.Value("int64"),
                }
            ),
        )
        splits = text.module("data.splits").Splits(rows, rows, ["even", "odd"], learned)
        config = text.config(task="text_classification", batch_size=64, max_seq_len=128)
        task = text.module("task").TaskSpec.from_config(config, splits)
        data = text.module("data.module").UniversalDataModule(
            task, config.batch_size, config=config, splits=splits
        )
        untyped: Any = PreTrainedTokenizerFast
        theirs = untyped(tokenizer_object=learned.tokenizer)
        theirs.pad_token = learned.tokenizer.id_to_token(learned.pad_token_id)
        padding = DataCollatorWithPadding(theirs)

        def ours() -> Iterable[Any]:
            made: Iterable[Any] = data.in_order(training=True)
            return made

        def hugging_face() -> Iterable[Any]:
            return DataLoader(rows, config.batch_size, collate_fn=padding)

        for mine, other in islice(zip(ours(), hugging_face(), strict=True), 3):
            _check_texts(mine, other)
        values = interleave(
            {
                OURS: rate(len(rows), lambda: [*ours()]),
                COLLATOR: rate(len(rows), lambda: [*hugging_face()]),
            },
            scale,
        )
    version = versions("datasets", "transformers")
    yield Row(
        "loader, texts of 8 to 127 tokens with a class, batch 64, 0 workers",
        "texts/s",
        [Way(OURS, "ours", values[OURS]), Way(COLLATOR, version, values[COLLATOR])],
        [Target(OURS, COLLATOR, least=1.0)],
    )


def _check_texts(mine: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    length: Sequence[int] = other["input_ids"].shape
    for name in ("input_ids", "attention_mask"):
        if not torch.equal(mine[name][:, : length[1]], other[name]):
            raise ValueError(f"{COLLATOR} gives other {name}")
    if not torch.equal(mine["labels"], other["labels"]):
        raise ValueError(f"{COLLATOR} gives other labels")
