"""What training costs beside the network: for each micro-batch, in memory, and until it begins."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .harness import (
    ROOT,
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    peak_memory,
    project,
    seconds,
    versions,
)

ACCUMULATION = 4
CLIP = 1.0
RATE = 1e-3


class Terminal(io.StringIO):
    """What a progress bar takes for a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@contextlib.contextmanager
def on_a_terminal() -> Iterator[None]:
    """Bars are drawn, and nobody sees them; warnings of other libraries are not shown either."""
    with (
        contextlib.redirect_stdout(Terminal()),
        contextlib.redirect_stderr(Terminal()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean over the samples."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return cross_entropy(network(**inputs), batch["labels"])


def language_loss(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean over the tokens, each guessed from those before it."""
    logits = network(batch["input_ids"])[:, :-1]
    return cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())


def image_loss(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean over images whose pixels are normalised first."""
    pixels = batch["pixel_values"].float().div_(127.5).sub_(1)
    return cross_entropy(network(pixels), batch["labels"])


@dataclass(frozen=True)
class Task:
    """A training that every contender takes, on the project's own loader.

    Attributes:
        home: the project.
        config: its settings.
        splits: the samples.
        make: builds the network, always the same one.
        steps: optimizer steps.
        counted: micro-batches that are measured, those at the end.
        loss: of a network on a micro-batch.
    """

    home: Project
    config: Any
    splits: Any
    make: Callable[[], nn.Module]
    steps: int
    counted: int
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor] = loss_of

    def loader(self) -> Iterable[dict[str, Tensor]]:
        """Micro-batches as the project makes them, in the order of its first epoch."""
        data = self.home.module("data.module")
        spec = self.home.module("task").TaskSpec.from_config(self.config, self.splits)
        module = data.UniversalDataModule(
            spec, self.config.batch_size, config=self.config, splits=self.splits
        )
        loader: Iterable[dict[str, Tensor]] = module.train_dataloader()
        return loader

    def optimizer(self, network: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """AdamW and the project's schedule of its rate, for each optimizer step."""
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0, fused=True)
        schedule = self.home.module("training.schedule")
        length = schedule.RunLength(steps=self.steps)
        return optimizer, schedule.warmup_cosine(optimizer, self.config.warmup_ratio, length)


# --- who trains ----------------------------------------------------------------------------------


def ours(task: Task) -> nn.Module:
    """The project: tracker, bar, checkpoints, exact accumulation, clipping."""
    network = task.make()
    task.home.module("training.loop").fine_tune(network, task.config, splits=task.splits)
    return network


def raw_loop(task: Task) -> nn.Module:
    """As few lines as it takes."""
    network = task.make().train()
    optimizer, schedule = task.optimizer(network)
    for number, batch in enumerate(task.loader(), 1):
        (task.loss(network, batch) / ACCUMULATION).backward()  # type: ignore[no-untyped-call]
        if number % ACCUMULATION == 0:
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if number == task.steps * ACCUMULATION:
            break
    return network


def with_lightning(task: Task) -> nn.Module:
    """Lightning's defaults: its bar, one logged value, its logger and its checkpoints."""
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: dict[str, Tensor]) -> Tensor:
            loss = loss_of(self.network, batch)
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer, schedule = task.optimizer(self.network)
            scheduler = {"scheduler": schedule, "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    network = task.make()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=task.steps,
        accumulate_grad_batches=ACCUMULATION,
        gradient_clip_val=CLIP,
    )
    trainer.fit(Module(network), task.loader())
    return network


class WithLoss(nn.Module):
    """A network as Hugging Face's Trainer calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """The loss."""
        return {"loss": loss_of(self.network, {**inputs, "labels": labels})}


def with_hugging_face(task: Task) -> nn.Module:
    """Trainer with its bar, values logged every 50 steps, and checkpoints."""
    from transformers import Trainer, TrainingArguments

    class WithLoader(Trainer):
        model_accepts_loss_kwargs = False

        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(task.loader())

    network = task.make()
    arguments = TrainingArguments(
        output_dir="hugging-face",
        max_steps=task.steps,
        gradient_accumulation_steps=ACCUMULATION,
        max_grad_norm=CLIP,
        logging_steps=50,
        save_steps=task.steps,
        report_to="none",
        disable_tqdm=False,
        use_cpu=True,
    )
    trainer = WithLoader(WithLoss(network), arguments, optimizers=task.optimizer(network))
    trainer.model_accepts_loss_kwargs = False  # the mean of a micro-batch is its own business
    trainer.train()
    return network


def with_accelerate(task: Task) -> nn.Module:
    """The loop of Accelerate's documentation, which draws, logs and keeps nothing."""
    from accelerate import Accelerator  # type: ignore[import-untyped]

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATION)
    network = task.make().train()
    model, optimizer, loader, schedule = accelerator.prepare(
        network, *(parts := task.optimizer(network))[:1], task.loader(), parts[1]
    )
    for number, batch in enumerate(loader, 1):
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model, batch))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if number == task.steps * ACCUMULATION:
            break
    return network


def seconds_each(task: Task, train: Callable[[Task], nn.Module]) -> float:
    """What a micro-batch takes, from one call of the network to the next."""
    called: list[float] = []

    def note(network: nn.Module, args: object) -> None:
        if network.training:
            called.append(time.perf_counter())

    def make() -> nn.Module:
        network = task.make()
        network.register_forward_pre_hook(note)
        return network

    train(replace(task, make=make))
    first, *_, last = called[-task.counted :]
    return (last - first) / (task.counted - 1)


def check_alike(task: Task, contenders: dict[str, Callable[[Task], nn.Module]]) -> None:
    """All of them learn the same weights, up to rounding.

    Raises:
        RuntimeError: one learns others.
    """
    found = {name: weights(train(task)) for name, train in contenders.items()}
    first, *others = found
    begun = weights(task.make())
    moved = (found[first] - begun).norm()
    for name in others:
        apart = float((found[name] - found[first]).norm() / moved)
        if not apart < 1e-3:
            raise RuntimeError(f"{name} and {first} learn other weights: {apart:.2g} apart")


def weights(network: nn.Module) -> Tensor:
    """All in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# --- one layer -----------------------------------------------------------------------------------


class OneLayer(nn.Module):
    """Next to nothing to compute."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Embedding(vocabulary, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B, classes] of two int64 [B, T]."""
        logits: Tensor = self.scores(input_ids[:, :8]).sum(1)
        return logits


@benchmark("Fixed cost of a micro-batch", minutes=4)
def fixed_cost(scale: Scale) -> Iterator[Row]:
    """A network of one layer, four samples in a micro-batch, everything on."""
    contenders: dict[str, Callable[[Task], nn.Module]] = {
        "ours": ours,
        "Lightning with its bar and one logged value": with_lightning,
        "Hugging Face Trainer": with_hugging_face,
        "Accelerate": with_accelerate,
        "raw loop": raw_loop,
    }
    with project("text", task="text_classification") as home, on_a_terminal():
        task = one_layer_task(home, *((20, 40) if scale.toy else (500, 1600)))
        check_alike(task, contenders)

        measured = interleave(
            {
                name: lambda train=train: 1e6 * seconds_each(task, train)  # type: ignore[misc]
                for name, train in contenders.items()
            },
            scale,
        )
    if not scale.rounds:
        return
    raw = measured.pop("raw loop")
    packages = {
        "ours": "ours",
        "Hugging Face Trainer": versions("transformers"),
        "Accelerate": versions("accelerate"),
    }
    yield Row(
        "Beside the network, for each micro-batch: bar, tracker, checkpoints, exact accumulation",
        "us above the raw loop",
        [
            Way(
                name,
                packages.get(name) or versions("lightning"),
                [value - beneath for value, beneath in zip(values, raw, strict=True)],
            )
            for name, values in measured.items()
        ],
        [Target("ours", most=450)],
        f"The raw loop on the same loader takes {statistics.median(raw):,.0f} us. Accelerate draws "
        "no bar, logs nothing and keeps nothing. When ours was profiled, 54 % of what it takes "
        "above the raw loop was Lightning's loop (17 calls of hooks a micro-batch and its own "
        "state, which its public interface does not spare), 24 % ours (sums and counts of the "
        "loss, tracker, bar, table), 15 % more work of torch, the rest Python's library.",
    )


class InMemory(torch.utils.data.Dataset[Any]):
    """Samples that need no reading, by the project's keys, each again and again."""

    def __init__(self, samples: list[Any], count: int) -> None:
        self.samples, self.count = samples, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, ...]) -> Any:
        return self.samples[key[1] % len(self.samples)]


def one_layer_task(home: Project, steps: int, counted: int) -> Task:
    """Sentences of two words in two classes."""
    folder = Path("sentences")
    folder.mkdir()
    pairs = [f"{i} {j}" for i in "abcdefghijklmnop" for j in "abcdefghijklmnop"]
    lines = [f"{text},{number % 2}" for number, text in enumerate(pairs)]
    (folder / "train.csv").write_text("\n".join(["text,label", *lines]), "utf-8")
    (folder / "val.csv").write_text("\n".join(["text,label", *lines[:8]]), "utf-8")
    config = home.config(
        task="text_classification",
        data=str(folder),
        batch_size=4,
        gradient_accumulation_steps=ACCUMULATION,
        max_steps=steps,
        epochs=1,
        learning_rate=RATE,
        weight_decay=0.0,
        max_grad_norm=CLIP,
        checkpoint_every_n_steps=max(1, steps * 3 // 4),
        accelerator="cpu",
        export_bundle=False,
        vocab_size=300,
    )
    text = home.module("data.text")
    splits = text.read_splits(config)
    count, wanted = len(splits.train), steps * ACCUMULATION * config.batch_size
    dataset = text.make_dataset(splits.train, None, config, training=True)
    samples = [dataset[0, index] for index in range(count)]
    in_memory = {"make_dataset": lambda rows, *_, **__: InMemory(samples, len(rows))}
    vars(text).update(in_memory)
    rows = splits.train.select([number % count for number in range(wanted + 4)])
    splits = replace(splits, train=rows)
    return Task(home, config, splits, lambda: OneLayer(300, 2), steps, counted)


# --- networks of some size -----------------------------------------------------------------------


@benchmark("Steps of small networks, everything on", minutes=8)
def small_networks(scale: Scale) -> Iterator[Row]:
    """A GPT and a ViT of 5 to 10 million parameters."""
    for modality, make_task, what in (
        ("text", gpt_task, "GPT, 7.5 million parameters, 4 texts of 128 tokens in a micro-batch"),
        ("vision", vit_task, "ViT, 6.4 million parameters, 8 images of 64 x 64"),
    ):
        with project(modality) as home, on_a_terminal():
            task = make_task(home, scale, 1 if scale.toy else 24)
            contenders: dict[str, Callable[[Task], nn.Module]] = {
                "ours": ours,
                "raw loop": raw_loop,
            }
            check_alike(task, contenders)
            measured = interleave(
                {
                    name: lambda task=task, train=train: (  # type: ignore[misc]
                        task.config.batch_size / seconds_each(task, train)
                    )
                    for name, train in contenders.items()
                },
                # from one run to the next the machine's pace changes by more than they differ
                replace(scale, rounds=scale.rounds + scale.rounds // 2),
            )
        if scale.rounds:
            yield Row(
                f"Training a {what}: tracker, bar, checkpoints, accumulation over 4, clipping",
                "samples/s",
                [
                    Way("ours", "ours", measured["ours"]),
                    Way("raw loop", versions("torch"), measured["raw loop"]),
                ],
                [Target("ours", "raw loop", least=0.97)],
                f"{task.counted // ACCUMULATION} optimizer steps, in which ours writes one "
                "checkpoint, with the optimizer's state; by default it writes one an epoch. When "
                "that was measured, a micro-batch of the ViT took 2.2 ms (2 %) longer than in the "
                "raw loop beside forward and backward pass: 1.7 ms of it for the checkpoint.",
            )


def settings(batch_size: int, steps: int, **others: Any) -> dict[str, Any]:
    """What all trainings of networks of some size have in common."""
    return {
        "batch_size": batch_size,
        "gradient_accumulation_steps": ACCUMULATION,
        "max_steps": steps,
        "epochs": 1,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "checkpoint_every_n_steps": max(1, steps - 1),
        "accelerator": "cpu",
        "export_bundle": False,
        **others,
    }


def gpt_task(home: Project, scale: Scale, steps: int) -> Task:
    """The project's GPT on its sample set, the sources of Python's library."""
    length = 16 if scale.toy else 128
    config = home.config(task="lm", max_seq_len=length, **settings(4, steps))
    if not Path("data").exists():
        home.module("data.sample").write_sample(Path("data"), "lm")
    splits = home.module("data.text").read_splits(config)
    full = [n for n, ids in enumerate(splits.train["input_ids"]) if len(ids) == length]
    few = range(min(8, len(splits.val)))
    splits = replace(splits, train=splits.train.select(full[:512]), val=splits.val.select(few))
    vocabulary = home.module("task").TaskSpec.from_config(config, splits).num_outputs
    sizes = {"width": 32, "depth": 2} if scale.toy else {"width": 320, "depth": 6, "heads": 5}

    def make() -> nn.Module:
        torch.manual_seed(0)
        network: nn.Module = home.module("model").Decoder(vocabulary, length, **sizes)
        return network

    return Task(home, config, splits, make, steps, 3 * steps, language_loss)


def vit_task(home: Project, scale: Scale, steps: int) -> Task:
    """A ViT of timm on handwritten digits."""
    import timm

    side = 16 if scale.toy else 64
    config = home.config(image_size=[3, side, side], augment="none", **settings(8, steps))
    home.module("data.sample").write_sample(Path("data"), "vision_classification")
    splits = home.module("data.vision").read_splits(config)
    splits = replace(splits, val=splits.val.select(range(8)))
    sizes: dict[str, Any] = (
        {"embed_dim": 32, "depth": 2} if scale.toy else {"embed_dim": 256, "depth": 8}
    )

    def make() -> nn.Module:
        torch.manual_seed(0)
        network: nn.Module = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=side,
            patch_size=8,
            num_heads=4,
            num_classes=10,
            **sizes,
        )
        return network

    return Task(home, config, splits, make, steps, 3 * steps, image_loss)


# --- memory --------------------------------------------------------------------------------------


@benchmark("Memory of training", minutes=4)
def training_memory(scale: Scale) -> Iterator[Row]:
    """The GPT above, each contender in a process of its own."""
    names = ("ours", "raw loop", "nobody")
    with project("text", task="lm") as home:

        def mebibytes(name: str) -> float:
            program = f"from tests.benchmarks import steps; steps.alone({name!r}, {scale.toy})"
            environment = home.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{home.folder}/src"}
            command = [sys.executable, "-c", program]
            return peak_memory(command, env=environment, stderr=subprocess.DEVNULL) / 2**20

        check = {name: mebibytes(name) for name in names}
        if not check["nobody"] < check["raw loop"]:
            raise RuntimeError(f"training takes no memory: {check}")
        measured = interleave({name: lambda n=name: mebibytes(n) for name in names}, scale)  # type: ignore[misc]
    if not scale.rounds:
        return
    ways = [
        Way("ours", "ours", measured["ours"]),
        Way("raw loop", versions("torch"), measured["raw loop"]),
    ]
    yield Row(
        "Peak memory of a process that trains the GPT",
        "MiB",
        ways,
        [Target("ours", "raw loop", most=1.05)],
        "Both processes import the project, with torch and Lightning, and read the same data.",
    )
    yield Row(
        "The same beyond a process that imports as much, and trains nothing",
        "MiB",
        [
            Way(
                way.name,
                way.version,
                [a - b for a, b in zip(way.values, measured["nobody"], strict=True)],
            )
            for way in ways
        ],
    )


def alone(name: str, toy: bool) -> None:
    """What a process of its own does: import, read, and have someone train."""
    package = "text_project"
    home = Project(Path.cwd(), package)
    home.module("training.loop")
    with on_a_terminal():
        task = gpt_task(home, Scale(toy=toy), 1 if toy else 4)
        if name != "nobody":
            {"ours": ours, "raw loop": raw_loop}[name](task)


# --- until it begins -----------------------------------------------------------------------------

IMPORTS = "import torch, lightning.pytorch"


@benchmark("From the command to the first optimizer step", minutes=4)
def first_step(scale: Scale) -> Iterator[Row]:
    """`train` with the sample set, from the start of the process."""
    for modality in ("vision", "text"):
        with project(modality) as home:
            sample = home.command("data", "sample")
            subprocess.run(sample, env=home.environment, check=True, capture_output=True)

            def train(home: Project = home) -> float:
                return until_first_step(home)

            def imports(home: Project = home) -> float:
                command = [sys.executable, "-c", IMPORTS]
                return seconds(lambda: subprocess.run(command, env=home.environment, check=True))

            train()
            measured = interleave({"ours": train, IMPORTS: imports}, scale)
        if scale.rounds:
            yield Row(
                f"`train` until its first optimizer step, {modality}, on the sample set",
                "s",
                [
                    Way("ours", "ours", measured["ours"]),
                    Way(IMPORTS, versions("torch", "lightning"), measured[IMPORTS]),
                ],
                [Target("ours", IMPORTS, most=1.3)],
            )


def until_first_step(home: Project) -> float:
    """Seconds until a row of metrics is there, which the first step writes.

    Raises:
        RuntimeError: training ends without one.
    """
    runs = home.folder / "runs"
    command = home.command("train", "--export_bundle", "false")
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not any(path.read_text("utf-8").count("\n") > 1 for path in rows_of(runs)):
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with {process.returncode}, and no step")
            time.sleep(0.005)
        took = time.perf_counter() - started
        process.kill()
    shutil.rmtree(runs)
    return took


def rows_of(runs: Path) -> Iterator[Path]:
    """Tables of metrics, one for each run."""
    return runs.glob("*/metrics.csv")
