"""TaskSpec of an audio project, and its presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .config import TrainingConfig
from .preprocessing import Preprocessing
from .task_base import BaseTaskSpec, class_outputs, value_outputs

if TYPE_CHECKING:
    from .data.splits import Splits

# Names under which networks ask for the main input of a batch, the sound.
MAIN_INPUT_NAMES = (
    "x",
    "input",
    "inputs",
    "features",
    "input_features",
    "input_values",
    "spectrogram",
    "waveform",
    "audio",
)

# What the Hugging Face hub calls a task, where it has a name for it.
PIPELINE_TAGS = {
    "audio_classification": "audio-classification",
    "audio_multilabel": "audio-classification",
}

# in the order of folders
WORDS = sorted(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@dataclass(kw_only=True)
class TaskSpec(BaseTaskSpec):
    """An audio task.

    `input_schema` holds `input_shape`, of one input: [channels, bands, frames], or [samples] of raw
    sound. `preprocessing_config` holds the attributes of `preprocessing.Preprocessing`.
    """

    modality: str = "audio"
    task_type: str = "audio_classification"
    input_schema: dict[str, Any] = field(
        default_factory=lambda: {"input_shape": list(Preprocessing().shape)}
    )
    preprocessing_config: dict[str, Any] = field(default_factory=lambda: asdict(Preprocessing()))

    @property
    def preprocessing(self) -> Preprocessing:
        """How a sound becomes the network's input."""
        return Preprocessing.from_config(self.preprocessing_config)

    @property
    def input_name(self) -> str:
        """What a batch calls the network's input."""
        is_raw = self.preprocessing_config["features"] == "waveform"
        return "waveform" if is_raw else "features"

    @property
    def image_size(self) -> Sequence[int] | None:
        """A spectrogram is a picture of one channel; raw sound is none."""
        shape: list[int] = self.input_schema["input_shape"]
        return shape if len(shape) > 1 else None

    @classmethod
    def audio_tiny(cls) -> Self:
        """The sample set: spoken digits, ten classes, a second each."""
        return cls(
            name="audio_tiny",
            output_schema={"num_outputs": len(WORDS), "class_names": list(WORDS)},
        )

    @classmethod
    def multilabel_tiny(cls) -> Self:
        """The sample set with several labels a sound: the digit, woman, noisy."""
        names = sorted([*WORDS, "noisy", "woman"])
        return cls(
            name="multilabel_tiny",
            task_type="audio_multilabel",
            output_schema={"num_outputs": len(names), "class_names": names},
        )

    @classmethod
    def regression_tiny(cls) -> Self:
        """The sample set with a number to predict: how many seconds a word lasts."""
        return cls(
            name="regression_tiny",
            task_type="audio_regression",
            output_schema={"num_outputs": 1, "class_names": ["seconds"]},
        )

    @classmethod
    def preset(cls, task_type: str) -> Self:
        """The preset of a task type."""
        presets = (cls.audio_tiny(), cls.multilabel_tiny(), cls.regression_tiny())
        return next(spec for spec in presets if spec.task_type == task_type)

    @classmethod
    def from_config(cls, config: TrainingConfig, splits: Splits) -> Self:
        """The task a configuration asks for on data with these classes, labels or values."""
        preprocessing = config.preprocessing
        has_values = config.task == "audio_regression"
        return cls(
            name=config.task,
            task_type=config.task,
            input_schema={"input_shape": list(preprocessing.shape)},
            output_schema=value_outputs(splits) if has_values else class_outputs(splits),
            preprocessing_config=asdict(preprocessing),
        )


def get_default_task_specs() -> dict[str, TaskSpec]:
    """The presets by name."""
    presets = (TaskSpec.audio_tiny(), TaskSpec.multilabel_tiny(), TaskSpec.regression_tiny())
    return {spec.name: spec for spec in presets}
