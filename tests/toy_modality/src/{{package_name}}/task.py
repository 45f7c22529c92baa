"""TaskSpec of a project for points, and its preset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .config import TrainingConfig
from .task_base import BaseTaskSpec, class_outputs

if TYPE_CHECKING:
    from .data.splits import Splits

# Names under which networks ask for the main input of a batch, the points.
MAIN_INPUT_NAMES = ("x", "input", "inputs", "points")

# What the Hugging Face hub calls a task.
PIPELINE_TAGS = {"points_classification": "tabular-classification"}


@dataclass(kw_only=True)
class TaskSpec(BaseTaskSpec):
    """A task on points; `input_schema` holds `dimensions`."""

    modality: str = "points"
    task_type: str = "points_classification"
    input_schema: dict[str, Any] = field(default_factory=lambda: {"dimensions": 2})

    @classmethod
    def points_tiny(cls) -> Self:
        """The sample set: points inside and outside a circle."""
        names = ["inside", "outside"]
        return cls(name="points_tiny", output_schema={"num_outputs": 2, "class_names": names})

    @classmethod
    def preset(cls, task_type: str) -> Self:
        """The preset of a task type."""
        return {"points_classification": cls.points_tiny()}[task_type]

    @classmethod
    def from_config(cls, config: TrainingConfig, splits: Splits) -> Self:
        """The task a configuration asks for on data with these classes."""
        return cls(
            name=config.task,
            task_type=config.task,
            input_schema={"dimensions": config.dimensions},
            output_schema=class_outputs(splits),
        )


def get_default_task_specs() -> dict[str, TaskSpec]:
    """The presets by name."""
    return {"points_tiny": TaskSpec.points_tiny()}
