"""What each task on points minimises and measures."""

from __future__ import annotations

from .objective import Classification, Objective

OBJECTIVES: dict[str, Objective] = {"points_classification": Classification()}
