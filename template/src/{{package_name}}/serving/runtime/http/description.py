"""What the server tells of its model: the answer to `GET /model`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..engine import InferenceEngine
from .settings import Settings

# as metadata.json has them
RECORDED = (
    "created",
    "modality",
    "task_type",
    "class_names",
    "inputs",
    "outputs",
    "limits",
    "input_schema",
    "metrics",
    "intervals",
    "caveats",
    "trivial_metrics",
    "project",
    "run",
    "optimizer_steps",
    "git_commit",
    "versions",
)
# of the data; where they lay and what was left out of them is nothing for clients
OF_DATA = ("layout", "validation", "splits", "digest")


def name_of(metadata: Mapping[str, Any]) -> str:
    """What people call the model: by its project; by its task where a bundle is older than that."""
    project = metadata.get("project")
    return str(project["name"] if project else metadata["name"])


def describe(engine: InferenceEngine, settings: Settings) -> dict[str, Any]:
    """What is recorded of the model, and what this server takes.

    Args:
        engine: of this bundle.
        settings: of this server.
    """
    metadata = engine.metadata
    data = metadata.get("data", {})
    return {
        "name": name_of(metadata),
        **{name: metadata.get(name) for name in RECORDED},  # older bundles lack some
        "data": {name: data[name] for name in OF_DATA if name in data},
        "format": engine.format,
        "example": Path(metadata["example"]["input"]).name,
        "accepts": {
            "media_types": list(engine.media_types),
            "suffixes": list(engine.accepted.suffixes),
            "instance": engine.instance_schema,
            "hint": engine.hint,
            "notes": list(engine.note_names),
            "item_unit": engine.item_unit,
            "max_item_size": engine.max_item_size,
            "max_items": settings.max_items,
            "max_answer_size": settings.max_answer_size if engine.answers_run_again else None,
            "max_body_bytes": settings.max_body_bytes,
        },
    }
