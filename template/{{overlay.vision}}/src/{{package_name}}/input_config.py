"""What this modality adds to the configuration: how an image reaches the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

Task = Literal["vision_classification", "vision_multilabel", "vision_regression"]


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only a vision project has."""

    image_size: Annotated[
        tuple[
            Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
        ],
        Kept,
    ] = (3, 32, 32)
    """Shape of one image as [channels, height, width], in pixels; channels: 1, 3 or 4 (RGBA)."""

    resize: Annotated[Literal["stretch", "crop", "pad"], Kept] = "crop"
    """How an image is brought to that size: stretch it, crop its centre, or pad it."""

    interpolation: Annotated[Literal["nearest", "bilinear", "bicubic", "lanczos"], Kept] = (
        "bilinear"
    )
    """Resampling filter of the resize."""

    normalize: Annotated[bool, Kept] = True
    """Subtract `mean` and divide by `std`, per channel."""

    mean: Annotated[tuple[float, ...], Kept] = (0.5,)
    """Mean of each channel on the 0..1 scale; a single value serves all channels."""

    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Kept] = (0.5,)
    """Standard deviation of each channel on the 0..1 scale; a single value serves all channels."""

    normalize_on: Literal["device", "collator"] = "device"
    """Where images become floats: after the transfer (a quarter of the bytes) or in the loader."""

    value_range: Annotated[tuple[float, float] | None, Kept] = None
    """[low, high] that become black and white in images of more than 8 bits; null: as measured."""

    max_pixels: Annotated[int, Field(ge=10_000)] = 100_000_000
    """Largest image, in pixels: a small file can claim to be larger than the memory."""

    augment: Literal["none", "light", "photo"] = "light"
    """Random changes to training images: light (shifts, turns) or photo (crops, flips, colour)."""

    image_column: Annotated[str | None, Kept] = None
    """Column of a table that names or holds the image; null for one by a usual name."""

    target_columns: Annotated[list[str], Kept] = field(default_factory=list)
    """Columns to predict: numbers, or labels as zeros and ones; empty for all but the image's."""

    label_separator: Annotated[str | None, Kept] = None
    """Between several labels in one text of a table; null to recognise it."""

    @field_validator("target_columns", mode="before")
    @classmethod
    def _columns_with_commas(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    export_preprocessing: bool = False
    """Let the ONNX file take decoded images of any size and resize and normalise them itself."""

    def export_problems(self, formats: Sequence[str]) -> list[str]:
        """Preprocessing with nowhere to go, one line."""
        if self.export_preprocessing and "onnx" not in formats:
            return ["export_preprocessing: only onnx holds it; add onnx to export_formats"]
        return []

    def input_problems(self) -> list[str]:
        """Contradictions between the fields above, one line each."""
        channels = self.image_size[0]
        problems = []
        if channels not in (1, 3, 4):
            problems.append(f"image_size: {channels} channels; give 1 (grey), 3 (RGB) or 4 (RGBA)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                problems.append(
                    f"{name}: {len(values)} values for {channels} channels; give 1 or {channels}"
                )
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            low, high = self.value_range
            problems.append(f"value_range: [{low:g}, {high:g}] is empty; give [low, high]")
        return problems
