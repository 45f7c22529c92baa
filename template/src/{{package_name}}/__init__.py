"""A PyTorch training project: data, training, export and serving.

The names below are the programming interface; they are imported on first use, because torch and
Lightning take seconds to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import TrainingConfig as TrainingConfig
    from .data.module import UniversalDataModule as UniversalDataModule
    from .export.bundle import create_export_bundle as create_export_bundle
    from .task import TaskSpec as TaskSpec
    from .task import get_default_task_specs as get_default_task_specs
    from .training.adapter import UniversalModelAdapter as UniversalModelAdapter
    from .training.loop import fine_tune as fine_tune
    from .training.loop import test_fine_tuning as test_fine_tuning
    from .training.loop import train as train
    from .training.metrics import MetricsTracker as MetricsTracker

_HOMES = {
    "TrainingConfig": "config",
    "UniversalDataModule": "data.module",
    "create_export_bundle": "export.bundle",
    "TaskSpec": "task",
    "get_default_task_specs": "task",
    "UniversalModelAdapter": "training.adapter",
    "fine_tune": "training.loop",
    "test_fine_tuning": "training.loop",
    "train": "training.loop",
    "MetricsTracker": "training.metrics",
}

__all__ = [
    "MetricsTracker",
    "TaskSpec",
    "TrainingConfig",
    "UniversalDataModule",
    "UniversalModelAdapter",
    "create_export_bundle",
    "fine_tune",
    "get_default_task_specs",
    "test_fine_tuning",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
