"""How a batch meets a network's forward: its labels, its inputs by name, its logits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ModelError
from .task import MAIN_INPUT_NAMES

# the field of a batch that no network sees
LABELS = "labels"

# what only the decoder behind an encoder asks for
DECODER_INPUTS = frozenset(("decoder_input_ids", "decoder_inputs_embeds", "decoder_inputs", "tgt"))

# label of a target that does not count
IGNORED = -100

# names that an error lists
MOST_SHOWN = 6

# keys that may lead to the logits; caches of language models go deeper, and round in circles
DEEPEST_OUTPUT = 3


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
                taken = ", ".join(p.name for p in self.parameters[:MOST_SHOWN]) or "no input"
                more = " and others" if len(self.parameters) > MOST_SHOWN else ""
                raise ModelError(
                    f"{self.model_name}.forward takes {taken}{more}; a batch offers "
                    f"{', '.join(fields)}, which is none of them"
                )
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


# --- Outputs -------------------------------------------------------------------------------------

OutputPath = tuple[str | int, ...]
"""Keys and attributes that lead to a tensor in whatever a network returns."""

# names of logits, the surest first; `out` is torchvision's
LOGITS_NAMES = ("logits", "logit", "out", "output", "outputs", "prediction_scores", "predictions")

# in the names of outputs that only training uses
AUXILIARY = "aux"


@dataclass(frozen=True)
class OutputLayout:
    """Where the logits are in what a network returns.

    Attributes:
        logits: path to them.
        auxiliary: paths to others of the same shape, which help training.
        unused: names of outputs that nobody looks at, though they seem to be meant for training.
        of_members: they are those of the members of an ensemble, on an axis behind that of samples.
    """

    logits: OutputPath
    auxiliary: tuple[OutputPath, ...] = ()
    unused: tuple[str, ...] = ()
    of_members: bool = False

    def logits_of(self, output: Any) -> Tensor:
        """The logits in an output like that in which they were found."""
        return _follow(self.logits, output)

    def auxiliary_of(self, output: Any) -> list[Tensor]:
        """The auxiliary logits beside them."""
        return [_follow(path, output) for path in self.auxiliary]


def find_outputs(
    output: Any, wanted: Sequence[int], name: str, *, training: bool = False
) -> OutputLayout:
    """Look for logits by their names, or else by their shape.

    Args:
        output: what a network returned.
        wanted: shape of the logits.
        name: of the network, for errors.
        training: an ensemble may give those of its members, [B, M, ...] where [B, ...] is wanted.

    Raises:
        ModelError: there are none, or nothing tells which of several they are.
    """
    found = dict(_tensors_in(output))
    fitting = [path for path, tensor in found.items() if _fits(tensor, wanted)]
    of_members = training and not fitting
    if of_members:
        fitting = [path for path, tensor in found.items() if _fits_by_member(tensor, wanted)]
    named = [path for path in found if path and path[-1] in LOGITS_NAMES[:2]]
    if not fitting or (named and not set(named) & set(fitting)):
        raise ModelError(_misfit(found, wanted, name, named))
    logits = min(fitting, key=_doubt) if len(fitting) > 1 else fitting[0]
    others = [path for path in fitting if path != logits]
    if others and isinstance(logits[-1], str) and logits[-1] not in LOGITS_NAMES:
        raise ModelError(
            f"{name} returns {', '.join(map(_shown, fitting))}, all of the shape of logits "
            f"{list(wanted)}; call the right one 'logits'"
        )
    auxiliary = [path for path in others if isinstance(path[-1], int) or _is_auxiliary(path)]
    left = [path for path in found if path not in (logits, *auxiliary)]
    unused = tuple(_shown(path) for path in left if _is_auxiliary(path))
    return OutputLayout(logits, tuple(auxiliary), unused, of_members)


def _doubt(path: OutputPath) -> tuple[int, int]:
    """How unsure it is that these are the logits; without a name it is the first."""
    key = path[-1] if path else ""
    return LOGITS_NAMES.index(key) if key in LOGITS_NAMES else len(LOGITS_NAMES), len(path)


def _is_auxiliary(path: OutputPath) -> bool:
    return any(isinstance(key, str) and AUXILIARY in key.lower() for key in path)


def _fits(tensor: Tensor, wanted: Sequence[int]) -> bool:
    return tensor.is_floating_point() and tensor.shape == torch.Size(wanted)


def _fits_by_member(tensor: Tensor, wanted: Sequence[int]) -> bool:
    samples, *rest = wanted
    return tensor.is_floating_point() and tensor.shape[:1] + tensor.shape[2:] == (samples, *rest)


def _tensors_in(output: Any, path: OutputPath = ()) -> Iterator[tuple[OutputPath, Tensor]]:
    if isinstance(output, Tensor):
        yield path, output
    elif len(path) < DEEPEST_OUTPUT:
        for key, value in _items(output):
            yield from _tensors_in(value, (*path, key))


def _items(output: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, tuple) and hasattr(output, "_fields"):  # a namedtuple
        yield from zip(output._fields, output, strict=True)
    elif isinstance(output, (list, tuple)):
        yield from enumerate(output)
    elif hasattr(output, "__dict__"):
        yield from vars(output).items()


def _follow(path: OutputPath, output: Any) -> Tensor:
    for key in path:
        by_key = isinstance(output, Mapping) or isinstance(key, int)
        output = output[key] if by_key else getattr(output, str(key))
    tensor: Tensor = output
    return tensor


def _shown(path: OutputPath) -> str:
    return ".".join(map(str, path)) or "a tensor"


def _misfit(
    found: Mapping[OutputPath, Tensor],
    wanted: Sequence[int],
    name: str,
    named: Sequence[OutputPath],
) -> str:
    if not found:
        return f"{name} returns no tensor; the task wants logits of shape {list(wanted)}"
    shown = ", ".join(
        f"{f'{_shown(path)} ' if path else ''}{list(tensor.shape)}"
        f"{'' if tensor.is_floating_point() else f' of {tensor.dtype}'}"
        for path, tensor in list(found.items())[:MOST_SHOWN]
    )
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    nearest_path = named[0] if named else next(iter(found))
    remedy = _remedy(found[nearest_path], list(wanted))
    return (
        f"{name} returns {shown}{more}; the task wants logits of shape {list(wanted)}"
        f"{f': {remedy}' if remedy else ''}"
    )


def _remedy(found: Tensor, wanted: list[int]) -> str:
    shape = list(found.shape)
    batch, outputs = wanted[0], wanted[-1]
    if shape == wanted:
        return "return numbers that gradients flow through, and not classes"
    if not shape or shape[0] != batch:
        return (
            f"the first axis must have the {batch} samples of the batch; something fixes or joins "
            "them, such as view or mean without the batch's axis"
        )
    if shape == [batch] and wanted == [batch, 1]:
        return "keep the axis of the single value, as unsqueeze(1) does"
    if len(shape) == len(wanted) and shape[:-1] == wanted[:-1]:
        return (
            f"it has {shape[-1]} outputs and the task {outputs}; let its last layer have "
            f"num_outputs of them, or give the right number in model_args"
        )
    if len(wanted) == 2 and len(shape) > 2:
        axes = "(2, 3)" if len(shape) == 4 else "1"
        return f"it has values for every position; pool them first, as mean(dim={axes}) does"
    if len(wanted) == 3 and shape == [batch, outputs, wanted[1]]:
        return "classes stand before positions; transpose(1, 2)"
    return ""
