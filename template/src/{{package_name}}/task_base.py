"""What a task is, as data: the base of TaskSpec, shared by every modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from .data.splits import Splits


@dataclass(frozen=True)
class Standardisation:
    """What each value to predict is like in the training rows.

    A network learns and gives `(value - mean) / std`; whoever shows its answer turns that back.

    Attributes:
        mean, std: of each value, in its own unit; `std` is 1 for a value that never changes.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain data, ready for JSON."""
        return {"mean": list(self.mean), "std": list(self.std)}


@dataclass(kw_only=True)
class BaseTaskSpec:
    """Everything that training, the parity check and inference must agree on.

    Attributes:
        name: short name of the task, for people.
        modality: kind of input; names the module in `data/` that reads it.
        task_type: what is learned; a key of `training.objectives.OBJECTIVES`.
        input_schema: shape of one input.
        output_schema: `num_outputs`, and `class_names` where outputs have names. What is known of
            the training labels beside that: of values `target_mean` and `target_std`, see
            `Standardisation`; of classes and labels `label_counts` and `train_samples`.
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

    def logits_shape(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Shape of the logits for one batch.

        Args:
            inputs: fields of the batch, the main input first.
        """
        return len(next(iter(inputs.values()))), self.num_outputs

    @property
    def image_size(self) -> Sequence[int] | None:
        """[C, H, W] where networks of pictures can take the main input; None where they cannot."""
        size: Sequence[int] | None = self.input_schema.get("image_size")
        return size

    @property
    def continues(self) -> bool:
        """Whether the network is asked again and again, to go on with what it has said."""
        return False

    @property
    def class_names(self) -> list[str]:
        """Names of the outputs, in order; empty where they have none."""
        return list(self.output_schema.get("class_names", []))

    @property
    def standardisation(self) -> Standardisation | None:
        """How the values to predict were standardised; None where there are none, or were not."""
        if "target_mean" not in self.output_schema:
            return None
        mean, std = self.output_schema["target_mean"], self.output_schema["target_std"]
        return Standardisation(tuple(mean), tuple(std))

    @property
    def label_counts(self) -> list[int] | None:
        """Training samples with each class or label; None where nobody counted them."""
        counts = self.output_schema.get("label_counts")
        return None if counts is None else list(counts)

    @property
    def train_samples(self) -> int:
        """How many training samples were counted."""
        return int(self.output_schema["train_samples"])


def class_outputs(splits: Splits) -> dict[str, Any]:
    """`output_schema` of classes or labels: what they are called, and how often each occurs.

    Args:
        splits: `train` has a column `labels`: the index of a class, or 0 and 1 for K labels.
    """
    schema: dict[str, Any] = {
        "num_outputs": len(splits.output_names),
        "class_names": list(splits.output_names),
    }
    if len(splits.train):
        labels = np.asarray(splits.train["labels"][:])
        one_class_each = labels.ndim == 1
        counts = (
            np.bincount(labels, minlength=len(splits.output_names))
            if one_class_each
            else labels.sum(axis=0).astype(np.int64)
        )
        schema |= {"label_counts": counts.tolist(), "train_samples": len(labels)}
    return schema


def value_outputs(splits: Splits) -> dict[str, Any]:
    """`output_schema` of values to predict: what they are called, and their mean and std.

    Args:
        splits: `train` has a column `labels`, float64 [K] in each row.
    """
    schema: dict[str, Any] = {
        "num_outputs": len(splits.output_names),
        "class_names": list(splits.output_names),
    }
    if len(splits.train):
        values = np.asarray(splits.train["labels"][:], dtype=np.float64)
        mean, spread = values.mean(axis=0), np.ptp(values, axis=0)
        # in units of the spread, whose squares neither overflow nor vanish
        std = ((values - mean) / np.where(spread > 0, spread, 1)).std(axis=0) * spread
        schema["target_mean"] = mean.tolist()
        schema["target_std"] = np.where(std > 0, std, 1.0).tolist()
    return schema
