"""Training on a GPU, beside the recipes that people take for fast; toy sizes run on a CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .harness import Project, Row, Scale, Target, Way, benchmark, interleave, project, versions
from .steps import InMemory, weights

# bf16 operations a second of the dense matrix units, as their makers state them
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}

CLIP = 1.0
RATE = 6e-4
WORKERS = 14  # and two cores for what is not loading


@dataclass(frozen=True)
class Run:
    """A training that every contender takes: two epochs, of which the second is measured.

    Attributes:
        home: the project.
        config: its settings.
        splits: the samples.
        make: builds the network, always the same one.
    """

    home: Project
    config: Any
    splits: Any
    make: Callable[[], nn.Module]

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return len(self.splits.train)

    def with_settings(self, **settings: Any) -> Run:
        """The same with other settings."""
        return replace(self, config=replace(self.config, **settings))

    def loader(self) -> Iterable[dict[str, Tensor]]:
        """Micro-batches of an epoch, as the project makes them."""
        data = self.home.module("data.module")
        spec = self.home.module("task").TaskSpec.from_config(self.config, self.splits)
        module = data.UniversalDataModule(
            spec, self.config.batch_size, config=self.config, splits=self.splits
        )
        loader: Iterable[dict[str, Tensor]] = module.train_dataloader()
        return loader


@dataclass(frozen=True)
class Trained:
    """What a contender came to.

    Attributes:
        network: trained.
        pace: samples a second in the second epoch, without validation.
    """

    network: nn.Module
    pace: float


def device() -> torch.device:
    """The GPU, or the CPU for toy sizes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> float:
    """Let the device end its work; gives the time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(run: Run) -> Trained:
    """The project, with all that it keeps and shows."""
    network = run.make()
    result = run.home.module("training.loop").fine_tune(network, run.config, splits=run.splits)
    *_, last = json.loads((result.run_dir / "run.json").read_text("utf-8"))["paces"]
    return Trained(network, last["samples"] / (last["seconds"] - last["validating"]))


def recipe(
    run: Run,
    batches: Callable[[int], Iterable[tuple[tuple[Tensor, ...], Tensor]]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    channels_last: bool = False,
) -> Trained:
    """A compiled network, autocast, fused AdamW, clipping and nothing that waits for the GPU.

    Args:
        run: what to train.
        batches: gives inputs and targets of an epoch, on the device.
        loss_of: the loss of logits and targets.
        channels_last: memory layout of the network.
    """
    found = device()
    network = run.make().to(found).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    is_reduced = run.config.precision == "bf16-mixed"
    if run.config.compile_mode is not None:
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    schedule = run.home.module("training.schedule")
    accumulation = run.config.gradient_accumulation_steps
    steps = 2 * (-(-run.samples // run.config.batch_size) // accumulation)
    rates = schedule.warmup_cosine(
        optimizer, run.config.warmup_ratio, schedule.RunLength(steps=steps)
    )
    began = 0.0
    for epoch in range(2):
        began = wait()
        for number, (inputs, targets) in enumerate(batches(epoch), 1):
            with torch.autocast(found.type, torch.bfloat16, enabled=is_reduced):
                loss = loss_of(network(*inputs), targets)
            (loss / accumulation).backward()
            if number % accumulation == 0:
                nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                optimizer.step()
                rates.step()
                optimizer.zero_grad(set_to_none=True)
    return Trained(network, run.samples / (wait() - began))


def _pace(train: Callable[[], Trained]) -> float:
    return train().pace


def check_alike(run: Run, contenders: Mapping[str, Callable[[Run], Trained]]) -> None:
    """In float32 and not compiled, all learn the same weights up to rounding.

    Raises:
        RuntimeError: one learns others.
    """
    exact = run.with_settings(precision="32-true", compile_mode=None)
    begun = weights(run.make())
    found = {name: weights(train(exact).network).cpu() for name, train in contenders.items()}
    first, *others = found
    moved = float((found[first] - begun).norm())
    for name in others:
        apart = float((found[name] - found[first]).norm()) / moved
        # AdamW takes a full step also where a gradient's sign is one of rounding
        if not apart < 5e-2:
            raise RuntimeError(f"{name} and {first} learn other weights: {apart:.2g} apart")


# --- a language model ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Of a language model and of its batches."""

    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    batch_size: int
    accumulation: int
    steps: int  # of an epoch

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return self.batch_size * self.accumulation * self.steps


GPT2 = Shape(50_304, 1024, 768, 12, 12, 16, 4, 16)
TOY = Shape(256, 32, 32, 2, 2, 2, 2, 2)


@benchmark("On a GPU: GPT-2's shape, 124 M parameters", minutes=8, is_gpu=True)
def gpu_language_model(scale: Scale) -> Iterator[Row]:
    """1,024 tokens a sample, bf16, compiled, beside nanoGPT's recipe with the same network."""
    shape = TOY if scale.toy else GPT2
    with project("text", task="lm") as home:
        run = _language_model(home, shape)
        contenders = {"ours": ours, "nanoGPT's recipe": _nano_gpt}
        check_alike(_language_model(home, TOY), contenders)
        eager = run.with_settings(compile_mode=None)
        ways: dict[str, Callable[[], Trained]] = {
            **{name: partial(train, run) for name, train in contenders.items()},
            "ours, not compiled": partial(ours, eager),
        }
        paces = interleave({name: partial(_pace, train) for name, train in ways.items()}, scale)
        tokens = {name: [shape.length * pace for pace in found] for name, found in paces.items()}
    if not scale.rounds:
        return
    yield Row(
        "GPT-2's shape (124 M parameters, 1,024 tokens), bf16, training",
        "tokens/s",
        [Way(name, _version(name), values) for name, values in tokens.items()],
        [
            Target("ours", "nanoGPT's recipe", least=1.0),
            Target("ours", "ours, not compiled", least=1.3),
        ],
    )
    if peak := _peak():
        share = [100 * value * _operations(run, shape) / peak for value in tokens["ours"]]
        yield Row(
            "The same: operations of the network that the matrix units could do at most",
            "%",
            [Way("ours", _version("ours"), share)],
            [Target("ours", least=40)],
            "6 for each parameter and token, and 12 x depth x width x length for attention "
            "(A. Chowdhery et al., PaLM, 2022, appendix B).",
        )


def _language_model(home: Project, shape: Shape) -> Run:
    from datasets import Dataset, Features, List, Value
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    special = 4  # that the project adds
    words = {f"w{number}": number for number in range(shape.vocabulary - special)}
    tokenizer = home.module("preprocessing").TextTokenizer(Tokenizer(WordLevel(words, "w0")))
    if tokenizer.vocab_size != shape.vocabulary:
        raise RuntimeError(f"{tokenizer.vocab_size} tokens, {shape.vocabulary} were wanted")
    drawn = np.random.default_rng(0).integers(len(words), size=(shape.samples + 2, shape.length))
    features = Features({"input_ids": List(Value("int32"))})
    rows = Dataset.from_dict({"input_ids": list(drawn.astype(np.int32))}, features=features)
    training, rest = range(shape.samples), range(shape.samples, shape.samples + 2)
    bytes_each = {"text_bytes": [[2] * shape.length] * 2}
    validation = Dataset.from_dict({"input_ids": list(drawn[rest].astype(np.int32)), **bytes_each})
    config = home.config(
        task="lm",
        max_seq_len=shape.length,
        batch_size=shape.batch_size,
        gradient_accumulation_steps=shape.accumulation,
        **_common(),
    )
    splits = home.module("data.splits").Splits(rows.select(training), validation, [], tokenizer)

    def make() -> nn.Module:
        torch.manual_seed(0)
        sizes = (shape.vocabulary, shape.length, shape.width, shape.depth, shape.heads)
        network: nn.Module = home.module("model").Decoder(*sizes)
        return network

    return Run(home, config, splits, make)


def _common() -> dict[str, Any]:
    return {
        "epochs": 2,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "precision": "bf16-mixed",
        "compile_mode": "default",
        "export_bundle": False,
    }


def _nano_gpt(run: Run) -> Trained:
    """Tokens in pinned memory, copied ahead."""

    def batches(epoch: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        for batch in _in_order(run, epoch):
            ids = batch["input_ids"].to(device(), non_blocking=True)
            yield (ids,), ids

    def loss_of(logits: Tensor, ids: Tensor) -> Tensor:
        flat = logits[:, :-1].flatten(0, 1)
        return F.cross_entropy(flat, ids[:, 1:].flatten())

    return recipe(run, batches, loss_of)


def _in_order(run: Run, epoch: int) -> Iterator[dict[str, Tensor]]:
    """Micro-batches in the order that the project takes them in."""
    loader: Any = run.loader()
    loader.batch_sampler.sampler.set_epoch(epoch)
    yield from loader


def _operations(run: Run, shape: Shape) -> float:
    """For each token, forward and backward."""
    parameters = sum(parameter.numel() for parameter in run.make().parameters())
    return 6 * parameters + 12 * shape.depth * shape.width * shape.length


def _peak() -> float | None:
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def _version(name: str) -> str:
    return f"{'ours, ' if name.startswith('ours') else ''}{versions('torch')}"


# --- images --------------------------------------------------------------------------------------


@benchmark("On a GPU: images", minutes=9, is_gpu=True)
def gpu_images(scale: Scale) -> Iterator[Row]:
    """resnet50 and ViT-S at 224 x 224 pixels in bf16, from memory and from JPEG files."""
    with project("vision") as home:
        for name in ("resnet50", "vit_small_patch16_224"):
            yield from _images(home, name, scale)


def _images(home: Project, name: str, scale: Scale) -> Iterator[Row]:
    size, samples, batch_size = (32, 16, 4) if scale.toy else (224, 12_800, 256)
    folder = _photos(samples, 48 if scale.toy else 400)
    config = home.config(
        task="vision_classification",
        data=str(folder),
        image_size=[3, size, size],
        batch_size=batch_size,
        num_workers=0 if scale.toy else WORKERS,
        augment="none",
        channels_last=name == "resnet50",
        **_common(),
    )
    if scale.toy:
        config = replace(config, compile_mode=None)  # a CPU would compile for minutes
    make = partial(_timm_network, name, size)
    vision: Any = home.module("data.vision")
    from_files = Run(home, config, vision.read_splits(config), make)
    dataset = vision.make_dataset(from_files.splits.train, *_spec(from_files), training=True)
    kept = [dataset[0, number] for number in range(min(64, len(dataset)))]
    from_memory = from_files.with_settings(num_workers=0 if scale.toy else 4)

    def in_memory(train: Callable[[Run], Trained], run: Run) -> Trained:
        made = vision.make_dataset
        vision.make_dataset = lambda rows, *_, **__: InMemory(kept, len(rows))
        try:
            return train(run)
        finally:
            vision.make_dataset = made

    timm_loop = partial(_timm, channels_last=name == "resnet50")
    few = from_files.splits.train.select(range(2 * batch_size))
    short = replace(from_memory, splits=replace(from_files.splits, train=few))
    check_alike(
        short,
        {"ours": partial(in_memory, ours), "timm": partial(in_memory, timm_loop)},
    )
    ways: dict[str, Callable[[], Trained]] = {
        "ours, from memory": partial(in_memory, ours, from_memory),
        "timm's train loop, from memory": partial(in_memory, timm_loop, from_memory),
        "ours, from JPEG files": partial(ours, from_files),
    }
    found = interleave({way: partial(_pace, train) for way, train in ways.items()}, scale)
    if scale.rounds:
        first, peer, files = found
        yield Row(
            f"{name}, {size} x {size} pixels, bf16, training",
            "images/s",
            [
                Way(first, f"ours, {versions('torch')}", found[first]),
                Way(peer, versions("timm", "torch"), found[peer]),
                Way(files, f"ours, {versions('torch', 'pillow')}", found[files]),
            ],
            [Target(first, peer, least=1.0), Target(files, first, least=0.95)],
        )


def _spec(run: Run) -> tuple[Any, Any]:
    return run.home.module("task").TaskSpec.from_config(run.config, run.splits), run.config


def _timm_network(name: str, size: int) -> nn.Module:
    import timm

    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": size} if name.startswith("vit") else {}
    network: nn.Module = timm.create_model(name, num_classes=10, **options)
    return network


def _timm(run: Run, *, channels_last: bool) -> Trained:
    """fast_collate, PrefetchLoader and the loop of timm's training script."""
    from timm.data import loader as timm_loading

    loading: Any = timm_loading
    spec, config = _spec(run)
    data = run.home.module("data.module").UniversalDataModule(
        spec, config.batch_size, config=config, splits=run.splits
    )
    mean, std = (spec.preprocessing_config[name] for name in ("mean", "std"))

    def collate(samples: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        pairs = [(one["pixel_values"].numpy(), one["labels"]) for one in samples]
        collated: tuple[Tensor, Tensor] = loading.fast_collate(pairs)
        return collated

    def batches(epoch: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        loader: Any = data.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        plain = torch.utils.data.DataLoader(
            loader.dataset,
            batch_sampler=loader.batch_sampler,
            collate_fn=collate,
            num_workers=config.num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        channels = spec.input_schema["image_size"][0]
        prefetched = loading.PrefetchLoader(plain, mean, std, channels=channels, device=device())
        for images, targets in prefetched:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            yield (images.contiguous(memory_format=layout),), targets

    return recipe(run, batches, F.cross_entropy, channels_last=channels_last)


def _photos(count: int, side: int) -> Path:
    """A folder of JPEG files in ten classes: smooth colours with some grain."""
    from PIL import Image

    folder = Path("photos")
    if folder.exists():
        return folder
    drawn = np.random.default_rng(0)
    for number in range(count):
        split = "val" if number % 100 == 0 else "train"
        small = drawn.integers(256, size=(8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        place = folder / split / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number}.jpg", quality=90)
    return folder
