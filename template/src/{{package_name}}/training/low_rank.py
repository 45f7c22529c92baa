"""LoRA: of large matrices, small corrections are trained; they are added to them in the end."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..config import LoraSettings, nearest
from ..errors import ConfigError
from ..libraries import require

# where a checkpoint keeps what training goes on with: its `state_dict` is that of the plain network
UNMERGED_WEIGHTS = "unmerged_weights"


class LowRank:
    """Low-rank corrections in a network, which are all of it that is trained beside its head.

    E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.

    Args:
        model: the network; layers of it are replaced in place, until `merge`.
        settings: rank, scale and layers.
        head: names of the parameters that are new for the task; they are trained as they are.

    Attributes:
        names: of the parameters of the corrections.

    Raises:
        ModelError: PEFT is not installed.
        ConfigError: it finds no such layers.
    """

    def __init__(self, model: nn.Module, settings: LoraSettings, head: set[str]) -> None:
        peft: Any = require("peft", "lora")
        self._asked = {n: p.requires_grad for n, p in model.named_parameters()}
        config = peft.LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            target_modules=self._targets(model, settings, head),
            exclude_modules=sorted({name.rpartition(".")[0] for name in head}) or None,
        )
        try:
            self._tuner: Any = peft.LoraModel(model, {"default": config}, "default")
        except (ValueError, NotImplementedError) as error:
            raise ConfigError([f"lora: {' '.join(str(error).split())}"]) from error
        self.names = {name for name, p in model.named_parameters() if p.requires_grad}
        for name, parameter in model.named_parameters():
            if name in head:
                parameter.requires_grad_(self._asked[name])

    @staticmethod
    def _targets(model: nn.Module, settings: LoraSettings, head: set[str]) -> list[str]:
        """Names of the layers that are corrected."""
        if settings.target_modules is not None:
            return _named(model, settings.target_modules)
        linear = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and f"{name}.weight" not in head
        ]
        if not linear:
            name = type(model).__name__
            raise ConfigError(
                [f"lora: {name} has no linear layer but its head; name others in target_modules"]
            )
        return linear

    def merge(self) -> None:
        """Make the network plain again, with the corrections added to its weights."""
        self._tuner.merge_and_unload()
        for name, parameter in self._tuner.model.named_parameters():
            parameter.requires_grad_(self._asked[name])

    def merged(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the plain network, by name; the network stays as it is.

        Args:
            weights: of the network with its corrections, by name.
        """
        tuner = copy.deepcopy(self._tuner)
        tuner.model.load_state_dict(weights)
        plain: nn.Module = tuner.merge_and_unload()
        return dict(plain.state_dict())


def _named(model: nn.Module, wanted: list[str]) -> list[str]:
    """Layers by their names or by the ends of these, such as `query` for that of every block."""
    layers = [
        name
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    ends_of = {layer: set(_ends(layer)) for layer in layers}
    known = sorted(set().union(*ends_of.values()))
    problems = [
        f"lora: target_modules: no layer is called {name!r}{nearest(name, known)}"
        for name in wanted
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    return [layer for layer, ends in ends_of.items() if ends & set(wanted)]


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]
