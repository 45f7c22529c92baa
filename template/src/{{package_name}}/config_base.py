"""What the settings of every modality have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, get_args, get_type_hints

from pydantic import ConfigDict, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

# unknown fields are refused, and a field is described by the text under it
SETTINGS = ConfigDict(
    extra="forbid",
    use_attribute_docstrings=True,
    validate_assignment=True,
    allow_inf_nan=False,
)


class Kept:
    """Marks the type of a setting that a run keeps when it is resumed; all others may change.

    It decides what is learned, from which samples, or what the network is shown.
    """


@dataclass(config=SETTINGS, kw_only=True)
class BaseInputConfig:
    """Settings of how an input reaches the network; `input_config.py` derives the modality's."""

    RECORDED: ClassVar[Mapping[str, Any]] = {}
    """Settings that come from the record of pretrained weights, and what they are without."""

    SIZE_SETTING: ClassVar[str] = "input"
    """What to make larger where a network's layers shrink an input to nothing."""

    CHANNELS_SETTING: ClassVar[str] = "inputs of {} channels"
    """What to give where a network takes another number of channels, a place for that in it."""

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        hints = type_hints(cls)  # type: ignore[arg-type]  # mypy takes the class for its instances
        # what a library's function takes is for that library to check
        hint = hints[info.field_name or ""]
        takes_truth = hint in (bool, dict[str, Any]) or any(c is True for c in get_args(hint))
        if not takes_truth and _holds_truth(value):
            raise ValueError("should not be true or false")
        return value

    @classmethod
    def completed(cls, given: Mapping[str, Any], kept: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings from a command line, with what they leave to the configuration file.

        Args:
            given: on the command line.
            kept: in the file.
        """
        return given

    def input_problems(self) -> list[str]:
        """Contradictions between the fields, one line each."""
        return []

    def export_problems(self, formats: Sequence[str]) -> list[str]:
        """Contradictions between the fields and the formats to export, one line each."""
        return []


@cache
def type_hints(config: type[BaseInputConfig]) -> dict[str, Any]:
    """Types of all settings, by name; worked out once."""
    return get_type_hints(config)


def _holds_truth(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_truth, value))
    if isinstance(value, Mapping):
        return any(map(_holds_truth, value.values()))
    return isinstance(value, bool)
