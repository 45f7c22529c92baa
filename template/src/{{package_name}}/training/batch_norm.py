"""Batch normalisation where a micro-batch has a single sample."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.module import UniversalDataModule
from ..errors import ProjectError, TrainingError
from ..user_code import USER_ERRORS
from .adapter import UniversalModelAdapter


def check_batch_norm(
    adapter: UniversalModelAdapter, data: UniversalDataModule, world_size: int
) -> None:
    """Say before training what batch normalisation would make of single samples.

    Where an image still has several positions, their statistics stand for the batch's; elsewhere
    there are none, and torch refuses.

    Args:
        adapter: holds the network; a copy of it is run.
        data: of the run.
        world_size: processes over all machines.

    Raises:
        TrainingError: the network cannot be trained on single samples.
    """
    if data.epoch_shape(world_size).smallest_micro_batch > 1:
        return
    adapter = copy.deepcopy(adapter)  # running averages stay as they are
    adapter.plan.thaw_if_ever()
    if not _uses_batches(adapter.model):
        return
    remedy = "give batch_size: 2 or more" if data.batch_size == 1 else "add training samples"
    name = type(adapter.model).__name__
    try:
        _run_on_one(adapter, data)
    except (ProjectError, *USER_ERRORS) as error:
        if "more than 1 value per channel" not in str(error):
            return  # the probe tells what else is wrong
        raise TrainingError(
            f"{name} has batch normalisation, which a micro-batch of one sample gives nothing to "
            f"average over; {remedy}"
        ) from error
    warnings.warn(
        f"{name} has batch normalisation, whose averages over one sample are poor; {remedy}",
        stacklevel=2,
    )


def _uses_batches(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) and module.training for module in model.modules())


def _run_on_one(adapter: UniversalModelAdapter, data: UniversalDataModule) -> None:
    batch = data.first_samples(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        adapter(batch)
