"""Weights of a network in files, and how they get into a network that was built anew.

Needs torch, and safetensors for its own files. `sessions.py` imports this only for the formats that
hold weights alone; the export writes with it what is read here.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# entries of a safetensors file's header, beside those of the model
TIED, MODULES = "tied", "modules"


def plain(network: nn.Module) -> nn.Module:
    """The network without torch.compile, in place: no wrapper, and no prefix in names of weights.

    A bundle serves where there may be no C++ compiler.
    """
    network = unwrapped(network)
    for module in list(network.modules()):
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
        for name, child in list(module._modules.items()):
            if child is not None and is_wrapped(child):
                module._modules[name] = unwrapped(child)
    return network


def unwrapped(network: nn.Module) -> nn.Module:
    """What `torch.compile` was given."""
    while is_wrapped(network):
        network = network._modules["_orig_mod"]  # type: ignore[assignment]
    return network


def is_wrapped(network: nn.Module) -> bool:
    """Whether this is what `torch.compile` makes of a module."""
    # its class lies in a package that takes seconds to import, and did if anything was compiled
    compiler = sys.modules.get("torch._dynamo")
    return compiler is not None and isinstance(network, compiler.OptimizedModule)


def uncompiled() -> AbstractContextManager[Any]:
    """While this is entered, functions that were compiled run as they were written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def plain_names(weights: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """A state dict of a compiled network with the names that `plain` leaves; `_metadata` too."""
    renamed = OrderedDict((_plain_name(name), value) for name, value in weights.items())
    # versions of modules, by which they read weights of older ones
    modules: Mapping[str, Any] = getattr(weights, "_metadata", {})
    renamed._metadata = {  # type: ignore[attr-defined]
        _plain_name(name): value for name, value in modules.items()
    }
    return renamed


def _plain_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def take_precision(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Give parameters and buffers the precision in which the weights were exported."""
    for name, value in network.state_dict(keep_vars=True).items():
        known = weights.get(name)
        if isinstance(known, Tensor) and isinstance(value, Tensor) and known.dtype != value.dtype:
            value.data = value.data.to(known.dtype)


def load_weights(
    network: nn.Module, weights: Mapping[str, Any], call: Callable[[], object]
) -> None:
    """Put weights into a network.

    Args:
        network: without `torch.compile`; changed in place.
        weights: a state dict with its `_metadata`, which tells modules how to read it.
        call: calls the network. Some register buffers only in their first call; where weights have
            such, it is called.

    Raises:
        RuntimeError: they do not fit.
    """
    if weights.keys() - network.state_dict().keys():
        network.eval()
        with torch.no_grad():
            call()
    network.load_state_dict(weights)


def read_state_dict(path: Path) -> Mapping[str, Any]:
    """What `torch.save` wrote; nothing in it is executed."""
    weights: Mapping[str, Any] = torch.load(path, "cpu", weights_only=True)
    return weights


def write_safetensors(weights: Mapping[str, Tensor], path: Path, header: dict[str, str]) -> None:
    """Write a state dict with its `_metadata`; a tensor of several names is kept once.

    Args:
        weights: a state dict, tensors only.
        path: the file.
        header: more entries of the file's header.

    Raises:
        ValueError, KeyError: tensors of a kind that the format does not have.
    """
    from safetensors.torch import save_file

    tied = dict(_tied(weights))
    save_file(
        # a file holds no two views of one memory, and no strides
        {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in weights.items()
            if name not in tied
        },
        path,
        {
            **header,
            TIED: json.dumps(tied),
            MODULES: json.dumps(getattr(weights, "_metadata", {})),
        },
    )


def _tied(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Names of tensors that have an earlier name, with that one."""
    first: dict[Any, str] = {}
    for name, value in weights.items():
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and first.setdefault(place, name) != name:
            yield name, first[place]


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """The state dict that `write_safetensors` wrote."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()
        weights = OrderedDict((name, file.get_tensor(name)) for name in sorted(file.keys()))
    for name, kept in json.loads(header[TIED]).items():
        weights[name] = weights[kept]
    weights._metadata = json.loads(header[MODULES])  # type: ignore[attr-defined]
    return weights
