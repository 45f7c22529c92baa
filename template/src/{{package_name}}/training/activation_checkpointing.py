"""Less memory for more time: a block's activations are computed again when they are needed.

T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError

# what may hold blocks, and is none
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)

# stages that hold blocks themselves are no more than this
MOST_STAGES = 4


def check_blocks(network: nn.Module) -> None:
    """See whether `activations_again` knows what to do.

    Raises:
        ConfigError: nobody tells what the blocks of this network are.
    """
    if not (_does_it_itself(network) or blocks_of(network)):
        raise ConfigError(
            [
                f"activation_checkpointing: {type(network).__name__} has no blocks, modules of one "
                "kind that consist of others; leave it out"
            ]
        )


@contextmanager
def activations_again(network: nn.Module) -> Iterator[None]:
    """Inside, of each block its input alone is kept while the network is trained.

    Gradients are the same: random numbers are drawn again as they were, and running statistics see
    a batch once. Names, state dicts and what is computed in evaluation stay as they are. Networks
    of transformers do it themselves, as theirs have caches.
    """
    if _does_it_itself(network):
        # its name before transformers 5
        kind = "activation" if hasattr(network, "activation_checkpointing_enable") else "gradient"
        getattr(network, f"{kind}_checkpointing_enable")({"use_reentrant": False})
        try:
            yield
        finally:
            getattr(network, f"{kind}_checkpointing_disable")()
        return
    blocks = blocks_of(network)
    for block in blocks:
        norms = [m for m in block.modules() if isinstance(m, _NormBase) and m.track_running_stats]
        block.forward = partial(_checkpointed, block, block.forward, norms)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _does_it_itself(network: nn.Module) -> bool:
    return getattr(type(network), "supports_gradient_checkpointing", False) is True


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The repeated modules that a network consists of, in its order; none lies in another.

    Of kinds that lie in each other it is the outermost one, unless that is of so few stages that
    they hold the blocks.
    """
    kinds: dict[type, list[nn.Module]] = defaultdict(list)
    for module in network.modules():
        is_leaf = next(module.children(), None) is None
        if module is not network and not is_leaf and not isinstance(module, CONTAINERS):
            kinds[type(module)].append(module)
    many = [blocks for blocks in kinds.values() if len(blocks) > MOST_STAGES]
    few = [blocks for blocks in kinds.values() if 1 < len(blocks) <= MOST_STAGES]
    inside = {module for blocks in many for module in _within(blocks)}
    found = {block for blocks in many if not inside & {*blocks} for block in blocks}
    for blocks in sorted(few, key=lambda blocks: -len(_within(blocks))):
        within = _within(blocks)
        if not found & {*within, *blocks} and not (_within(found) | within) & {*blocks}:
            found |= {*blocks}
    return [module for module in network.modules() if module in found]


def _within(blocks: Iterable[nn.Module]) -> set[nn.Module]:
    """All modules that lie in one of them."""
    return {module for block in blocks for module in block.modules() if module is not block}


def _checkpointed(
    block: nn.Module, forward: Any, norms: Sequence[_NormBase], *args: Any, **kwargs: Any
) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    # a list of all outputs so far grows on, as in a DenseNet
    args = tuple([*value] if isinstance(value, list) else value for value in args)
    if not norms:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    contexts = partial(_contexts, norms)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(norms: Sequence[_NormBase]) -> tuple[Any, Any]:
    """For the first time a block is computed, and for the second."""
    return nullcontext(), _statistics_rest(norms)


@contextmanager
def _statistics_rest(norms: Sequence[_NormBase]) -> Iterator[None]:
    """Let copies of the running statistics see the batch that they have seen already."""
    kept = [norm._buffers for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers = {name: b if b is None else b.clone() for name, b in buffers.items()}
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers = buffers
