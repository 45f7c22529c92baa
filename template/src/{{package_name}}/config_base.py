"""What the settings of every modality have in common."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

# unknown fields are refused, and a field is described by the text under it
SETTINGS = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)


@dataclass(config=SETTINGS, kw_only=True)
class BaseInputConfig:
    """Settings of how an input reaches the network; `input_config.py` derives the modality's."""

    def input_problems(self) -> list[str]:
        """Contradictions between the fields, one line each."""
        return []
