"""Buffers that a state dict leaves out, being registered with `persistent=False`.

A checkpoint keeps them beside it: random ones, and those that change while a network is trained,
cannot be had again by building it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..serving.runtime.weights import plain_names

UNSAVED_BUFFERS = "unsaved_buffers"


def unsaved_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers themselves, by the names that they have without torch.compile."""
    found = {
        f"{path}.{name}".removeprefix("."): buffer
        for path, module in network.named_modules()
        for name in sorted(module._non_persistent_buffers_set)
        if (buffer := module._buffers.get(name)) is not None
    }
    return dict(plain_names(found))


def restore_buffers(network: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Inverse of `unsaved_buffers`, for those that the network has registered by now."""
    for name, buffer in unsaved_buffers(network).items():
        if name in kept:
            buffer.data = kept[name].to(buffer.device)  # others may refer to the tensor
