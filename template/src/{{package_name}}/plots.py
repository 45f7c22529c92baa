"""Pictures that several modalities draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


def confusion(
    labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], names: list[str]
) -> Figure:
    """How often each class (row) is taken for each other (column).

    Args:
        labels: [N], the true classes.
        logits: [N, K].
        names: of the K classes.
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    size = min(12.0, 3 + 0.4 * len(names))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= 40:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(len(names)), names)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    return figure
