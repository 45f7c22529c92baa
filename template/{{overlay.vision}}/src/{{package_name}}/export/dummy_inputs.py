"""Images to export and to check with: signature, sizes, noise, the stored example."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import preprocessing
from ..config import TrainingConfig
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

if TYPE_CHECKING:
    from .input_graph import InputGraph

# pixels
SMALL_IMAGE = 64 * 64

# names of the axes that `export_dynamic_size` leaves open
SIZES = ("height", "width")


def input_signature(task_spec: TaskSpec, config: TrainingConfig) -> InputSignature:
    """Normalised images, any number of them; of any size where the configuration says so."""
    channels, *sizes = task_spec.input_schema["image_size"]
    opened = dict.fromkeys(SIZES, "export_dynamic_size") if config.export_dynamic_size else {}
    shape = ("batch", channels, *(SIZES if opened else sizes))
    return InputSignature(
        (TensorSpec("pixel_values", "float32", shape),), limits={}, opened_by=opened
    )


def input_graph(task_spec: TaskSpec, config: TrainingConfig) -> InputGraph | None:
    """What brings decoded images to the network inside an ONNX file, where that is asked for."""
    if not config.export_preprocessing:
        return None
    # it needs onnx, which projects that export other formats do without
    from .pixels_graph import PixelsGraph

    return PixelsGraph(task_spec)


def parity_sizes(task_spec: TaskSpec, config: TrainingConfig) -> list[dict[str, int]]:
    """Sizes of the named axes at which every artifact is compared with the network."""
    _, height, width = task_spec.input_schema["image_size"]
    # more images than vectors are long, where they cost nothing
    many = [33] if height * width <= SMALL_IMAGE else []
    batches = [{"batch": batch} for batch in (1, 2, 7, *many)]
    if not config.export_dynamic_size:
        return batches
    own = {"height": height, "width": width}
    # two other sizes; most networks halve theirs five times
    larger = {"height": height + 32, "width": width + 64}
    return [batches[0] | own, batches[1] | own, batches[2] | larger, {"batch": 1} | larger]


def trace_sizes(task_spec: TaskSpec) -> dict[str, int]:
    """Sizes to export with; a size of 1 would be taken for a constant."""
    return {"batch": 2}


def random_inputs(
    task_spec: TaskSpec, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """A batch of noise, normalised as pictures are: `pixel_values` float32 [B, C, H, W].

    H and W are the task's, where `sizes` does not name them.
    """
    channels, height, width = task_spec.input_schema["image_size"]
    height, width = sizes.get("height", height), sizes.get("width", width)
    shape = (sizes["batch"], channels, height, width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()
    normalized = preprocessing.normalize(pixels, task_spec.preprocessing_config)
    return {"pixel_values": torch.from_numpy(normalized)}


def write_example(task_spec: TaskSpec, source: Path | None, folder: Path) -> Path:
    """Put the stored example into `folder`: a copy of `source`, or a drawn gradient.

    Returns:
        the file written.
    """
    if source is not None:
        return Path(shutil.copyfile(source, folder / f"example{source.suffix.lower()}"))
    height, width = 2 * task_spec.input_schema["image_size"][1], 64
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    gradient = [rows / height, columns / width, 1 - rows / height]
    pixels = np.stack([(255 * channel).astype(np.uint8) for channel in gradient], axis=-1)
    path = folder / "example.png"
    Image.fromarray(pixels).save(path)
    return path


def read_example(task_spec: TaskSpec, path: Path, processor: Any) -> dict[str, Tensor]:
    """The stored example as a batch of one.

    Raises:
        preprocessing.InvalidImage: it cannot be read.
    """
    pixels = preprocessing.read_pixels(
        path, task_spec.input_schema["image_size"], task_spec.preprocessing_config
    )
    normalized = preprocessing.normalize(pixels, task_spec.preprocessing_config)
    return {"pixel_values": torch.from_numpy(normalized[np.newaxis])}
