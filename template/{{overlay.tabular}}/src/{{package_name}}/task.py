"""TaskSpec of a project for tables, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .config import TrainingConfig
from .preprocessing import (
    BooleanColumn,
    CategoryColumn,
    Columns,
    DateColumn,
    Feature,
    Notation,
    NumberColumn,
    Scale,
)
from .task_base import BaseTaskSpec, class_outputs, value_outputs

if TYPE_CHECKING:
    from .data.splits import Splits

# Names under which networks ask for the main input of a batch: numbers, or categories without them.
MAIN_INPUT_NAMES = ("x", "input", "inputs", "x_num", "numbers", "x_cat", "categories")

# What the Hugging Face hub calls a task, where it has a name for it.
PIPELINE_TAGS = {
    "tabular_classification": "tabular-classification",
    "tabular_multilabel": "tabular-classification",
    "tabular_regression": "tabular-regression",
}

SPECIES = ["Adelie", "Chinstrap", "Gentoo"]


def _feature(median: float, least: float, most: float) -> Feature:
    return Feature(median, Scale((least, median, most), (-2.5, 0.0, 2.5)))


def _penguins() -> Columns:
    """Columns as those of the sample set, with the range of each number."""
    days = {"day of year": _feature(320.0, 313.0, 335.0), "year": _feature(2008, 2007, 2009)}
    return Columns(
        (
            CategoryColumn("island", ("Biscoe", "Dream", "Torgersen"), integers=False),
            BooleanColumn("clutch_completion"),
            DateColumn("date_egg", "ymd", zoned=False, parts=days, marks_missing=False),
            NumberColumn("bill_length_mm", Notation(), _feature(44.5, 32.1, 59.6), True),
            NumberColumn("bill_depth_mm", Notation(), _feature(17.3, 13.1, 21.5), True),
        )
    )


def _schema(columns: Columns) -> dict[str, Any]:
    return {
        "num_numbers": len(columns.features),
        "cardinalities": list(columns.tables.values()),
    }


@dataclass(kw_only=True)
class TaskSpec(BaseTaskSpec):
    """A task on rows of a table.

    `input_schema` holds `num_numbers`, how many numbers the network gets of a row, and
    `cardinalities`, the rows of the table of each category. `preprocessing_config` is
    `preprocessing.Columns.to_dict()`: every column with what was fitted to the training rows.
    """

    modality: str = "tabular"
    task_type: str = "tabular_classification"
    input_schema: dict[str, Any] = field(default_factory=lambda: _schema(_penguins()))
    preprocessing_config: dict[str, Any] = field(default_factory=lambda: _penguins().to_dict())

    @property
    def columns(self) -> Columns:
        """What the network was trained on."""
        return Columns.from_dict(self.preprocessing_config)

    @classmethod
    def classification_tiny(cls) -> Self:
        """The sample set: the species of a penguin."""
        return cls(
            name="classification_tiny",
            output_schema={"num_outputs": len(SPECIES), "class_names": SPECIES},
        )

    @classmethod
    def multilabel_tiny(cls) -> Self:
        """The sample set with several labels a row: what is true of a penguin."""
        names = ["female", "heavy", "long flippers", "male"]
        return cls(
            name="multilabel_tiny",
            task_type="tabular_multilabel",
            output_schema={"num_outputs": len(names), "class_names": names},
        )

    @classmethod
    def regression_tiny(cls) -> Self:
        """The sample set with a number to predict: the weight of a penguin, in grams."""
        return cls(
            name="regression_tiny",
            task_type="tabular_regression",
            output_schema={"num_outputs": 1, "class_names": ["body_mass_g"]},
        )

    @classmethod
    def preset(cls, task_type: str) -> Self:
        """The preset of a task type."""
        presets = (cls.classification_tiny(), cls.multilabel_tiny(), cls.regression_tiny())
        return next(spec for spec in presets if spec.task_type == task_type)

    @classmethod
    def from_config(cls, config: TrainingConfig, splits: Splits) -> Self:
        """The task a configuration asks for on data with these columns and outputs.

        Args:
            config: names the task.
            splits: whose processor is the `Columns` that were fitted to the training rows.
        """
        has_values = config.task == "tabular_regression"
        columns: Columns = splits.processor
        return cls(
            name=config.task,
            task_type=config.task,
            input_schema=_schema(columns),
            output_schema=value_outputs(splits) if has_values else class_outputs(splits),
            preprocessing_config=columns.to_dict(),
        )


def get_default_task_specs() -> dict[str, TaskSpec]:
    """The presets by name."""
    presets = (
        TaskSpec.classification_tiny(),
        TaskSpec.multilabel_tiny(),
        TaskSpec.regression_tiny(),
    )
    return {spec.name: spec for spec in presets}
