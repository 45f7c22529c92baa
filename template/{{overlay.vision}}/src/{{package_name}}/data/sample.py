"""The built-in sample set: 1,797 handwritten digits of scikit-learn, written as PNG files.

From: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998. 8x8 pixels, 17 shades of grey.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .new_folder import new_folder

# every fifth image validates
VALIDATION_EVERY = 5


def write_sample(destination: Path, task: str) -> int:
    """Write the digits in the layout that `task` reads; the folder appears whole or not at all.

    Classification: a folder per class. Multilabel and regression: `images/` with a manifest for
    training and one for validation; the labels are the digit and whether it is even or large
    (5 and up), the value is the share of ink, from 0 to 1.

    Returns:
        how many images were written.

    Raises:
        DataError: the destination exists or cannot be written.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    with new_folder(destination) as folder:
        if task == "vision_classification":
            _write_folders(folder, digits.images, digits.target)
        else:
            _write_manifests(folder, digits.images, digits.target, task)
    return len(digits.images)


def _write_folders(
    root: Path, images: npt.NDArray[np.float64], target: npt.NDArray[np.int64]
) -> None:
    for number, (image, digit) in enumerate(zip(images, target, strict=True)):
        folder = root / _split(number) / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        _save(image, folder / f"{number:04}.png")


def _write_manifests(
    root: Path, images: npt.NDArray[np.float64], target: npt.NDArray[np.int64], task: str
) -> None:
    (root / "images").mkdir(parents=True)
    rows: dict[str, list[list[str]]] = {"train": [], "val": []}
    for number, (image, digit) in enumerate(zip(images, target, strict=True)):
        name = f"images/{number:04}.png"
        _save(image, root / name)
        rows[_split(number)].append([name, _label(image, int(digit), task)])
    header = ["image", "labels" if task == "vision_multilabel" else "ink"]
    for split, lines in rows.items():
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])


def _label(image: npt.NDArray[np.float64], digit: int, task: str) -> str:
    if task == "vision_regression":
        return f"{image.mean() / 16:.6f}"
    extra = [name for name, holds in (("even", digit % 2 == 0), ("large", digit >= 5)) if holds]
    return ";".join([str(digit), *extra])


def _split(number: int) -> str:
    return "val" if number % VALIDATION_EVERY == 0 else "train"


def _save(image: npt.NDArray[np.float64], path: Path) -> None:
    Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(path)
