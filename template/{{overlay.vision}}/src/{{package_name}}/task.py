"""TaskSpec of a vision project, and its presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .config import TrainingConfig
from .task_base import BaseTaskSpec, class_outputs, value_outputs

if TYPE_CHECKING:
    from .data.splits import Splits

# Names under which networks ask for the main input of a batch, the image.
MAIN_INPUT_NAMES = ("x", "input", "inputs", "image", "images", "pixel_values")

# What the Hugging Face hub calls a task, where it has a name for it.
PIPELINE_TAGS = {
    "vision_classification": "image-classification",
    "vision_multilabel": "image-classification",
}

DIGITS = [str(digit) for digit in range(10)]


def _image(channels: int, height: int, width: int) -> dict[str, Any]:
    return {"image_size": [channels, height, width]}


def _preprocessing(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    return {
        "normalize": True,
        "mean": list(mean),
        "std": list(std),
        "resize": "crop",
        "interpolation": "bilinear",
    }


@dataclass(kw_only=True)
class TaskSpec(BaseTaskSpec):
    """A vision task.

    `input_schema` holds `image_size: [C, H, W]`; `preprocessing_config` holds `normalize`, `mean`,
    `std` (one value per channel, on the 0..1 scale), `resize` and `interpolation`, and where images
    have more than 8 bits `value_range`, the [low, high] that become black and white.
    """

    modality: str = "vision"
    task_type: str = "vision_classification"
    input_schema: dict[str, Any] = field(default_factory=lambda: _image(3, 32, 32))

    @classmethod
    def vision_tiny(cls) -> Self:
        """The sample set: handwritten digits, ten classes, 32x32 pixels."""
        return cls(
            name="vision_tiny",
            output_schema={"num_outputs": 10, "class_names": DIGITS},
            preprocessing_config=_preprocessing([0.5] * 3, [0.5] * 3),
        )

    @classmethod
    def multilabel_tiny(cls) -> Self:
        """The sample set with several labels an image: the digit, even, large."""
        names = [*DIGITS, "even", "large"]
        return cls(
            name="multilabel_tiny",
            task_type="vision_multilabel",
            output_schema={"num_outputs": len(names), "class_names": names},
            preprocessing_config=_preprocessing([0.5] * 3, [0.5] * 3),
        )

    @classmethod
    def regression_tiny(cls) -> Self:
        """The sample set with a number to predict: the share of ink."""
        return cls(
            name="regression_tiny",
            task_type="vision_regression",
            output_schema={"num_outputs": 1, "class_names": ["ink"]},
            preprocessing_config=_preprocessing([0.5] * 3, [0.5] * 3),
        )

    @classmethod
    def preset(cls, task_type: str) -> Self:
        """The preset of a task type."""
        presets = (cls.vision_tiny(), cls.multilabel_tiny(), cls.regression_tiny())
        return next(spec for spec in presets if spec.task_type == task_type)

    @classmethod
    def from_config(cls, config: TrainingConfig, splits: Splits) -> Self:
        """The task a configuration asks for on data with these classes, labels or values.

        `splits.facts` may hold the `value_range` that was measured; that of the settings wins.
        """
        # settled, by the record of pretrained weights or without
        assert config.image_size is not None
        assert config.mean is not None
        assert config.std is not None
        channels = config.image_size[0]
        value_range = config.value_range or splits.facts.get("value_range")
        has_values = config.task == "vision_regression"
        return cls(
            name=config.task,
            task_type=config.task,
            input_schema=_image(*config.image_size),
            output_schema=value_outputs(splits) if has_values else class_outputs(splits),
            preprocessing_config={
                "normalize": config.normalize,
                "mean": _per_channel(config.mean, channels),
                "std": _per_channel(config.std, channels),
                "resize": config.resize,
                "interpolation": config.interpolation,
            }
            | ({"value_range": list(value_range)} if value_range else {})
            # left out by default, as in records of before there was a choice
            | ({"jpeg_decoding": "scaled"} if config.jpeg_decoding == "scaled" else {}),
        )


def _per_channel(values: Sequence[float], channels: int) -> list[float]:
    return list(values) * channels if len(values) == 1 else list(values)


def get_default_task_specs() -> dict[str, TaskSpec]:
    """The presets by name."""
    presets = (TaskSpec.vision_tiny(), TaskSpec.multilabel_tiny(), TaskSpec.regression_tiny())
    return {spec.name: spec for spec in presets}
