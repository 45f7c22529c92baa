"""A key-value cache: what was computed of a text is kept, so that each token more costs itself.

Needs numpy; what is said of networks is for the formats that hold weights alone, and for the export.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = npt.NDArray[Any]

# names of a cache's open axes: texts side by side, and positions so far
BATCH, CACHED = "batch", "cached"

Extend: TypeAlias = Callable[[Array, list[Any]], tuple[Array, list[Any]]]
"""Token ids, int64 [1, T], and a cache in; logits, float32 [1, T, V], and the cache of all out."""


class CachedSequence:
    """A text that grows, with a cache of its own: several grow side by side on several threads.

    Args:
        extend: computes tokens that follow those in a cache.
        cache: of no position.
    """

    def __init__(self, extend: Extend, cache: list[Any]) -> None:
        self._extend = extend
        self._cache = cache

    def extend(self, input_ids: Array) -> Array:
        """Add tokens, int64 [T]; gives the logits behind each, float32 [T, V]."""
        logits, self._cache = self._extend(input_ids[None], self._cache)
        row: Array = logits[0]
        return row


def cached_file(metadata: Mapping[str, Any], name: str) -> str | None:
    """The file of an artifact that keeps a cache; None where it keeps none."""
    # bundles of earlier versions have none at all
    cache = metadata.get("cache") or {"artifacts": {}}
    file: str | None = cache["artifacts"].get(name)
    return file


def empty_cache(metadata: Mapping[str, Any]) -> list[Array]:
    """A cache of one text and no position."""
    sizes = {BATCH: 1, CACHED: 0}
    return [
        np.zeros([sizes.get(size, size) for size in tensor["shape"]], tensor["dtype"])
        for tensor in metadata["cache"]["tensors"]
    ]


@runtime_checkable
class CachingNetwork(Protocol):
    """A network that goes on with texts; one of your own needs these two methods."""

    def empty_cache(self, batch_size: int) -> Sequence[Tensor]:
        """Tensors [batch_size, ...]; in each the axis that grows with the text has size 0."""

    def forward_cached(
        self, input_ids: Tensor, cache: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Logits [B, T, V] of int64 [B, T] that follow what is cached, and the cache of all."""


def caching(network: Any) -> CachingNetwork | None:
    """A network as one that goes on with texts; None where it keeps no cache."""
    if isinstance(network, CachingNetwork):
        return network
    if {"past_key_values", "use_cache"} <= inspect.signature(network.forward).parameters.keys():
        return PastKeyValues(network)
    return None


class PastKeyValues:
    """A `CachingNetwork` of one in the manner of the Hugging Face hub's.

    Args:
        network: its forward takes `input_ids`, `past_key_values` and `use_cache`.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def empty_cache(self, batch_size: int) -> list[Tensor]:
        """Keys and values of each layer, [batch_size, heads, 0, width] each."""
        import torch

        with torch.no_grad():
            ids = torch.zeros(batch_size, 1, dtype=torch.int64)
            past = self._network(input_ids=ids, use_cache=True).past_key_values
        return [tensor[:, :, :0] for tensor in _tensors(past)]

    def forward_cached(
        self, input_ids: Tensor, cache: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """As `CachingNetwork` has it."""
        from transformers import DynamicCache

        past = DynamicCache()
        for layer, (keys, values) in enumerate(zip(cache[::2], cache[1::2], strict=True)):
            past.update(keys, values, layer)
        output = self._network(input_ids=input_ids, past_key_values=past, use_cache=True)
        return output.logits, _tensors(output.past_key_values)


def _tensors(past: Any) -> list[Tensor]:
    return [tensor for layer in past.layers for tensor in (layer.keys, layer.values)]
