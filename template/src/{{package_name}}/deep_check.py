"""`data check --deep`: duplicates, and what a trained network makes of the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .config import TrainingConfig
from .data import similarity
from .data.doctor import (
    Features,
    Finding,
    Findings,
    Indices,
    Member,
    Neighbours,
    Opinion,
    Samples,
    find_duplicates,
    find_mislabels,
    find_outliers,
    find_rare_classes,
    nearest_neighbours,
    opinion_of_neighbours,
    opinion_of_plain_features,
)
from .data.module import Batch, UniversalDataModule, load_modality
from .data.splits import ENOUGH_TO_VALIDATE, Splits
from .errors import ModelError, TrainingError
from .input_config import InputConfig
from .training.adapter import UniversalModelAdapter
from .training.checkpoints import BEST, find_checkpoint
from .training.hardware import inference_device
from .training.parameters import untouched
from .training.runs import FOLDER, started
from .training.trained_model import TrainedModel, load_trained_model

# Where in a network features are taken: shares of its layers that lie before.
DEPTHS = (0.25, 0.5, 0.75, 1.0)

# Features of a layer; wider ones are projected at random.
WIDTH = 128

# With fewer labels agreed on, most of those in doubt are right.
ENOUGH_AGREEMENT = 0.85

# By how much less plain features may agree with the labels than the network and yet be asked.
LESS_AGREEMENT = 0.02

# Of each kind, and of the members of one group, how many are shown.
SHOWN, SHOWN_MEMBERS = 10, 4

CHANNELS_FIRST = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
)


def deep_check(
    splits: Splits, config: TrainingConfig, console: Console, run: Path | None = None
) -> Findings:
    """Look for what may be wrong with the samples; nothing is changed.

    Equal and nearly equal samples need no network. Probable mislabels and outliers do: that of the
    newest run, or of another one. Its findings are written to `doctor.json` in the run's folder.

    Args:
        splits: what `config.data` holds.
        config: the settings they were read with.
        console: for the progress.
        run: a run's folder; the newest by default.

    Raises:
        DataError: `doctor.json` cannot be written.
        TrainingError: the run that was named has no checkpoint that can be read.
        ModelError: its network's code is gone.
    """
    trained, notes = None, []
    if run is not None:
        trained = load_trained_model(find_checkpoint("", str(run), "best"))
    elif (run := _newest_run(config)) is None:
        notes.append("no run yet: probable mislabels and outliers can be told after `train`")
    else:
        try:
            trained = load_trained_model(find_checkpoint("", str(run), "best"))
        except (TrainingError, ModelError) as error:
            notes.append(f"the newest run was not used: {error}")
    samples = Samples(similarity.whole_samples(splits, config), similarity.where)
    similar = similarity.find_similar(samples, config, console)
    found = find_duplicates(samples, similar) + find_rare_classes(samples)
    if unread := sum(digest is None for digest in similar.digests):
        notes.append(f"{unread} samples that cannot be read were left out")
    if trained is not None:
        readable = np.flatnonzero([digest is not None for digest in similar.digests])
        judged, reservations = _judge(trained, samples, readable, config, console)
        found, notes = found + judged, notes + reservations
    used = None if trained is None else run
    findings = Findings(
        config.data, samples.sizes, None if used is None else str(used), found, notes
    )
    if used is not None:
        findings.save(used)
    return findings


def _newest_run(config: TrainingConfig) -> Path | None:
    """The newest run that has a checkpoint to look with."""
    trained = (path.parent.parent for path in Path(config.output_dir).glob(f"*/{FOLDER}/{BEST}"))
    return max(trained, key=started, default=None)


def _judge(
    trained: TrainedModel,
    samples: Samples,
    readable: Indices,
    config: TrainingConfig,
    console: Console,
) -> tuple[list[Finding], list[str]]:
    """Mislabels and outliers among the readable samples, and what to know about them."""
    if samples.labels is None:
        return [], [f"{config.task}: documents are compared; there are no labels to doubt"]
    if trained.config.task != config.task:
        return [], [f"the run learned {trained.config.task}, not {config.task}: it was not used"]
    notes = []
    if trained.config.data != config.data:
        notes.append(f"the run was trained on {trained.config.data}")
    neighbours = nearest_neighbours(features(trained, readable, config, console))
    if neighbours is None:
        return [], [*notes, "too few samples to tell mislabels and outliers"]
    outliers = find_outliers(samples, readable, neighbours)
    if not samples.has_classes:
        return outliers, [*notes, f"{config.task}: mislabels are told for single classes only"]
    opinions = _opinions(samples, readable, neighbours)
    share = opinions[0].agreement(samples.labels[readable])
    if share < ENOUGH_AGREEMENT:
        notes.append(
            f"the network agrees with {share:.0%} of the labels: many of those that it doubts are "
            "right; train a better one first"
        )
    return find_mislabels(samples, readable, opinions) + outliers, notes


def _opinions(samples: Samples, numbers: Indices, neighbours: Neighbours) -> list[Opinion]:
    """The network's, and that of plain features where it agrees with about as many labels."""
    assert samples.labels is not None
    labels, classes = samples.labels[numbers], len(samples.names)
    of_network = opinion_of_neighbours(labels, neighbours, classes)
    plain = similarity.plain_features(samples, numbers)
    if plain is None:
        return [of_network]
    second = opinion_of_plain_features(plain, labels, classes)
    least = of_network.agreement(labels) - LESS_AGREEMENT
    if second is None or second.agreement(labels) < least:
        return [of_network]
    return [of_network, second]


# --- Features ------------------------------------------------------------------------------------


@torch.inference_mode()
def features(
    trained: TrainedModel, numbers: Indices, config: TrainingConfig, console: Console
) -> Features:
    """What layers of a network at several depths make of samples: float32 [n, F].

    Each layer's output is averaged over places or tokens and brought to a mean of 0, a standard
    deviation of 1 for each feature, and the same weight as the others.

    Args:
        trained: the network.
        numbers: which samples of all splits, ascending.
        config: where the samples lie and how they are split.
        console: for the progress.
    """
    device = inference_device(config)
    adapter, loader = _network_and_batches(trained, numbers, config, device)
    layers = layers_at_depths(adapter, next(iter(loader)))
    outputs: dict[nn.Module, Tensor] = {}
    for layer in layers:
        layer.register_forward_hook(lambda module, _, output: outputs.update({module: output}))
    pooled: list[list[Tensor]] = [[] for _ in layers]
    for batch in track(
        loader,
        "Asking the network",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        adapter(batch)
        for layer, parts in zip(layers, pooled, strict=True):
            parts.append(_narrow(pool(layer, outputs[layer], batch)).cpu())
    return np.concatenate([_standardize(torch.cat(parts)) for parts in pooled], axis=1)


class _Batches:
    """Batches of a loader, brought to a device."""

    def __init__(self, loader: DataLoader[Any], device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            yield {name: value.to(self.device) for name, value in batch.items()}


def _network_and_batches(
    trained: TrainedModel, numbers: Indices, config: TrainingConfig, device: torch.device
) -> tuple[UniversalModelAdapter, _Batches]:
    """The network, and these samples as its run's own settings and processor make them."""
    own = {field.name: getattr(trained.config, field.name) for field in fields(InputConfig)}
    modality = load_modality(trained.task_spec.modality)
    splits = modality.read_splits(replace(config, **own), trained.processor)
    tables = [rows for rows in (splits.train, splits.val, splits.test) if rows is not None]
    rows = datasets.concatenate_datasets(tables).select(numbers)
    run = untouched(trained.config)  # hooks see nothing of compiled networks
    data = UniversalDataModule(
        trained.task_spec, run.batch_size, config=run, splits=replace(splits, val=rows)
    )
    adapter = UniversalModelAdapter(
        trained.model, run, trained.processor, task_spec=trained.task_spec
    )
    return adapter.eval().to(device), _Batches(data.val_dataloader(), device)


def layers_at_depths(adapter: UniversalModelAdapter, batch: Batch) -> list[nn.Module]:
    """The layers with weights after each of `DEPTHS` of them, the last one left out.

    They count in the order in which they run; the last makes the logits.
    """
    size = len(next(iter(batch.values())))
    ran: list[nn.Module] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and len(output) == size:
            ran.append(module)

    leaves = (m for m in adapter.model.modules() if not list(m.children()) and [*m.parameters()])
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    adapter(batch)
    for hook in hooks:
        hook.remove()
    inner = ran[:-1] or ran
    positions = [max(0, round(depth * len(inner)) - 1) for depth in DEPTHS]
    return list(dict.fromkeys(inner[position] for position in positions))


def pool(layer: nn.Module, output: Tensor, batch: Batch) -> Tensor:
    """Mean over places, or over tokens that are no padding: [B, ...] to float32 [B, F].

    Args:
        layer: which made the output.
        output: [B, F], [B, F, ...] or [B, ..., F].
        batch: whose `attention_mask` [B, T], where it has one, is 0 for padding.
    """
    output = output.float()
    mask = batch.get("attention_mask")
    if _has_channels_first(layer, output):
        return output.flatten(2).mean(2) if output.ndim > 2 else output
    if mask is not None and output.shape[:-1] == mask.shape:
        weights = mask.to(output.dtype)[..., None]
        return torch.div((output * weights).sum(1), weights.sum(1))
    return output.flatten(1, -2).mean(1) if output.ndim > 2 else output


def _has_channels_first(layer: nn.Module, output: Tensor) -> bool:
    if isinstance(layer, nn.LayerNorm):  # some derived ones norm the channels of convolutions
        return output.shape[-1] != layer.normalized_shape[-1]
    return isinstance(layer, CHANNELS_FIRST)


def _narrow(values: Tensor) -> Tensor:
    """At most `WIDTH` features, by a random projection that keeps distances about as they are."""
    width = values.shape[1]
    if width <= WIDTH:
        return values
    generator = torch.Generator().manual_seed(width)
    directions = torch.randn(width, WIDTH, generator=generator) / math.sqrt(WIDTH)
    return values @ directions.to(values.device)


def _standardize(values: Tensor) -> Features:
    """Mean 0 and standard deviation 1 for each feature, and a mean square of 1 for each sample."""
    centred = values - values.mean(0)
    scaled: Features = (centred / values.std(0).clamp(min=1e-6) / values.shape[1] ** 0.5).numpy()
    return scaled


# --- For people ----------------------------------------------------------------------------------


def describe(findings: Findings, shown: int = SHOWN) -> list[str]:
    """The findings in lines, at most so many of each kind."""
    duplicates = findings.of("exact_duplicates", "near_duplicates")
    within = [finding for finding in duplicates if not finding.leak]
    parts = {
        "in several splits (leaks)": [f for f in duplicates if f.leak],
        "alike, but under several labels": [f for f in within if f.contradiction],
        "alike": [f for f in within if not f.contradiction],
        "probably under a wrong label": findings.of("mislabel"),
        "far from all others": findings.of("outlier"),
        f"classes with fewer than {ENOUGH_TO_VALIDATE} samples to validate": findings.of(
            "few_samples"
        ),
    }
    lines = []
    for title, found in parts.items():
        if found:
            lines.append(f"{title}: {len(found)}")
            lines += [f"  {describe_one(finding)}" for finding in found[:shown]]
            if (more := len(found) - shown) > 0:
                lines.append(f"  and {more} more")
    return lines or ["nothing was found"]


def describe_one(finding: Finding) -> str:
    """A finding in a line."""
    if finding.kind == "few_samples":
        return f"{finding.label}: {finding.score:.0f}"
    members = [_describe_member(member) for member in finding.members[:SHOWN_MEMBERS]]
    if (more := len(finding.members) - SHOWN_MEMBERS) > 0:
        members.append(f"{more} more")
    if finding.kind == "mislabel":
        share = f"{finding.score:.0%}"
        return f"{members[0]}; rather {finding.label}, ahead by {share}"
    if finding.kind == "outlier":
        return f"{members[0]}; {finding.score:.1f} times as far as usual"
    sign = " = " if finding.kind == "exact_duplicates" else " ~ "
    likeness = "" if finding.kind == "exact_duplicates" else f"; {finding.score:.0%} alike"
    return sign.join(members) + likeness + ("; labels differ" if finding.contradiction else "")


def _describe_member(member: Member) -> str:
    about = member.split if member.label is None else f"{member.split}, {member.label}"
    return f"{member.where} ({about})"
