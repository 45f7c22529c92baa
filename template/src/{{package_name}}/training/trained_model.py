"""A trained network, got back out of a checkpoint."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data import reading
from ..data.description import read_description
from ..data.processor import processor_from
from ..errors import TrainingError
from ..export import dummy_inputs
from ..forward import ModelSignatureInspector
from ..serving.runtime.weights import load_weights, plain, plain_names, take_precision
from ..task import TaskSpec
from .buffers import UNSAVED_BUFFERS, restore_buffers, unsaved_buffers
from .checkpoints import MODEL_PREFIX, read_checkpoint, run_of


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and everything an export needs to know about it.

    Attributes:
        model: the network with the checkpoint's weights, on the CPU, in eval mode. Values that it
            predicts are standardised as `task_spec.standardisation` says; artifacts' are not.
        task_spec: its task, class names included.
        config: settings of its run.
        architecture: how to build it again; None for a network that was given as it is.
        processor: what made numbers of its inputs, where anything was learned for that.
        metrics: validation metrics at the checkpoint.
        data: what was understood of the data it was trained on; empty where that was not kept.
        trivial_metrics: those of the answer that looks at no input.
        example: a real input file that was kept with the run; None where it was removed.
        run: name of its run; None for a checkpoint that lies in none.
        optimizer_steps: how many it was trained for; None where nobody knows.
    """

    model: nn.Module
    task_spec: TaskSpec
    config: TrainingConfig
    architecture: Architecture | None
    processor: Any
    metrics: dict[str, float]
    data: dict[str, Any]
    trivial_metrics: dict[str, float]
    example: Path | None
    run: str | None = None
    optimizer_steps: int | None = None


def load_trained_model(path: Path, model: str | nn.Module | None = None) -> TrainedModel:
    """Rebuild the network of a checkpoint.

    Args:
        path: the checkpoint.
        model: for a run whose network was given by hand, as `fine_tune` takes it: such a network,
            of which a copy gets the weights, or what builds it, as the setting `model` has it. By
            default the run's own setting builds the network; runs of `train` need no other.

    Raises:
        TrainingError: the checkpoint cannot be read, the network's code has changed since, or
            nothing says how to build it.
        ModelError: the network's code is gone.
    """
    checkpoint = read_checkpoint(path)
    config = TrainingConfig.of_run(checkpoint["config"], checkpoint["defaults"])
    task_spec = TaskSpec.from_dict(checkpoint["task_spec"])
    given = checkpoint["given_network"]
    architecture: Architecture | None = None
    if isinstance(model, nn.Module):
        network = plain(copy.deepcopy(model))
    else:
        reference = (model if given and model is not None else None) or config.model
        architecture = Architecture.kept(checkpoint["architecture"]) or Architecture.resolve(
            reference, task_spec, network_args(config)
        )
        # what the weights leave out may be random, and was drawn with this seed
        with _seeded(config.seed):
            network = plain(architecture.build())
        if given and type(network).__qualname__ != given:
            raise TrainingError(
                f"{path}: this run trained a {given} that was given to fine_tune, and `model: "
                f"{reference}` builds a {type(network).__qualname__}; set model to the function "
                "that builds it (--model PATH.py:NAME), or export from Python: "
                "load_trained_model(path, network), then create_export_bundle"
            )
    weights = _network_weights(checkpoint["state_dict"])
    try:
        take_precision(network, weights)
        load_weights(network, weights, lambda: _call(network, task_spec))
        _restore_buffers(network, checkpoint[UNSAVED_BUFFERS], task_spec)
    except RuntimeError as error:
        reason = (
            f"it was given to fine_tune, and `model: {config.model}` builds it otherwise"
            if given
            else "its code has changed since training"
        )
        raise TrainingError(f"{path} does not fit the network {config.model}: {reason}") from error
    run_dir = run_of(path)
    return TrainedModel(
        network.cpu().eval(),
        task_spec,
        config,
        architecture,
        processor_from(
            reading,
            {name: content.numpy().tobytes() for name, content in checkpoint["processor"].items()},
        ),
        checkpoint["metrics"],
        read_description(run_dir) if run_dir is not None else {},
        checkpoint["trivial_metrics"],
        next(iter(sorted(run_dir.glob("example.*"))), None) if run_dir is not None else None,
        run_dir.name if run_dir is not None else None,
        checkpoint["global_step"],
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw as training does after Lightning's `seed_everything`, whose import takes seconds."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _restore_buffers(network: nn.Module, kept: Mapping[str, Tensor], task_spec: TaskSpec) -> None:
    if kept.keys() - unsaved_buffers(network).keys():  # some are registered in the first call
        network.eval()
        with torch.no_grad():
            _call(network, task_spec)
    restore_buffers(network, kept)


def _call(network: nn.Module, task_spec: TaskSpec) -> None:
    sizes = dummy_inputs.trace_sizes(task_spec)
    batch = dummy_inputs.random_inputs(task_spec, sizes, torch.Generator().manual_seed(0))
    positional, keyword = ModelSignatureInspector(network).arguments(batch)
    network(*positional, **keyword)


def _network_weights(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The network's part of an adapter's weights, with the versions of its modules."""
    names = OrderedDict(
        (name.removeprefix(MODEL_PREFIX), value)
        for name, value in state_dict.items()
        if name.startswith(MODEL_PREFIX)
    )
    modules = getattr(state_dict, "_metadata", {})
    names._metadata = {  # type: ignore[attr-defined]
        f"{name}.".removeprefix(MODEL_PREFIX).removesuffix("."): value
        for name, value in modules.items()
        if f"{name}.".startswith(MODEL_PREFIX)
    }
    return plain_names(names)
