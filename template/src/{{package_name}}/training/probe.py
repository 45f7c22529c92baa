"""One real micro-batch before the first epoch: does this network fit this task?

What would go wrong in an hour, or in the export, goes wrong here in a second, in a line that says
what was seen, what was wanted, and where.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..config import TrainingConfig
from ..data.module import Batch, UniversalDataModule
from ..errors import ModelError, ProjectError
from ..forward import LABELS
from ..user_code import USER_ERRORS, place_of, reason
from .adapter import UniversalModelAdapter
from .buffers import unsaved_buffers
from .compilation import unchanged
from .distributed import FIND_UNUSED
from .parameters import untouched

# samples of the micro-batch, enough for batch normalisation
SAMPLES = 3

# parameters that an error names
MOST_SHOWN = 3

# what a module may change in itself while it runs, besides tensors and modules
COUNTED = (bool, int, float, str, tuple, list, dict, set, type(None))
TORCHS_OWN = frozenset(vars(nn.Module()))

# what convolutions and poolings say of an input that they have shrunk too far
TOO_SMALL = ("Kernel size can't be greater than actual input size", "Output size is too small")

_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")


# --- Before anything looks at the weights --------------------------------------------------------


def check_kind(model: nn.Module) -> None:
    """Refuse what cannot be trained, whatever its input.

    Raises:
        ModelError: TorchScript, no parameters, some without values, or all of them frozen.
    """
    name = type(model).__name__
    scripted = [module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        original = getattr(scripted[0], "original_name", name)
        raise ModelError(
            f"{original} is TorchScript, which can neither be compiled nor exported again; give "
            "the Python code that it was made from, and its weights as a state_dict"
        )
    parameters = list(model.parameters())
    if not parameters:
        raise ModelError(f"{name} has no parameters, so there is nothing to train")
    if empty := [key for key, value in _tensors(model) if value.is_meta]:
        raise ModelError(
            f"{name} has weights without values ({_some(empty)}), on the device meta; build it on "
            "the CPU, or fill them as it is built"
        )
    if not any(parameter.requires_grad for parameter in parameters):
        raise ModelError(
            f"all {len(parameters)} parameters of {name} are frozen (requires_grad is False), so "
            "there is nothing to train; leave its last layer trainable at least"
        )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def materialise(model: nn.Module, data: UniversalDataModule, kept: Collection[str] = ()) -> None:
    """Give lazy layers their sizes, and a network what it has from its first call on.

    It is called where it needs that, with a batch in evaluation mode.

    Args:
        model: the network; changed in place.
        data: of the run.
        kept: names of tensors that a checkpoint has of it.

    Raises:
        ModelError: the network cannot take the batch.
    """
    there = {*model.state_dict(), *unsaved_buffers(model)}
    if there.issuperset(kept) and not any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        return
    modes = [(module, module.training) for module in model.modules()]
    plain = untouched(data.config)
    adapter = UniversalModelAdapter(model, plain, task_spec=data.task_spec).eval()
    with torch.no_grad():
        _call(adapter, first_batch(data, adapter.device))
    for module, training in modes:
        module.training = training


# --- The probe -----------------------------------------------------------------------------------


def probe(adapter: UniversalModelAdapter, data: UniversalDataModule, trainer: Trainer) -> None:
    """Run a micro-batch through the network in training and in evaluation, and leave it as it was.

    Args:
        adapter: holds the network, which lies on the trainer's device afterwards.
        data: of the run.
        trainer: knows the device, the precision and the processes.

    Raises:
        ModelError: the network cannot take the batch, gives no logits of the task's shape, or no
            gradient reaches it.
    """
    names = {name for name, _ in adapter.model.named_parameters()}
    if not isinstance(trainer.strategy, FSDPStrategy):  # whose network may fit no single device
        adapter.to(trainer.strategy.root_device)
    with without_trace(adapter, trainer):
        batch = first_batch(data, adapter.device)
        unmeant = _unmeant_precision(adapter, batch)
        adapter.fit_inputs()
        unused = _check_training(adapter, batch)
        _check_evaluation(adapter, batch)
    late = [name for name, _ in adapter.model.named_parameters() if name not in names]
    if late:
        raise ModelError(
            f"{_name(adapter)} makes parameters in its first call ({_some(late)}), which no "
            "optimizer knows of; make them in __init__, or with lazy layers such as nn.LazyLinear"
        )
    if unmeant:
        adapter.log_line(
            f"{_name(adapter)} has weights in {unmeant}, and its inputs are torch.float32: the "
            "weights are, too, now"
        )
    _say_what_is_returned(adapter)
    is_plain_ddp = isinstance(trainer.strategy, DDPStrategy) and trainer.world_size > 1
    if unused and is_plain_ddp and adapter.config.strategy != FIND_UNUSED:
        raise ModelError(
            f"{_name(adapter)} leaves parameters without a gradient ({_some(unused)}), which "
            f"several processes wait for; freeze them, or give --strategy {FIND_UNUSED}"
        )


@contextmanager
def without_trace(adapter: UniversalModelAdapter, trainer: Trainer) -> Iterator[None]:
    """Run the network as in training, but for compiling, and leave everything as it was."""
    with (
        _same_attributes(adapter),
        unchanged(adapter.model),
        torch.compiler.set_stance("force_eager"),  # that it compiles is for the warm-up to see
        trainer.precision_plugin.train_step_context(),
    ):
        yield


@contextmanager
def _same_attributes(adapter: UniversalModelAdapter) -> Iterator[None]:
    """Put back what modules count or collect in Python, and which of them are in evaluation.

    A copy of the network would not do: `forward` may be bound to the one it was made for.
    """
    kept = [
        (module, name, value, copy.copy(value))
        for module in adapter.modules()
        for name, value in vars(module).items()
        if name == "training"
        or (module is not adapter and name not in TORCHS_OWN and isinstance(value, COUNTED))
    ]
    try:
        yield
    finally:
        for module, name, value, before in kept:
            if isinstance(value, list):
                value[:] = before
            elif isinstance(value, dict | set):
                value.clear()
                value.update(before)
            vars(module)[name] = value


def _unmeant_precision(adapter: UniversalModelAdapter, batch: Batch) -> str:
    """Which precision weights have other than their inputs; empty where the network means it."""
    kinds = {p.dtype for p in adapter.model.parameters() if p.is_floating_point()}
    others = ", ".join(sorted(str(kind) for kind in kinds - {torch.float32}))
    if not others or _runs(adapter, batch):
        return ""
    adapter.model.float()
    return others if _runs(adapter, batch) else ""


def _runs(adapter: UniversalModelAdapter, batch: Batch) -> bool:
    try:
        with torch.no_grad():
            adapter(batch)
    except ProjectError:
        raise
    except USER_ERRORS:
        return False
    return True


def first_batch(data: UniversalDataModule, device: torch.device) -> Batch:
    """A few training samples."""
    batch = data.first_samples(SAMPLES)
    return {name: value.to(device) for name, value in batch.items()}


def _check_evaluation(adapter: UniversalModelAdapter, batch: Batch) -> None:
    """Any number of samples must do: the last micro-batch of an epoch has fewer."""
    adapter.eval()
    with torch.no_grad():
        _call(adapter, batch)
        if len(batch[LABELS]) == 1:
            return
        one = {name: value[:1] for name, value in batch.items()}
        del adapter.layouts[False]  # the shape of its output is looked at once
        try:
            _call(adapter, one)
        except ModelError as error:
            raise ModelError(
                f"{_name(adapter)} takes {len(batch[LABELS])} samples at a time, but not 1, as the "
                f"last micro-batch of an epoch may have and clients send; {error}"
            ) from error


def _check_training(adapter: UniversalModelAdapter, batch: Batch) -> list[str]:
    """Names of parameters that no gradient reaches, of those that are trainable."""
    trainable = {n: p for n, p in adapter.model.named_parameters() if p.requires_grad}
    with _told(adapter, batch), torch.enable_grad():
        loss = adapter.loss_sum(batch, adapter.model)
        if not loss.requires_grad:
            raise ModelError(
                f"no gradient reaches the parameters of {_name(adapter)}: its output is detached "
                "from them, as by detach(), numpy(), argmax() or no_grad()"
            )
        gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    unused = [n for n, g in zip(trainable, gradients, strict=True) if g is None]
    if len(unused) == len(trainable):
        raise ModelError(
            f"no gradient reaches the trainable parameters of {_name(adapter)} ({_some(unused)})"
        )
    return unused


def _call(adapter: UniversalModelAdapter, batch: Batch) -> None:
    with _told(adapter, batch):
        adapter(batch)


@contextmanager
def _told(adapter: UniversalModelAdapter, batch: Mapping[str, Tensor]) -> Iterator[None]:
    """Two lines for whatever the network raises: what it was given; where it failed, and why."""
    try:
        yield
    except (ProjectError, torch.OutOfMemoryError):
        raise
    except USER_ERRORS as error:
        shapes = ", ".join(
            f"{name} {list(value.shape)}" for name, value in batch.items() if name != LABELS
        )
        mode = "training" if adapter.training else "evaluation"
        raise ModelError(
            f"{_name(adapter)} fails in {mode} on {shapes}\n{_where(error)}{_remedy(error)}"
        ) from error


def _where(error: BaseException) -> str:
    """The user's own line that failed, and what it raised."""
    return f"{place}: {reason(error)}" if (place := place_of(error)) else reason(error)


def _remedy(error: BaseException) -> str:
    if (match := _CHANNELS.search(str(error))) is not None:
        wanted, got = match.groups()
        return (
            f"; its first layer takes {wanted} channels and gets {got}: give "
            f"{TrainingConfig.CHANNELS_SETTING.format(wanted)}, or a network for {got}"
        )
    if any(sign in str(error) for sign in TOO_SMALL):
        larger = TrainingConfig.SIZE_SETTING
        return f"; its layers shrink this input to nothing: give a larger {larger}"
    if "more than 1 value per channel" in str(error):
        return (
            "; batch normalisation needs several values to average over: give a larger "
            f"{TrainingConfig.SIZE_SETTING}"
        )
    return ""


def _say_what_is_returned(adapter: UniversalModelAdapter) -> None:
    layout = adapter.layouts[True]
    if layout.auxiliary:
        names = ", ".join(".".join(map(str, path)) for path in layout.auxiliary)
        adapter.log_line(
            f"{_name(adapter)} has auxiliary outputs ({names}): their loss counts "
            f"{adapter.config.auxiliary_weight:g} each (auxiliary_weight)"
        )
    if layout.unused:
        adapter.log_line(
            f"{_name(adapter)} returns {', '.join(layout.unused)} in another shape than the "
            "logits: that is not trained"
        )


def _name(adapter: UniversalModelAdapter) -> str:
    return adapter.signature_inspector.model_name


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"{', '.join(names[:MOST_SHOWN])}{more}"
