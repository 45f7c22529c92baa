"""What this modality adds to the configuration: how a point reaches the network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

Task = Literal["points_classification"]


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only a project for points has."""

    dimensions: Annotated[int, Field(ge=1), Kept] = 2
    """Numbers in a point."""
