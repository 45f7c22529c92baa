"""metadata.json: what a bundle says about itself."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..serving.runtime import METADATA, file_hash
from ..task import TaskSpec
from .imports import distributions_of_file
from .signature import InputSignature

PACKAGE = Path(__file__).resolve().parent.parent
RECORDED = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


def describe(
    task_spec: TaskSpec, signature: InputSignature, config: Any, metrics: dict[str, float] | None
) -> dict[str, Any]:
    """All that is known before anything is exported."""
    return {
        "bundle_version": 1,
        "name": task_spec.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "modality": task_spec.modality,
        "task_type": task_spec.task_type,
        "class_names": task_spec.class_names,
        "inputs": [tensor.to_dict() for tensor in signature.tensors],
        "limits": dict(signature.limits),
        "input_schema": task_spec.input_schema,
        "preprocessing": task_spec.preprocessing_config,
        "model_config": config if config is None or isinstance(config, dict) else vars(config),
        "metrics": metrics or {},
        "git_commit": git_commit(),
        "versions": versions(),
        "architecture": None,
    }


def store_hashes(bundle: Path, metadata: dict[str, Any]) -> None:
    """Write metadata.json with hash and size of every other file there is now."""
    paths = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
    metadata["files"] = {
        path.relative_to(bundle).as_posix(): {
            "sha256": file_hash(path),
            "bytes": path.stat().st_size,
        }
        for path in paths
        if path != bundle / METADATA
    }
    write_json(bundle / METADATA, metadata)


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, in UTF-8."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of what made the artifacts, and of what makes the network's inputs."""
    found = {"python": platform.python_version()}
    reading = (PACKAGE / "preprocessing.py", PACKAGE / "data" / f"{TaskSpec.modality}.py")
    imported = (name for path in reading for name in distributions_of_file(path))
    for name in dict.fromkeys((*RECORDED, *imported)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the project in the working directory, marked where files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
