"""Pictures of how a trained network does on its validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from .data.doctor import Findings, Samples
from .data.module import UniversalDataModule
from .data.similarity import where
from .data.vision import ImageDataset, make_dataset, read_splits
from .errors import DataError
from .plots import confusion
from .training.adapter import UniversalModelAdapter
from .training.parameters import untouched
from .training.trained_model import TrainedModel

# enough to see how the network does; a large validation set would make the report slow
MAX_IMAGES = 2000
GALLERY = 24


@dataclass(frozen=True)
class Evaluation:
    """Validation images with what the network says of them.

    Attributes:
        images: them and perhaps more, in the same order, as uint8 pixels.
        labels: int64 [N], float32 [N, K], or float64 [N, K] of values.
        outputs: [N, K]: float32 logits, or float64 values in the unit of the labels.
    """

    images: ImageDataset
    labels: npt.NDArray[Any]
    outputs: npt.NDArray[Any]


def evaluation_figures(trained: TrainedModel) -> list[tuple[str, Figure]]:
    """Titles and figures that fit the task; none where the data are gone."""
    try:
        evaluation = evaluate(trained)
    except DataError:
        return []
    names = trained.task_spec.class_names
    if trained.task_spec.task_type == "vision_classification":
        return [
            (
                "Confusion on validation images",
                confusion(evaluation.labels, evaluation.outputs, names),
            ),
            (
                "Hardest validation images: true class and its probability",
                gallery(evaluation, names),
            ),
        ]
    if trained.task_spec.task_type == "vision_multilabel":
        return [("Labels found and missed", label_bars(evaluation, names))]
    return [("Predicted against true values", scatter(evaluation, names))]


def doctor_figures(trained: TrainedModel, findings: Findings) -> list[tuple[str, Figure]]:
    """The images that are probably under a wrong label; none where the data are gone or others."""
    doubted = findings.of("mislabel")[:GALLERY]
    if not doubted or findings.data != trained.config.data:
        return []
    try:
        splits = UniversalDataModule.from_config(trained.config).splits
        assert splits is not None
        samples = Samples(splits, where)
        cells = []
        for finding in doubted:
            [member] = finding.members
            rows = samples.tables[member.split]
            if member.row >= len(rows) or where(rows[member.row], member.row, None) != member.where:
                return []  # the samples have changed since
            images = make_dataset(rows, trained.task_spec, trained.config, training=False)
            title = f"{member.label}, rather {finding.label}"
            cells.append((images[0, member.row]["pixel_values"].numpy(), title, "firebrick"))
    except DataError:
        return []
    return [("Images that are probably under a wrong label", _grid(cells))]


@torch.inference_mode()
def evaluate(trained: TrainedModel) -> Evaluation:
    """Run the network over the first validation images.

    Raises:
        DataError: the data cannot be read any more.
    """
    task_spec, config = trained.task_spec, trained.config
    splits = read_splits(config)
    data = UniversalDataModule(task_spec, config.batch_size, config=config, splits=splits)
    adapter = UniversalModelAdapter(trained.model, untouched(config), task_spec=task_spec)
    adapter.eval()
    labels, outputs, seen = [], [], 0
    for batch in data.val_dataloader():
        labels.append(batch["labels"].numpy())
        outputs.append(adapter(batch).float().numpy())
        seen += len(labels[-1])
        if seen >= MAX_IMAGES:
            break
    images = make_dataset(splits.val, task_spec, config, training=False)
    found = np.concatenate(labels), np.concatenate(outputs)
    if (standardisation := task_spec.standardisation) is not None:
        mean, std = np.array(standardisation.mean), np.array(standardisation.std)
        return Evaluation(images, *(values * std + mean for values in found))
    return Evaluation(images, *found)


def gallery(evaluation: Evaluation, names: list[str]) -> Figure:
    """The images whose true class got the lowest probability, worst first."""
    logits = torch.from_numpy(evaluation.outputs)
    probabilities = logits.softmax(1).numpy()
    true = probabilities[np.arange(len(probabilities)), evaluation.labels]
    worst = np.argsort(true)[:GALLERY]
    cells = []
    for index in worst:
        predicted = int(probabilities[index].argmax())
        label = int(evaluation.labels[index])
        pixels = evaluation.images[0, int(index)]["pixel_values"].numpy()
        title, colour = f"{names[label]} {true[index]:.0%}", "black"
        if predicted != label:
            title = f"{title}, not {names[predicted]} {probabilities[index, predicted]:.0%}"
            colour = "firebrick"
        cells.append((pixels, title, colour))
    return _grid(cells)


def _grid(cells: list[tuple[npt.NDArray[np.uint8], str, str]]) -> Figure:
    """Pictures, uint8 [C, H, W], eight in a row, each with a title and its colour."""
    rows = -(-len(cells) // 8)
    figure = Figure(figsize=(10, 1.9 * rows), layout="constrained")
    places = figure.subplots(rows, 8, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, (pixels, title, colour) in zip(places, cells, strict=False):
        axes.imshow(_displayable(pixels), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=8, color=colour)
    return figure


def label_bars(evaluation: Evaluation, names: list[str]) -> Figure:
    """For each label: how often it applies, and how often it is rightly and wrongly found."""
    found, true = evaluation.outputs > 0, evaluation.labels > 0.5
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    for offset, (title, counts) in enumerate(
        (
            ("applies", true.sum(0)),
            ("found rightly", (found & true).sum(0)),
            ("found wrongly", (found & ~true).sum(0)),
        )
    ):
        axes.bar(places + 0.27 * (offset - 1), counts, width=0.27, label=title)
    axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 5 else 0)
    axes.set_ylabel("images")
    axes.legend()
    return figure


def scatter(evaluation: Evaluation, names: list[str]) -> Figure:
    """Predicted over true values; on the line they agree."""
    figure = Figure(figsize=(4 * min(3, len(names)), 4), layout="constrained")
    for index, (axes, name) in enumerate(
        zip(figure.subplots(1, min(3, len(names)), squeeze=False)[0], names, strict=False)
    ):
        true, predicted = evaluation.labels[:, index], evaluation.outputs[:, index]
        axes.plot(true, predicted, ".", alpha=0.5)
        axes.axline((float(true.mean()), float(true.mean())), slope=1, color="grey", lw=1)
        axes.set(title=name, xlabel="true", ylabel="predicted")
    return figure


def _displayable(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
