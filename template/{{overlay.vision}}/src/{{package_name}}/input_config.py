"""What this modality adds to the configuration: how an image reaches the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

Task = Literal["vision_classification", "vision_multilabel", "vision_regression"]


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only a vision project has."""

    RECORDED: ClassVar[Mapping[str, Any]] = {
        "image_size": (3, 32, 32),
        "interpolation": "bilinear",
        "mean": (0.5,),
        "std": (0.5,),
    }

    SIZE_SETTING: ClassVar[str] = "image_size"
    CHANNELS_SETTING: ClassVar[str] = "an image_size of {} channels"

    image_size: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
        | None,
        Kept,
    ] = None
    """Shape of one image as [channels, height, width], in pixels; channels: 1, 3 or 4 (RGBA).

    224 or 224x192 (height x width) leaves out the channels: those of config.yaml, or 3.
    null for that of the pretrained weights' record; without such, [3, 32, 32].
    """

    resize: Annotated[Literal["stretch", "crop", "pad"], Kept] = "crop"
    """How an image is brought to that size: stretch it, crop its centre, or pad it."""

    interpolation: Annotated[Literal["nearest", "bilinear", "bicubic", "lanczos"] | None, Kept] = (
        None
    )
    """Resampling filter of the resize; null for the record's, or bilinear."""

    normalize: Annotated[bool, Kept] = True
    """Subtract `mean` and divide by `std`, per channel."""

    mean: Annotated[tuple[float, ...] | None, Kept] = None
    """Mean of each channel on the 0..1 scale, or one for all; null for the record's, or 0.5."""

    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...] | None, Kept] = None
    """Standard deviation, in the same way; null for the record's, or 0.5."""

    normalize_on: Literal["device", "collator"] = "device"
    """Where images become floats: after the transfer (a quarter of the bytes) or in the loader."""

    channels_last: bool = False
    """Lay the channels of a pixel side by side for the network, which suits most convolutions."""

    value_range: Annotated[tuple[float, float] | None, Kept] = None
    """[low, high] that become black and white in images of more than 8 bits; null: as measured."""

    jpeg_decoding: Annotated[Literal["full", "scaled"], Kept] = "full"
    """How JPEG files are decoded: all pixels, or scaled, from what their resize needs.

    scaled takes half the time or less for photos that are much larger than image_size. It leaves at
    least twice the sides of that, and pixels differ a little: by less than 1 of 255 on average.
    """

    max_pixels: Annotated[int, Field(ge=10_000)] = 100_000_000
    """Largest image, in pixels: a small file can claim to be larger than the memory."""

    augment: Literal["none", "light", "photo"] = "light"
    """Random changes to training images: light (shifts, turns) or photo (crops, flips, colour)."""

    export_dynamic_size: bool = False
    """Whether exported networks take images of any height and width; inference.py resizes still."""

    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of MixUp, which blends training images of a micro-batch and their classes; 0: never."""

    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix, which pastes a part of one into another; with mixup, chance chooses."""

    image_column: Annotated[str | None, Kept] = None
    """Column of a table that names or holds the image; null for one by a usual name."""

    target_columns: Annotated[list[str], Kept] = field(default_factory=list)
    """Columns to predict: numbers, or labels as zeros and ones; empty for all but the image's."""

    label_separator: Annotated[str | None, Kept] = None
    """Between several labels in one text of a table; null to recognise it."""

    @field_validator("image_size", mode="before")
    @classmethod
    def _sides_alone(cls, value: object) -> object:
        sides = _sides(value)
        return value if sides is None else (3, *sides)

    @field_validator("image_size", "mean", "std", "value_range", mode="before")
    @classmethod
    def _numbers_with_commas(cls, value: object) -> object:
        has_commas = isinstance(value, str) and "," in value
        return str(value).split(",") if has_commas else value

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        return [value] if isinstance(value, int | float) else value

    @classmethod
    def completed(cls, given: Mapping[str, Any], kept: Mapping[str, Any]) -> Mapping[str, Any]:
        """An image's size without channels has those of the configuration file."""
        sides, size = _sides(given.get("image_size")), kept.get("image_size")
        if sides is None or not (isinstance(size, list) and len(size) == 3):
            return given
        return {**given, "image_size": [size[0], *sides]}

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
        problems = []
        channels = None if self.image_size is None else self.image_size[0]
        if channels not in (None, 1, 3, 4):
            problems.append(f"image_size: {channels} channels; give 1 (grey), 3 (RGB) or 4 (RGBA)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and channels and len(values) not in (1, channels):
                problems.append(
                    f"{name}: {len(values)} values for {channels} channels; give 1 or {channels}"
                )
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            low, high = self.value_range
            problems.append(f"value_range: [{low:g}, {high:g}] is empty; give [low, high]")
        return problems


def _sides(value: object) -> tuple[int, int] | None:
    """Height and width where that is all that a size says: 224, or 224x192."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+)\s*[xX*]\s*(\d+)\s*", value)):
        return int(found[1]), int(found[2])
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    return None
