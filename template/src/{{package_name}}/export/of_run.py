"""The bundle of a run: its trained network, and all that its checkpoint tells of it."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console
from torch import nn

from ..config import TrainingConfig
from ..training.checkpoints import run_of
from ..training.intervals import Interval, kept_metrics
from ..training.rivals import Rival, kept_rivals, verdict
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
    kept, rivals = _measured(checkpoint)
    if any(rival.is_better for rival in rivals):
        warnings.warn(f"this network is {verdict(rivals, kept)}", stacklevel=2)
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
        intervals={name: (found.low, found.high) for name, found in kept.items()},
        rivals=rivals,
        run=trained.run,
        optimizer_steps=trained.optimizer_steps,
        example=trained.example,
        console=console,
        sign_key=sign_key,
        sbom=sbom,
    )


def _measured(checkpoint: Path) -> tuple[dict[str, Interval], list[Rival]]:
    """What an evaluation of this very checkpoint has left with its run: metrics, other methods."""
    if (run_dir := run_of(checkpoint)) is None:
        return {}, []
    kept = kept_metrics(run_dir, "val", checkpoint)
    return (kept, kept_rivals(run_dir, "val", checkpoint)) if kept else ({}, [])


def _with_export_settings(trained: TrainingConfig, asked: TrainingConfig) -> TrainingConfig:
    names = [field.name for field in fields(asked) if field.name.startswith("export_")]
    return replace(trained, **{name: getattr(asked, name) for name in names})
