"""A network with its key-value cache as it is exported, and its graph beside model.onnx."""

from __future__ import annotations

import io
import mmap
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..serving.runtime.caching import BATCH, CACHED, caching
from ..task import TaskSpec
from ..user_code import USER_ERRORS, told
from .signature import ExportedNetwork, TensorSpec

if TYPE_CHECKING:
    import onnx_ir

# tensors of fewer bytes are kept in a graph itself
SHARED_FROM = 1024
LENGTH = "length"


class CachedNetwork(nn.Module):
    """A network that goes on with texts: token ids and a cache by position, then logits and cache.

    Args:
        exported: the network as it is exported.
        tensors: of the cache.
    """

    def __init__(self, exported: ExportedNetwork, tensors: list[TensorSpec]) -> None:
        super().__init__()
        self.exported = exported
        self.tensors = tensors

    @classmethod
    def of(cls, network: ExportedNetwork, task_spec: TaskSpec) -> CachedNetwork | str:
        """The network with its cache, or why it has none."""
        if not task_spec.continues:
            return "the task continues no text"
        goes_on = caching(network.network)
        if goes_on is None:
            return "the network keeps no cache"
        try:
            with torch.no_grad():
                empty = goes_on.empty_cache(2)
        except (*USER_ERRORS, ImportError) as error:
            return told(error)
        return cls(network, [_spec(f"cache.{i}", t) for i, t in enumerate(empty)])

    def forward(self, input_ids: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, T, V] of int64 [B, T], and the tensors of the grown cache."""
        return self.exported.forward_cached(input_ids, *cache)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with; sizes of 0 and 1 would be taken for constants."""
        sizes = {BATCH: 2, CACHED: 3}
        cache = [
            torch.zeros(
                [size if isinstance(size, int) else sizes[size] for size in spec.shape],
                dtype=getattr(torch, spec.dtype),
            )
            for spec in self.tensors
        ]
        return torch.ones(2, 2, dtype=torch.int64), *cache

    def traced(self) -> torch.export.ExportedProgram:
        """Its graph, for any number of texts, tokens and positions before."""
        opened = torch.export.Dim.DYNAMIC
        cache = tuple(
            {axis: opened for axis, size in enumerate(spec.shape) if isinstance(size, str)}
            for spec in self.tensors
        )
        # torch.export prints its graph, pages of it, where it ends early
        with torch.no_grad(), redirect_stderr(io.StringIO()):
            return torch.export.export(
                self, self.example(), dynamic_shapes=({0: opened, 1: opened}, cache), strict=False
            )

    def input_shapes(self) -> list[tuple[int | str, ...]]:
        """Of the graph: the token ids, then the cache."""
        return [(BATCH, LENGTH), *(spec.shape for spec in self.tensors)]


def _spec(name: str, empty: Tensor) -> TensorSpec:
    sizes: list[int | str] = [size or CACHED for size in empty.shape[1:]]
    return TensorSpec(name, str(empty.dtype).removeprefix("torch."), (BATCH, *sizes))


def share_weights(model: onnx_ir.Model, path: Path) -> None:
    """Let a graph take its weights out of another ONNX file of the same folder.

    A standard's external tensor is a place in any file, so the weights lie on the disk once, and
    model.onnx stays one file. Whatever is not found there is kept in the graph.

    Args:
        model: the graph; changed in place.
        path: of the file that holds the weights.
    """
    import onnx_ir

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        behind = 0  # the last one that was found: most follow each other
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < SHARED_FROM:
                continue
            content = tensor.tobytes()
            place = held.find(content, behind)
            if place < 0:
                place = held.find(content)
            if place >= 0:
                behind = place + len(content)
                value.const_value = onnx_ir.ExternalTensor(
                    path.name,
                    place,
                    tensor.nbytes,
                    tensor.dtype,
                    shape=onnx_ir.Shape(tensor.shape.numpy()),
                    name=name,
                    base_dir=path.parent,
                )


def describe(network: CachedNetwork | str, files: Mapping[str, str]) -> dict[str, Any] | None:
    """What metadata.json says of the cache; None where no artifact keeps one.

    Args:
        network: with its cache.
        files: of each artifact that keeps it.
    """
    if isinstance(network, str) or not files:
        return None
    return {"tensors": [spec.to_dict() for spec in network.tensors], "artifacts": dict(files)}
