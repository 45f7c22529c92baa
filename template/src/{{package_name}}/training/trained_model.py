"""A trained network, got back out of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data.description import read_description
from ..data.module import load_modality, processor_from
from ..errors import TrainingError
from ..task import TaskSpec
from .checkpoints import MODEL_PREFIX, read_checkpoint, run_of


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and everything an export needs to know about it.

    Attributes:
        model: the network with the checkpoint's weights, on the CPU, in eval mode. Values that it
            predicts are standardised as `task_spec.standardisation` says; artifacts' are not.
        task_spec: its task, class names included.
        config: settings of its run.
        architecture: how to build it again.
        processor: what made numbers of its inputs, where anything was learned for that.
        metrics: validation metrics at the checkpoint.
        data: what was understood of the data it was trained on; empty where that was not kept.
        trivial_metrics: those of the answer that looks at no input.
        example: a real input file that was kept with the run; None where it was removed.
    """

    model: nn.Module
    task_spec: TaskSpec
    config: TrainingConfig
    architecture: Architecture
    processor: Any
    metrics: dict[str, float]
    data: dict[str, Any]
    trivial_metrics: dict[str, float]
    example: Path | None


def load_trained_model(path: Path) -> TrainedModel:
    """Rebuild the network of a checkpoint.

    Raises:
        TrainingError: the checkpoint cannot be read, or the network's code has changed since.
        ModelError: the network's code is gone.
    """
    checkpoint = read_checkpoint(path)
    config = TrainingConfig.of_run(checkpoint["config"], checkpoint["defaults"])
    task_spec = TaskSpec.from_dict(checkpoint["task_spec"])
    architecture = Architecture.resolve(config.model, task_spec, network_args(config))
    model = architecture.build()
    weights = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"{path} does not fit the network {config.model}: its code has changed since training"
        ) from error
    run_dir = run_of(path)
    modality = load_modality(task_spec.modality)
    return TrainedModel(
        model.eval(),
        task_spec,
        config,
        architecture,
        processor_from(
            modality,
            {name: content.numpy().tobytes() for name, content in checkpoint["processor"].items()},
        ),
        checkpoint["metrics"],
        read_description(run_dir) if run_dir is not None else {},
        checkpoint["trivial_metrics"],
        next(iter(sorted(run_dir.glob("example.*"))), None) if run_dir is not None else None,
    )
