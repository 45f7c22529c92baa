"""What each audio task minimises and measures."""

from __future__ import annotations

from .objective import Classification, Multilabel, Objective, Regression

OBJECTIVES: dict[str, Objective] = {
    "audio_classification": Classification(),
    "audio_multilabel": Multilabel(),
    "audio_regression": Regression(),
}
