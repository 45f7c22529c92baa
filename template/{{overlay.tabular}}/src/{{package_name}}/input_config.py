"""What this modality adds to the configuration: which columns there are, and how they are read."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import field_validator
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

Task = Literal["tabular_classification", "tabular_regression", "tabular_multilabel"]
Kind = Literal["number", "category", "boolean", "date", "date_dmy", "date_mdy", "ignore"]


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only a project for tables has."""

    columns: Annotated[dict[str, Kind], Kept] = field(default_factory=dict)
    """What columns hold, by name, where it is not recognised; ignore leaves one out.

    number, category, boolean or date; date_dmy and date_mdy say what stands first of day and month.
    """

    missing_values: Annotated[list[str], Kept] = field(default_factory=list)
    """Texts that stand for a value that is missing, beside the usual ones, in any case.

    Those are an empty cell, na, n/a, #n/a, <na>, nan, nat, null, none, ?, -, -- and a point.
    """

    scaling: Annotated[Literal["quantile", "standard"], Kept] = "quantile"
    """How numbers are scaled: quantile (to a normal distribution) or standard (mean 0, std 1)."""

    group_column: Annotated[str | None, Kept] = None
    """Column of groups, such as customers: whole ones are set aside, and it is not learned from."""

    time_column: Annotated[str | None, Kept] = None
    """Column of dates or numbers; the rows with the latest are set aside."""

    target_columns: Annotated[list[str], Kept] = field(default_factory=list)
    """Columns to predict: numbers, or labels as zeros and ones; empty for one by a usual name."""

    label_separator: Annotated[str | None, Kept] = None
    """Between several labels in one text; null to recognise it."""

    rivals: bool = True
    """Train what a network must beat on the same rows: boosted trees and a linear model."""

    @field_validator("missing_values", "target_columns", mode="before")
    @classmethod
    def _texts_with_commas(cls, value: object) -> object:
        return [text.strip() for text in value.split(",")] if isinstance(value, str) else value

    def input_problems(self) -> list[str]:
        """Contradictions between the fields above, one line each."""
        problems = []
        if self.group_column and self.time_column:
            problems.append("group_column: rows are divided by time_column; give one of them")
        predicted = [name for name in self.target_columns if name in self.columns]
        if predicted:
            problems.append(f"columns: {predicted[0]!r} is predicted; leave it out of columns")
        return problems
