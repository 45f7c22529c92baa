"""Going on with a run: from which checkpoint, with which settings, data and network, and where."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from ..architecture import Architecture
from ..config import TrainingConfig, read_mapping
from ..data.account import shown
from ..data.module import UniversalDataModule, load_modality
from ..data.order import Position
from ..data.processor import processor_files, processor_from
from ..errors import ConfigError, TrainingError
from ..task import TaskSpec
from .buffers import UNSAVED_BUFFERS
from .checkpoints import MODEL_PREFIX, find_checkpoint, read_checkpoint, run_of
from .objective import Monitor
from .run_folder import slurm_run_dir
from .runs import SETTINGS_FILE

# settings of the task that decide what a network is shown, by their name for people
COMPARED = ("input_schema", "preprocessing_config")


@dataclass(frozen=True)
class Resumed:
    """What a run goes on from; all that a checkpoint tells but for the weights.

    Attributes:
        path: the checkpoint.
        run_dir: the run's folder, in which it goes on; None for a checkpoint that lies elsewhere,
            from which a new run begins.
        run_id: names the run in its checkpoints.
        config: settings it was written with, plain data.
        defaults: what settings left out meant then.
        task_spec: its task.
        shapes: of the network's weights, by name.
        unsaved: names of its buffers that a state dict leaves out.
        processor: files of what makes the inputs, where anything was learned for that.
        position: where training stands.
        steps: optimizer steps taken.
        rows: written to metrics.csv.
        architecture: of a library's network; None for code, which is looked up again.
        record: what validations have said so far, plain data.
    """

    path: Path
    run_dir: Path | None
    run_id: str
    config: dict[str, Any]
    defaults: dict[str, Any]
    task_spec: TaskSpec
    shapes: Mapping[str, torch.Size]
    unsaved: Collection[str]
    processor: Mapping[str, bytes]
    position: Position
    steps: int
    rows: int
    architecture: Architecture | None
    record: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Look into a checkpoint.

        Raises:
            TrainingError: it cannot be read.
        """
        checkpoint = read_checkpoint(path)
        weights = checkpoint["state_dict"]
        return cls(
            path,
            run_of(path),
            checkpoint["run_id"],
            checkpoint["config"],
            checkpoint["defaults"],
            TaskSpec.from_dict(checkpoint["task_spec"]),
            {
                name.removeprefix(MODEL_PREFIX): value.shape
                for name, value in weights.items()
                if name.startswith(MODEL_PREFIX)
            },
            checkpoint[UNSAVED_BUFFERS].keys(),
            {name: content.numpy().tobytes() for name, content in checkpoint["processor"].items()},
            Position(**checkpoint[UniversalDataModule.__qualname__]),
            checkpoint["global_step"],
            checkpoint["tracker"]["rows"],
            Architecture.kept(checkpoint["architecture"]),
            checkpoint["record"],
        )

    @property
    def kept(self) -> set[str]:
        """Names of all tensors that there are of the network."""
        return {*self.shapes, *self.unsaved}

    @property
    def monitor(self) -> Monitor | None:
        """What the run's best checkpoint goes by; None before its first validation."""
        best = self.record["best"]
        return None if best is None else Monitor(best["metric"], best["mode"])

    def load_processor(self) -> Any:
        """What makes the inputs; None where nothing was learned for that."""
        return processor_from(load_modality(self.task_spec.modality), self.processor)


def find_resumed(config: TrainingConfig) -> Resumed | None:
    """Where to go on: as configured, or where SLURM's requeue interrupted this very run.

    Raises:
        TrainingError: nothing there that can be gone on with.
    """
    if config.resume is not None:
        return Resumed.read(find_checkpoint(config.output_dir, config.resume))
    requeued = slurm_run_dir(config)
    return None if requeued is None else Resumed.read(find_checkpoint("", str(requeued)))


# --- Settings ------------------------------------------------------------------------------------


def resumed_config(config: TrainingConfig, given: Mapping[str, Any]) -> TrainingConfig:
    """Settings to go on with: the run's own; only those on the command line win over them.

    They are those of the folder's config.yaml, or where that is damaged of the checkpoint.

    Args:
        config: of the project; says what to resume.
        given: settings on the command line.

    Raises:
        ConfigError: a setting of the run is not known any more, or is not to be changed.
        TrainingError: nothing to resume.
    """
    assert config.resume is not None
    resumed = Resumed.read(find_checkpoint(config.output_dir, config.resume))
    own = TrainingConfig.of_run(_own_settings(resumed), resumed.defaults)
    wanted = TrainingConfig.from_dict({**own.to_dict(), **given} | {"resume": str(resumed.path)})
    check_settings(resumed, wanted)
    _say_what_is_unused(config.to_dict(), own.to_dict(), given)
    return wanted


def _own_settings(resumed: Resumed) -> Mapping[str, Any]:
    if resumed.run_dir is None:
        return resumed.config
    path = resumed.run_dir / SETTINGS_FILE
    try:
        kept = read_mapping(path)
    except ConfigError as error:
        problem = str(error)
    else:
        lacking = sorted(resumed.config.keys() - kept.keys())
        if not lacking:
            return kept
        problem = f"{path} is cut short: it lacks {shown(lacking)}"
    warnings.warn(f"{problem}; taking the settings in {resumed.path}", stacklevel=2)
    return resumed.config


def _say_what_is_unused(
    project: Mapping[str, Any], own: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    # what pretrained weights settle is left open in a project's settings
    open_ = {"head": None, **TrainingConfig.from_dict({}).to_dict()}
    settled = {"head", *TrainingConfig.RECORDED}
    differing = [
        f"{name} {json.dumps(value)} (the run has {json.dumps(own[name])})"
        for name, value in project.items()
        if name not in given and name != "resume" and value != own[name]
        if not (name in settled and value in (None, open_[name]))
    ]
    if differing:
        warnings.warn(
            f"a run goes on with its own settings; config.yaml's are not used: "
            f"{', '.join(differing)}; give them on the command line to change them",
            stacklevel=2,
        )


def check_settings(resumed: Resumed, config: TrainingConfig) -> None:
    """Refuse settings that a run keeps for its whole life.

    Raises:
        ConfigError: one line for each that differs.
    """
    before, now = resumed.defaults | resumed.config, config.to_dict()
    problems = [
        f"{name}: this run began with {json.dumps(before[name])} and keeps it; leave it out, or "
        "start a new run"
        for name in TrainingConfig.kept_on_resume()
        if name in before and before[name] != now[name]
    ]
    if problems:
        raise ConfigError(problems)


# --- Data and network ----------------------------------------------------------------------------


def check_fits(resumed: Resumed, data: UniversalDataModule, model: nn.Module) -> None:
    """Compare data and network with a checkpoint.

    What was learned from the training data, such as the mean of a target, stays as the network
    knows it: the task takes it from the checkpoint, though the data may have grown since.

    Args:
        resumed: what to go on from.
        data: as read now; its task is that of the checkpoint afterwards.
        model: the network as built now.

    Raises:
        TrainingError: another task, other classes or targets, other inputs, another processor, such
            as a tokenizer, or another network.
    """
    before, now = resumed.task_spec, data.task_spec
    run = f"{resumed.path} cannot be gone on with:"
    if before.task_type != now.task_type:
        raise TrainingError(f"{run} it learned {before.task_type}, not {now.task_type}")
    if before.class_names != now.class_names:
        raise TrainingError(f"{run} {_difference(before.class_names, now.class_names)}")
    if processor_files(data.modality, data.processor) != resumed.processor:
        raise TrainingError(f"{run} its inputs were made by another processor")
    for name in COMPARED:
        problem = _changed(getattr(before, name), getattr(now, name))
        if problem:
            raise TrainingError(f"{run} {problem}")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if problem := _other_network(resumed.shapes, shapes):
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


def _other_network(before: Mapping[str, torch.Size], now: Mapping[str, torch.Size]) -> str | None:
    """The first weight that does not fit."""
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            return f"with {name}, which the one built now lacks"
        if name not in before:
            return f"without {name}, which the one built now has"
        if before[name] != now[name]:
            return f"{name} being {list(before[name])} instead of {list(now[name])}"
    return None


# --- Position ------------------------------------------------------------------------------------


def inexactness(
    resumed: Resumed, config: TrainingConfig, data: UniversalDataModule, world_size: int
) -> str | None:
    """What the epoch in progress will have that an uninterrupted one had not; None for nothing.

    Args:
        resumed: what to go on from.
        config: present settings.
        data: of the run.
        world_size: processes now.
    """
    position, shape = resumed.position, data.epoch_shape(world_size)
    if not position.samples:
        return None
    place = f"epoch {position.epoch + 1}, of which {position.samples} samples are done"
    was_balanced = (resumed.defaults | resumed.config)["balanced_sampling"]
    if shape.size != position.size or was_balanced != config.balanced_sampling:
        return (
            f"{place}, goes on in another order, as the samples or balanced_sampling have changed: "
            "some are trained on twice in it, and others not at all"
        )
    epoch, start = shape.go_on(position)
    if epoch > position.epoch:
        if left := shape.size - position.samples - shape.left_out:
            return f"{place}, ends there: the {left} left are too few for each of the processes"
        return None
    is_boundary = shape.used(start.micro_batch) == start.samples
    if is_boundary and start.micro_batch % config.gradient_accumulation_steps == 0:
        return None
    return (
        f"{place}, goes on inside what is an optimizer step with the present batch_size, "
        "gradient_accumulation_steps and processes: its first one takes fewer samples"
    )


def move_loops(loops: dict[str, Any], epoch: int, micro_batch: int) -> None:
    """Let Lightning's loops go on at a micro-batch of an epoch, both counted from 0.

    They count micro-batches, of which there are more or fewer with another batch size. What they
    would hold is written down anew: before an epoch, or behind a micro-batch within one, whose
    last counter is raised after the hook that saves.

    Args:
        loops: state of the fit loop; changed in place.
        epoch: in which to go on.
        micro_batch: the first one to take.
    """
    is_within = micro_batch > 0
    finished = {"processed": epoch, "completed": epoch}
    begun = {"ready": epoch + is_within, "started": epoch + is_within}
    for counts in loops["epoch_progress"].values():
        counts.update(begun | finished)
    batches = loops["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    for counts, done in ((batches["current"], micro_batch), (batches["total"], None)):
        count = counts["ready"] if done is None else done
        counts.update(ready=count, started=count, processed=count, completed=count - int(is_within))
