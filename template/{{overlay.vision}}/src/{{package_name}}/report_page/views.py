"""How images are shown in a report."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..data.vision import make_dataset
from ..evaluation import Evaluation, Measured
from ..training.trained_model import TrainedModel
from .elements import View
from .page import Section

if TYPE_CHECKING:
    import datasets

# longest side of a picture, in pixels; smaller images are shown as they are
SIDE = 96


def view(measured: Measured, rows: datasets.Dataset, number: int) -> View:
    """An image as the network gets it.

    Args:
        measured: what is shown a sample, and how that is read.
        rows: of a split.
        number: of the row, from 0.

    Raises:
        DataError: its file cannot be read any more.
    """
    images = make_dataset(rows, measured.task_spec, measured.config, training=False)
    return View(picture=_address(images[0, number]["pixel_values"].numpy()))


def augmented(
    trained: TrainedModel, rows: datasets.Dataset, number: int
) -> tuple[View, View] | None:
    """A training image before and after random changes, as in the first epoch.

    Args:
        trained: the network.
        rows: to train on.
        number: of the row, from 0.

    Returns:
        None where the settings ask for no changes.

    Raises:
        DataError: its file cannot be read any more.
    """
    if trained.config.augment == "none":
        return None
    images = make_dataset(rows, trained.task_spec, trained.config, training=True)
    changed = images[0, number]["pixel_values"].numpy()
    return view(trained, rows, number), View(picture=_address(changed))


def own_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """None: classes, labels and values are all that is predicted of images."""
    return []


def _address(pixels: npt.NDArray[np.uint8]) -> str:
    """A small picture of uint8 [C, H, W] as an address; of many channels the first are shown."""
    shown = pixels[:3] if len(pixels) >= 3 else pixels[:1]
    image = Image.fromarray(shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0))
    image.thumbnail((SIDE, SIDE))
    # few pixels are smallest as they are, photos as JPEG
    is_small = image.width * image.height <= 48 * 48
    buffer = io.BytesIO()
    if is_small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=75)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
