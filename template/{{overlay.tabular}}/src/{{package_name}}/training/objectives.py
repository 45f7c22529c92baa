"""What each tabular task minimises and measures."""

from __future__ import annotations

from .objective import Classification, Multilabel, Objective, Regression

OBJECTIVES: dict[str, Objective] = {
    "tabular_classification": Classification(),
    "tabular_multilabel": Multilabel(),
    "tabular_regression": Regression(),
}
