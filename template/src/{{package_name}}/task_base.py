"""What a task is, as data: the base of TaskSpec, shared by every modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(kw_only=True)
class BaseTaskSpec:
    """Everything that training, the parity check and inference must agree on.

    Attributes:
        name: short name of the task, for people.
        modality: kind of input; names the module in `data/` that reads it.
        task_type: what is learned; a key of `training.objectives.OBJECTIVES`.
        input_schema: shape of one input.
        output_schema: `num_outputs`, and `class_names` where outputs have names.
        preprocessing_config: how raw input becomes a tensor.
    """

    name: str = "task"
    modality: str
    task_type: str
    input_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    preprocessing_config: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: for keys that a task does not have.
        """
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown task fields: {', '.join(sorted(unknown))}")
        return cls(**data)

    @property
    def num_outputs(self) -> int:
        """Width of the network's output: classes, labels or regression values."""
        return int(self.output_schema["num_outputs"])

    @property
    def class_names(self) -> list[str]:
        """Names of the outputs, in order; empty where they have none."""
        return list(self.output_schema.get("class_names", []))
