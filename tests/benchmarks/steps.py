"""What training costs beside the network: for each micro-batch, in memory, and until it begins."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .harness import Project, Row, Scale, Target, Way, benchmark, interleave, project, versions

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
    """

    home: Project
    config: Any
    splits: Any
    make: Callable[[], nn.Module]
    steps: int
    counted: int

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


def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean over the samples."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return F.cross_entropy(network(**inputs), batch["labels"])


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
        (loss_of(network, batch) / ACCUMULATION).backward()  # type: ignore[no-untyped-call]
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

        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
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

    class WithLoader(Trainer):  # type: ignore[misc]
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
    from accelerate import Accelerator

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
    """Next to nothing to compute; it notes when it is called."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Embedding(vocabulary, classes)
        self.called: list[float] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B, classes] of two int64 [B, T]."""
        if self.training:
            self.called.append(time.perf_counter())
        logits: Tensor = self.scores(input_ids[:, :8]).sum(1)
        return logits


@benchmark("Fixed cost of a micro-batch", minutes=4)
def fixed_cost(scale: Scale) -> Iterator[Row]:
    """A network of one layer, four samples in a micro-batch, everything on."""
    contenders = {
        "ours": ours,
        "Lightning with its bar and one logged value": with_lightning,
        "Hugging Face Trainer": with_hugging_face,
        "Accelerate": with_accelerate,
        "raw loop": raw_loop,
    }
    with project("text", task="text_classification") as home, on_a_terminal():
        task = one_layer_task(home, *((20, 40) if scale.toy else (500, 1600)))
        check_alike(task, contenders)

        def microseconds(train: Callable[[Task], nn.Module]) -> float:
            called: Any = train(task).called
            first, *_, last = called[-task.counted :]
            return 1e6 * (last - first) / (task.counted - 1)

        measured = interleave(
            {name: lambda t=train: microseconds(t) for name, train in contenders.items()}, scale
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
        f"The raw loop on the same loader takes {statistics.median(raw):,.0f} us. Accelerate draws, "
        "logs and keeps nothing.",
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
    text.make_dataset = lambda rows, *_, **__: InMemory(samples, len(rows))
    rows = splits.train.select([number % count for number in range(wanted + 4)])
    splits = replace(splits, train=rows)
    return Task(home, config, splits, lambda: OneLayer(300, 2), steps, counted)
