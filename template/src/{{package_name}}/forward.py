"""How a batch meets a network's forward: its labels, its inputs by name, its logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn

from .errors import ModelError
from .task import MAIN_INPUT_NAMES

# the field of a batch that no network sees
LABELS = "labels"

# what only the decoder behind an encoder asks for
DECODER_INPUTS = frozenset(("decoder_input_ids", "decoder_inputs_embeds", "decoder_inputs", "tgt"))

# label of a target that does not count
IGNORED = -100


class ModelSignatureInspector:
    """Maps the fields of a batch to the parameters of a network's forward.

    A parameter gets the field of its own name. The first parameter that has none, or that goes by
    a usual name for the main input, gets the batch's first field. Labels are never passed: the loss
    is computed outside.

    Args:
        model: the plain network, before compilation hides its signature.

    Raises:
        ModelError: it has an encoder and a decoder, which need an input each.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model_name = type(model).__name__
        parameters = list(inspect.signature(model.forward).parameters.values())
        if _is_encoder_decoder(model, parameters):
            raise ModelError(
                f"{self.model_name} is an encoder and a decoder, which needs a second text as its "
                "target; there is no task for that yet, so take an encoder or a decoder alone"
            )
        self.parameters = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.takes_any_positional = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.takes_any_keyword = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def arguments(self, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Positional and keyword arguments for forward.

        Raises:
            ModelError: a required parameter has no counterpart in the batch.
        """
        fields = {name: value for name, value in batch.items() if name != LABELS}
        main = next(iter(fields))
        positional: list[Tensor] = []
        keyword: dict[str, Tensor] = {}
        main_used = main in {p.name for p in self.parameters}
        for parameter in self.parameters:
            required = parameter.default is parameter.empty
            if parameter.name in fields:
                value = fields[parameter.name]
            elif not main_used and (required or parameter.name in MAIN_INPUT_NAMES):
                value, main_used = fields[main], True
            elif required:
                raise ModelError(
                    f"{self.model_name}.forward asks for {parameter.name!r}; "
                    f"a batch offers {', '.join(fields)}"
                )
            else:
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                keyword[parameter.name] = value
        if not main_used:
            if not self.takes_any_positional:
                raise ModelError(f"{self.model_name}.forward takes no input; a batch has {main!r}")
            positional.append(fields[main])
        return positional, keyword


def _is_encoder_decoder(model: nn.Module, parameters: list[inspect.Parameter]) -> bool:
    """Whether a network of the library transformers, or one in its manner, needs two inputs."""
    required = {p.name for p in parameters if p.default is p.empty}
    if required & DECODER_INPUTS:
        return True
    config = vars(model).get("config")
    if isinstance(config, Mapping):
        return config.get("is_encoder_decoder") is True
    return getattr(config, "is_encoder_decoder", False) is True


def logits_of(output: Any) -> Tensor:
    """The logits in whatever a network returns: a tensor, a tuple, a mapping or an object.

    Raises:
        ModelError: there are none.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        logits: Tensor = output["logits"]
        return logits
    if is_dataclass(output) or hasattr(output, "logits"):
        return logits_of(output.logits)
    if isinstance(output, (tuple, list)) and output:
        return logits_of(output[0])
    raise ModelError(
        f"the network returned {type(output).__name__}; it must return logits as a tensor, "
        "first in a tuple, or under the name 'logits'"
    )
