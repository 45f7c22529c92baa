"""What goes into an exported network and what comes out, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..forward import ModelSignatureInspector, OutputLayout, find_outputs
from ..serving.runtime.caching import caching
from ..task import TaskSpec
from ..task_base import Standardisation
from ..user_code import USER_ERRORS, told

LOGITS = "logits"


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a signature.

    Attributes:
        name: what clients call it.
        dtype: numpy's name of its element type.
        shape: sizes; a name stands for an axis that may have any size.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class InputSignature:
    """All inputs of a network.

    Attributes:
        tensors: in the order of the batch's fields.
        limits: the largest size of those named axes that have one.
        opened_by: the settings that leave named axes open; the others always are.
    """

    tensors: tuple[TensorSpec, ...]
    limits: Mapping[str, int]
    opened_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the inputs, in order."""
        return [tensor.name for tensor in self.tensors]

    def advice(self) -> str:
        """What to set for axes to be fixed that a setting has opened; empty where none has."""
        settings = sorted(set(self.opened_by.values()))
        return "".join(f", or set {name}: false" for name in settings)


class ExportedNetwork(nn.Module):
    """A network as it is exported: the batch's fields go in by position, logits come out.

    Args:
        network: the plain network.
        input_names: fields of a batch, in the order in which `forward` gets them.
        standardisation: of the values that the network predicts; they come out in their own unit.
        layout: where the logits are in what the network returns; that itself by default.
    """

    # no operation has such names: older versions of onnxruntime refuse two of a kind in a graph
    standardisation_mean: Tensor
    standardisation_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_names: list[str],
        standardisation: Standardisation | None = None,
        layout: OutputLayout | None = None,
    ) -> None:
        super().__init__()
        self.standardised = standardisation is not None
        if standardisation is not None:
            self.register_buffer("standardisation_mean", torch.tensor(standardisation.mean))
            self.register_buffer("standardisation_std", torch.tensor(standardisation.std))
        self.network = network
        self.input_names = input_names
        self.inspector = ModelSignatureInspector(network)
        self.layout = layout or OutputLayout(())

    def find_logits(self, task_spec: TaskSpec, batch: Mapping[str, Tensor]) -> None:
        """Ask the network for the logits of a batch, and keep where they were.

        Raises:
            ModelError: it cannot take the batch, or gives no logits of the task's shape.
        """
        name = self.inspector.model_name
        try:
            with torch.no_grad():
                output = self.call(*batch.values())
        except USER_ERRORS as error:
            raise ModelError(f"{name} fails: {told(error)}") from error
        self.layout = find_outputs(output, task_spec.logits_shape(batch), name)

    def call(self, *inputs: Tensor) -> Any:
        """Whatever the network returns."""
        batch = dict(zip(self.input_names, inputs, strict=True))
        positional, keyword = self.inspector.arguments(batch)
        return self.network(*positional, **keyword)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits, or values in their own unit, for one batch."""
        logits = self.layout.logits_of(self.call(*inputs))
        if not self.standardised:
            return logits
        return logits.float() * self.standardisation_std + self.standardisation_mean

    def forward_cached(self, input_ids: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, T, V] of int64 [B, T] that follow what is cached, and the cache of all.

        Only for networks of which `caching` gives something.
        """
        goes_on = caching(self.network)
        assert goes_on is not None
        logits, grown = goes_on.forward_cached(input_ids, cache)
        return (logits, *grown)

    def calling_convention(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """How to call the bare network, for code that does not have this class.

        Returns:
            `args` and `kwargs` name the batch's fields; `logits` is the path to the logits in
            whatever the network returns.
        """
        positional, keyword = self.inspector.arguments(batch)
        name_of = {id(tensor): name for name, tensor in batch.items()}
        return {
            "args": [name_of[id(tensor)] for tensor in positional],
            "kwargs": {key: name_of[id(tensor)] for key, tensor in keyword.items()},
            LOGITS: list(self.layout.logits),
        }
