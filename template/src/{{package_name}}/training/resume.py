"""Whether a run can go on with the data and the network there are now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..data.account import shown
from ..data.module import UniversalDataModule
from ..errors import TrainingError
from ..task import TaskSpec
from .checkpoints import MODEL_PREFIX, read_checkpoint
from .distributed import process_rank

# settings of the task that decide what a network is shown, by their name for people
COMPARED = ("input_schema", "preprocessing_config")


def check_fits(path: Path, data: UniversalDataModule, model: nn.Module) -> None:
    """Compare data and network with a checkpoint.

    What was learned from the training data, such as the mean of a target, stays as the network
    knows it: the task takes it from the checkpoint, though the data may have grown since.

    Args:
        path: the checkpoint.
        data: as read now; its task is that of the checkpoint afterwards.
        model: the network as built now.

    Raises:
        TrainingError: another task, other classes or targets, other inputs, or another network.
        DataError: another processor, such as a tokenizer.
    """
    checkpoint = read_checkpoint(path)
    before, now = TaskSpec.from_dict(checkpoint["task_spec"]), data.task_spec
    run = f"{path} cannot be gone on with:"
    if before.task_type != now.task_type:
        raise TrainingError(f"{run} it learned {before.task_type}, not {now.task_type}")
    if before.class_names != now.class_names:
        raise TrainingError(f"{run} {_difference(before.class_names, now.class_names)}")
    if process_rank() == 0 and data.splits is not None:
        data.modality.save_processor(data.splits.processor, path.parent.parent)
    for name in COMPARED:
        problem = _changed(getattr(before, name), getattr(now, name))
        if problem:
            raise TrainingError(f"{run} {problem}")
    weights = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    if problem := _other_network(weights, model.state_dict()):
        raise TrainingError(f"{run} it holds another network, {problem}")
    data.task_spec = before


def _difference(before: Sequence[str], now: Sequence[str]) -> str:
    """What distinguishes two lists of outputs."""
    if gone := [name for name in before if name not in now]:
        return f"it learned {shown(gone)}, which the data lack now"
    if new := [name for name in now if name not in before]:
        return f"the data have {shown(new)} now, which it never saw"
    return f"its outputs are {shown(list(before))}, in that order; the data give {shown(list(now))}"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting that is another one now; what only one side knows was learned."""
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            return (
                f"{name} was {before[name]} and is {now[name]} now; give --{name} "
                f"{json.dumps(before[name])} to go on"
            )
    return None


def _other_network(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> str | None:
    """The first weight that does not fit."""
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            return f"with {name}, which the one built now lacks"
        if name not in before:
            return f"without {name}, which the one built now has"
        if before[name].shape != now[name].shape:
            return f"{name} being {list(before[name].shape)} instead of {list(now[name].shape)}"
    return None
