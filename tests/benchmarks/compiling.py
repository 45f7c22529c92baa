"""What torch.compile gains a run of the project's own networks, and what it costs first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .harness import (
    ROOT,
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    project,
    seconds,
    temporary_folder,
    versions,
)

EAGER, COMPILED, BF16 = "eager float32", "compiled float32", "compiled bf16-mixed"
AUTO = "compile_mode: auto"
CHANNELS_LAST = "eager float32, channels_last: true"
SAME_CODE = "Where `auto` declines, it runs what eager float32 runs: they differ by chance."
OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    BF16: {"compile_mode": "default", "precision": "bf16-mixed"},
    COMPILED: {"compile_mode": "default"},
    AUTO: {"compile_mode": "auto"},
    CHANNELS_LAST: {"channels_last": True},
    EAGER: {},
}
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True)
class Network:
    """A network that is measured.

    Attributes:
        name: for people.
        modality: of the project that trains it.
        settings: of the training.
        toy: others for a quick check.
        bf16: how many times as fast compiled bf16 is to be as eager float32; None for a network
            for which compiling does not pay.
        convolves: so that the layout of its memory matters.
        why: what there is to say of its figures.
    """

    name: str
    modality: str
    settings: dict[str, Any]
    toy: dict[str, Any]
    bf16: float | None
    convolves: bool = False
    why: str = ""

    def of(self, scale: Scale) -> dict[str, Any]:
        """Settings at a scale."""
        return self.settings | (self.toy if scale.toy else {})


NETWORKS = (
    Network(
        "GPT, the text project's own",
        "text",
        {"model": "builtin", "batch_size": 16, "max_seq_len": 128},
        {"batch_size": 2, "max_seq_len": 32},
        1.5,
        why="Of an eager step, 57 % is attention and matrix products, which compiling leaves as "
        "they are. Of a compiled one in bf16, 47 % is the backward pass of torch's attention, "
        "whose kernel for CPUs takes 12.8 ms in bf16 instead of 3.5 ms in float32 for texts of "
        "128 tokens and heads of 32 values; from 512 tokens and 64 values on it is the faster "
        "one. The matrix products take a quarter of their time.",
    ),
    Network(
        "ViT, timm's vit_tiny with patches of 16",
        "vision",
        {
            "model": "timm:vit_tiny_patch16_224",
            "image_size": [3, 224, 224],
            "batch_size": 16,
        },
        {
            "model_args": {"img_size": 32, "depth": 1},
            "image_size": [3, 32, 32],
            "batch_size": 2,
        },
        1.25,
        why="Of an eager step in float32, 73 % is attention and matrix products, which compiling "
        "leaves as they are.",
    ),
    Network(
        "CNN, the vision project's own for pictures",
        "vision",
        {"model": "builtin", "image_size": [3, 224, 224], "batch_size": 16},
        {"image_size": [3, 32, 32], "batch_size": 2},
        1.8,
        convolves=True,
    ),
)
ONE_PRODUCT = Network(
    "a network of one matrix product",
    "vision",
    {"model": "one_product.py:build", "image_size": [3, 64, 64], "batch_size": 256},
    {"batch_size": 4},
    None,
)
ONE_PRODUCT_CODE = """\
from torch import Tensor, nn


class OneProduct(nn.Module):
    def __init__(self, num_outputs: int, image_size: list[int]) -> None:
        super().__init__()
        channels, height, width = image_size
        self.layer = nn.Linear(channels * height * width, num_outputs, bias=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.layer(pixel_values.flatten(1))


def build(num_outputs: int, image_size: list[int]) -> nn.Module:
    return OneProduct(num_outputs, image_size)
"""


class Steps:
    """Training steps of a network on one batch, by the project's own adapter, plan and optimizer.

    Args:
        made: the project, in whose folder this runs.
        settings: of the training.
        data: of the project, read already.
    """

    def __init__(self, made: Project, settings: dict[str, Any], data: Any) -> None:
        import torch

        self.torch = torch
        config = made.config(**settings)
        torch.manual_seed(config.seed)
        architecture = made.module("architecture").Architecture
        arguments = made.module("catalogues").network_args(config)
        network = architecture.resolve(config.model, data.task_spec, arguments).build()
        adapter = made.module("training.adapter").UniversalModelAdapter
        self.adapter = adapter(network, config, data.processor, task_spec=data.task_spec)
        self.optimizer = self.adapter.configure_optimizers()["optimizer"]
        self.autocast = torch.autocast(
            "cpu", torch.bfloat16, enabled=config.precision == "bf16-mixed"
        )

    def capture_only(self) -> None:
        """Capture the graph and run it as it is, where it is to be compiled: that takes no time."""
        if self.adapter.compile_hook.is_active:
            self.adapter.model.compile(backend="aot_eager")

    def loss(self, batch: Any) -> Any:
        """Mean over the batch's targets."""
        with self.autocast:
            loss = self.adapter.loss_sum(batch)
        return loss / float(self.adapter.objective.count(batch["labels"]))

    def step(self, batch: Any) -> None:
        """Forward, backward, clipping, optimizer."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.torch.nn.utils.clip_grad_norm_(self.adapter.model.parameters(), 1.0)
        self.optimizer.step()

    def gradients(self, batch: Any) -> Any:
        """All gradients in one row, float32 [N]."""
        self.torch.manual_seed(0)
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        gradients = [
            p.grad.flatten() for p in self.adapter.model.parameters() if p.grad is not None
        ]
        return self.torch.cat(gradients).clone()


def read(made: Project, settings: dict[str, Any]) -> Any:
    """The project's data, the built-in sample set."""
    config = made.config(**settings)
    if not Path(config.data).exists():
        made.module("data.sample").write_sample(Path(config.data), config.task)
    return made.module("data.module").UniversalDataModule.from_config(config)


def check_gradients(found: Any, right: Any, most: float, what: str) -> None:
    """Refuse a contender whose gradients are not those of the eager network."""
    if not (error := apart(found, right)) <= most:
        raise RuntimeError(
            f"{what}: gradients differ by {error:.2g} of their norm, most {most:.2g}"
        )


def apart(found: Any, right: Any) -> float:
    """How far gradients are from others, as a share of their norm."""
    return float((found - right).norm() / right.norm())


@contextmanager
def compiled_code_apart() -> Iterator[None]:
    """Let what this process compiles be kept in a folder of its own, which begins empty."""
    before = os.environ.get(CACHE_VARIABLE)
    with temporary_folder() as folder:
        os.environ[CACHE_VARIABLE] = str(folder)
        try:
            yield
        finally:
            os.environ.pop(CACHE_VARIABLE)
            if before is not None:
                os.environ[CACHE_VARIABLE] = before


@benchmark("Compiled training steps", minutes=10)
def compiling_steps(scale: Scale) -> Iterator[Row]:
    """Steady state of the project's own networks: eager, compiled, in bf16, and as auto decides."""
    with compiled_code_apart():
        for modality in ("text", "vision"):
            with project(modality) as made:
                Path("one_product.py").write_text(ONE_PRODUCT_CODE, "utf-8")
                for network in (*NETWORKS, ONE_PRODUCT):
                    is_slow_to_import = scale.toy and "timm" in str(network.settings["model"])
                    if network.modality == modality and not is_slow_to_import:
                        yield from _steps(made, network, scale)


def _steps(made: Project, network: Network, scale: Scale) -> Iterator[Row]:
    settings = network.of(scale)
    data = read(made, settings)
    batch = next(iter(data.train_dataloader()))
    names = [EAGER, AUTO] if network.bf16 is None else [*OTHER_SETTINGS]
    if CHANNELS_LAST in names and not network.convolves:
        names.remove(CHANNELS_LAST)
    contenders = {name: Steps(made, settings | OTHER_SETTINGS[name], data) for name in names}
    if scale.toy:
        for name in names:
            contenders[name].capture_only()
    auto = contenders[AUTO]
    decided = ""
    if scale.rounds:
        # as if the run were long: what is judged here is the steady state
        hook = auto.adapter.compile_hook
        decided = str(hook.warm_up(lambda: auto.loss(batch), remaining_steps=10**7))
    right = contenders[EAGER].gradients(batch)
    # sums are rounded in another order there, which turns on or off what lies next to zero: the
    # loss differs by 3e-6, and in float64 the gradients by 3e-13
    most = dict.fromkeys(names, 1e-2) | {CHANNELS_LAST: 0.1}
    if BF16 in names:
        # with eight bits of mantissa gradients differ by much; compiling must not add to it
        plain = Steps(made, settings | {"precision": OTHER_SETTINGS[BF16]["precision"]}, data)
        most[BF16] = 0.02 + 1.5 * apart(plain.gradients(batch), right)
    for name in names:
        found = contenders[name].gradients(batch)
        check_gradients(found, right, most[name], f"{network.name}, {name}")
        if name in (BF16, COMPILED) and not contenders[name].adapter.compile_hook.is_active:
            raise RuntimeError(f"{network.name}: {name} is not compiled")
    if not scale.rounds:
        return
    rates = {name: _rate(steps, batch, settings) for name, steps in contenders.items()}
    values = interleave(rates, scale)
    targets = [Target(AUTO, EAGER, least=1.0)]
    if network.bf16 is not None:
        targets = [
            Target(BF16, EAGER, least=network.bf16),
            Target(COMPILED, EAGER, least=1.0),
            *targets,
        ]
    ours = f"ours, {versions('torch')}"
    notes = [f"`auto`: {decided.removeprefix('not compiled: auto: ')}.", bf16_here(), network.why]
    if not auto.adapter.compile_hook.is_active:
        notes.append(SAME_CODE)
    yield Row(
        f"training steps, {network.name} ({_millions(contenders[EAGER])} million parameters)",
        "samples/s",
        [Way(name, ours, values[name]) for name in names],
        targets,
        " ".join(filter(None, notes)),
    )


def _rate(steps: Steps, batch: Any, settings: dict[str, Any]) -> Callable[[], float]:
    """What measures samples a second over a few steps; the first of them finds caches cold."""

    def some() -> None:
        for _ in range(4):
            steps.step(batch)

    return lambda: 4 * settings["batch_size"] / seconds(some)


def _millions(steps: Steps) -> str:
    return f"{sum(p.numel() for p in steps.adapter.model.parameters()) / 1e6:.1f}"


def bf16_here() -> str:
    """What this processor has for bf16, in a sentence."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text("utf-8").split()) if info.exists() else set()
    if found := [name for name in ("avx512_bf16", "amx_bf16", "bf16") if name in flags]:
        return f"This processor has instructions for bf16 ({', '.join(found)})."
    return (
        "This processor has no instructions for bf16 (avx512_bf16, amx_bf16): each product is "
        "taken in float32, so bf16 only halves the bytes that are moved."
    )


# --- cold and once more --------------------------------------------------------------------------

FIRST, SECOND = "first run", "second run, a new process"
RESTARTED = "third run, with an empty temporary folder as after a restart"


@benchmark("Compiling, the first time and once more", minutes=6)
def compiling_cold(scale: Scale) -> Iterator[Row]:
    """Seconds until a compiled step runs, in processes of their own, with no cache at first."""
    for network in NETWORKS if scale.rounds else NETWORKS[:1]:
        with project(network.modality) as made:
            settings = network.of(scale)
            if not scale.rounds:
                with temporary_folder() as temporary:
                    _compile_in_process(made, settings, temporary)
                return
            compiled = settings | {"compile_mode": "default"}
            temporary = made.folder / "temporary"
            taken = []
            for is_emptied in (True, False, True):
                if is_emptied:
                    shutil.rmtree(temporary, ignore_errors=True)
                    temporary.mkdir()
                taken.append(_compile_in_process(made, compiled, temporary))
            first, second, restarted = taken
            ours = f"ours, {versions('torch')}"
            yield Row(
                f"compiling (default), {network.name}",
                "s",
                [
                    Way(SECOND, ours, [second]),
                    Way(RESTARTED, ours, [restarted]),
                    Way(FIRST, ours, [first]),
                ],
                [Target(FIRST, most=60.0), Target(SECOND, FIRST, most=1 / 6)],
                "What the first step takes more than the second. The first run finds nothing, not "
                "even torch's precompiled headers, which torch keeps in the temporary folder; the "
                "others find what it has kept in `runs/`. Measured once, since it takes long.",
            )


def _compile_in_process(made: Project, settings: dict[str, Any], temporary: Path) -> float:
    """Seconds that the first step takes longer than the second, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != CACHE_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.compiling", str(made.folder), made.package],
        input=json.dumps(settings),
        env=environment | {"TMPDIR": str(temporary)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    first, second = json.loads(done.stdout.splitlines()[-1])
    return float(first - second)


def time_two_steps(folder: Path, package: str) -> None:
    """Print the seconds of two training steps; settings come from standard input."""
    settings = json.loads(sys.stdin.read())
    os.chdir(folder)
    sys.path.insert(0, str(folder / "src"))
    made = Project(folder, package)
    data = read(made, settings)
    batch = next(iter(data.train_dataloader()))
    steps = Steps(made, settings, data)
    print(json.dumps([seconds(lambda: steps.step(batch)) for _ in range(2)]))


# --- ragged texts --------------------------------------------------------------------------------


@benchmark("Texts of many lengths, compiled", minutes=5)
def compiling_ragged(scale: Scale) -> Iterator[Row]:
    """An epoch of batches whose texts have many lengths, and the graphs compiled for it."""
    import torch

    settings: dict[str, Any] = {"batch_size": 2 if scale.toy else 16, "max_seq_len": 256}
    with compiled_code_apart(), project("text") as made:
        data = read(made, settings)
        generator = torch.Generator().manual_seed(0)
        count, longest = (3, 16) if scale.toy else (32, 256)
        lengths = torch.randint(longest // 8, longest + 1, (count,), generator=generator).tolist()
        vocabulary, full = data.task_spec.num_outputs, settings["batch_size"]
        # the last micro-batch of an epoch has fewer samples
        batches = [_texts(full, length, vocabulary) for length in lengths]
        batches[-1] = _texts(full // 2 + 1, lengths[-1], vocabulary)
        eager = Steps(made, settings, data)
        compiled = Steps(made, settings | OTHER_SETTINGS[COMPILED], data)
        if scale.toy:
            compiled.capture_only()
        for batch in (batches[0], batches[-1]):
            found = compiled.gradients(batch)
            check_gradients(found, eager.gradients(batch), 1e-3, "ragged texts, compiled")
        if not scale.rounds:
            return

        def epoch(steps: Steps) -> Callable[[], float]:
            def all_of_them() -> None:
                for batch in batches:
                    steps.step(batch)
                    steps.adapter.compile_hook.watch()

            return lambda: len(batches) / seconds(all_of_them)

        ways = {COMPILED: epoch(compiled), EAGER: epoch(eager)}
        values = interleave(ways, Scale(min(scale.rounds, 4), scale.toy))
        hook = compiled.adapter.compile_hook
        if not hook.is_active:
            raise RuntimeError("ragged texts: compiling was given up")
        yield Row(
            f"an epoch of {count} micro-batches of {len(set(lengths))} lengths up to {longest} "
            "tokens, the text project's own GPT",
            "micro-batches/s",
            [Way(name, f"ours, {versions('torch')}", values[name]) for name in ways],
            [Target(COMPILED, EAGER, least=1.1)],
            f"Graphs compiled for all of them: {hook.graphs}. Of an eager step of texts of 128 "
            "tokens, 57 % is attention and matrix products, which compiling leaves as they are.",
        )


def _texts(samples: int, length: int, vocabulary: int) -> dict[str, Any]:
    """Texts of one length: token ids, int64 [B, T], which are the labels, too."""
    import torch

    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(vocabulary, (samples, length), generator=generator)
    ones = torch.ones(samples, length, dtype=torch.int64)
    return {"input_ids": tokens, "attention_mask": ones, "labels": tokens}


if __name__ == "__main__":
    time_two_steps(Path(sys.argv[1]), sys.argv[2])
