"""All places; importing a part of them adds it to the table."""

from __future__ import annotations

from . import places_environment, places_folders, places_git, places_moments
from .places import PLACES

PARTS = (places_environment, places_folders, places_git, places_moments)

__all__ = ["PARTS", "PLACES"]
