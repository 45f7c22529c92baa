"""A copy of a network that can be exported: on the CPU, without a compiler, in numbers that run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExportError
from ..serving.runtime.weights import plain
from ..user_code import USER_ERRORS, told
from .signature import ExportedNetwork

# what Python raises about objects that cannot be copied, and torch about tensors inside a graph
COPY_ERRORS = (TypeError, RuntimeError, AttributeError, ValueError)


def plain_copy(model: nn.Module) -> nn.Module:
    """An uncompiled copy on the CPU, in evaluation mode; the original is left as it was.

    Attributes that cannot be copied, such as locks, are those of the original.

    Raises:
        ExportError: it cannot be copied.
    """
    try:
        with torch.no_grad():  # or weights of scripted modules become results of a computation
            network = _copied(model)
    except COPY_ERRORS as error:
        raise ExportError(
            f"{type(model).__name__} cannot be copied: {error}; give it a __deepcopy__"
        ) from error
    network = plain(network.cpu()).eval()
    for parameter in network.parameters():
        parameter.requires_grad = False
    return network


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except COPY_ERRORS:
        return copy.deepcopy(model, dict(_as_they_are(model)))


def _as_they_are(model: nn.Module) -> Iterator[tuple[int, Any]]:
    """What stands for each attribute that cannot be copied, by its id."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # computed from parameters
                yield id(value), value.detach().clone()
            elif not isinstance(value, (dict, nn.Module)) and not _can_be_copied(value):
                yield id(value), value


def _can_be_copied(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except COPY_ERRORS:
        return False
    return True


def make_runnable(network: ExportedNetwork, inputs: Sequence[Tensor]) -> None:
    """Give a network weights of the precision in which it runs.

    Weights of half precision become float32, which every format computes alike, and those of double
    precision too, unless the network turns its inputs into numbers of its own.

    Args:
        network: takes `inputs` by position; on the CPU. Changed in place.
        inputs: a batch.

    Raises:
        ExportError: it runs in no precision.
    """
    kinds = {t.dtype for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()}
    if kinds <= {torch.float32}:
        return
    problems = []
    conversions: tuple[Callable[[ExportedNetwork], ExportedNetwork], ...]
    conversions = (_raise_halves, lambda one: one, nn.Module.float)
    for convert in conversions:
        candidate = convert(copy.deepcopy(network))  # the first call may change it
        try:
            with torch.no_grad():
                candidate.call(*inputs)
        except USER_ERRORS as error:  # in numbers that its code may not expect
            problems.append(told(error))
        else:
            convert(network)
            return
    raise ExportError(f"the network does not run on the CPU: {problems[0]}")


def _raise_halves(network: ExportedNetwork) -> ExportedNetwork:
    halves = (torch.float16, torch.bfloat16)
    network._apply(lambda t: t.float() if t.dtype in halves else t)  # type: ignore[no-untyped-call]
    return network
