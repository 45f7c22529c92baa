"""A key-value cache: what was computed of a text is kept, so that a further token costs itself.

Needs numpy; what is said of networks is for the export, and for formats that hold weights alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from .sessions import Array

# names of a cache's open axes: texts side by side, and positions so far
BATCH, CACHED = "batch", "cached"

Extend: TypeAlias = "Callable[[Array, list[Any]], tuple[Array, list[Any]]]"
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


# what networks of the library transformers call their cache, newer versions first
CACHE_NAMES = ("cache", "past_key_values")


def caching(network: Any) -> CachingNetwork | None:
    """A network as one that goes on with texts; None where it keeps no cache."""
    if isinstance(network, CachingNetwork):
        return network
    taken = inspect.signature(network.forward).parameters
    name = next((name for name in CACHE_NAMES if name in taken), None)
    return LibraryNetwork(network, name) if name and "use_cache" in taken else None


class LibraryNetwork:
    """A `CachingNetwork` of one in the manner of transformers, whose caches are objects.

    Args:
        network: its forward takes `input_ids`, `use_cache` and a cache.
        name: by which it takes and gives that.
    """

    def __init__(self, network: Any, name: str) -> None:
        self._network = network
        self._name = name

    def empty_cache(self, batch_size: int) -> list[Tensor]:
        """Keys and values of each layer, [batch_size, heads, 0, width] each."""
        import torch

        with torch.no_grad():
            ids = torch.zeros(batch_size, 1, dtype=torch.int64)
            grown = self._tensors(self._network(input_ids=ids, use_cache=True))
        return [tensor[:, :, :0] for tensor in grown]

    def forward_cached(
        self, input_ids: Tensor, cache: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """As `CachingNetwork` has it."""
        from transformers import DynamicCache

        past = DynamicCache()
        for layer, (keys, values) in enumerate(zip(cache[::2], cache[1::2], strict=True)):
            past.update(keys, values, layer)
        output = self._network(input_ids=input_ids, use_cache=True, **{self._name: past})
        return output.logits, self._tensors(output)

    def _tensors(self, output: Any) -> list[Tensor]:
        layers = getattr(output, self._name).layers
        return [tensor for layer in layers for tensor in (layer.keys, layer.values)]
