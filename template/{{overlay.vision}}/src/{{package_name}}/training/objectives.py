"""What each vision task minimises and measures."""

from __future__ import annotations

from .objective import Classification, Multilabel, Objective, Regression

OBJECTIVES: dict[str, Objective] = {
    "vision_classification": Classification(),
    "vision_multilabel": Multilabel(),
    "vision_regression": Regression(),
}
