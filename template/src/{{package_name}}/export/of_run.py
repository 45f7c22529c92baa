"""The bundle of a run: its trained network, and all that its checkpoint tells of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console
from torch import nn

from ..config import TrainingConfig
from ..training.checkpoints import run_of
from ..training.intervals import kept_metrics
from ..training.trained_model import load_trained_model
from .bundle import create_export_bundle


def export_checkpoint(
    checkpoint: Path,
    config: TrainingConfig,
    console: Console,
    model: str | nn.Module,
    *,
    sign_key: Path | None = None,
    sbom: bool = False,
) -> Path:
    """Write the bundle of a checkpoint.

    Args:
        checkpoint: its file.
        config: its `export_*` settings say how; all others are those of the run.
        console: where progress goes.
        model: as `load_trained_model` takes it.
        sign_key: as `create_export_bundle` takes it.
        sbom: as `create_export_bundle` takes it.

    Returns:
        the bundle's folder, complete and verified.

    Raises:
        as `load_trained_model` and `create_export_bundle`.
    """
    trained = load_trained_model(checkpoint, model)
    return create_export_bundle(
        trained.model,
        None,
        trained.task_spec,
        _with_export_settings(trained.config, config),
        config.export_dir,
        architecture=trained.architecture,
        processor=trained.processor,
        metrics=trained.metrics,
        data=trained.data,
        trivial_metrics=trained.trivial_metrics,
        intervals=_intervals(checkpoint),
        run=trained.run,
        optimizer_steps=trained.optimizer_steps,
        example=trained.example,
        console=console,
        sign_key=sign_key,
        sbom=sbom,
    )


def _intervals(checkpoint: Path) -> dict[str, tuple[float, float]]:
    """Ends of the intervals that an evaluation of this very checkpoint has left with its run."""
    run_dir = run_of(checkpoint)
    kept = None if run_dir is None else kept_metrics(run_dir, "val", checkpoint)
    return {name: (found.low, found.high) for name, found in (kept or {}).items()}


def _with_export_settings(trained: TrainingConfig, asked: TrainingConfig) -> TrainingConfig:
    names = [field.name for field in fields(asked) if field.name.startswith("export_")]
    return replace(trained, **{name: getattr(asked, name) for name in names})
