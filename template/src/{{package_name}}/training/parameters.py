"""Which parameters of a network are trained, from which epoch on, and how fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..config import TrainingConfig, nearest
from ..errors import ConfigError
from ..pretrained.head import fits, head_parameters, modules
from .low_rank import LowRank


class TuningPlan:
    """What of a network is trained, and how.

    Parameters that do not ask for a gradient when the plan is made are never touched by it.

    Args:
        model: the network. What is frozen is held still from now on, until `thaw` or `release`.
        config: settings of the run.
        learning_rate: peak of the layers that learn fastest.
        num_outputs: values that its last layer gives.

    Attributes:
        parameters: all that are trained at some time, by name.
        head: names of those that are new for the task.
        low_rank: corrections that are trained instead of all but the head; None without.
        new: names of those that have learned nothing yet: of the head and of corrections.
        frozen: names of those that are not trained now.
        scales: share of the learning rate that each gets, by name.

    Raises:
        ConfigError: settings that do not fit this network, or leave nothing to train.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        learning_rate: float,
        num_outputs: int,
    ) -> None:
        self.config = config
        self.learning_rate = learning_rate
        self.head = head_parameters(model, config, num_outputs)
        self.low_rank = LowRank(model, config.lora, self.head) if config.lora else None
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.new = self.head | (self.low_rank.names if self.low_rank else set())
        self._tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        self.scales = self._scales(model)
        self.frozen = self._frozen(config.freeze)
        for name in self.frozen:
            self.parameters[name].requires_grad_(False)
        resting = {name for name, p in model.named_parameters() if not p.requires_grad}
        self._still = [m for m in _within(model, resting) if m.training] if self.frozen else []
        self._kept = [m for m in self._norms(model) if m.training]
        self.hold()

    def __str__(self) -> str:
        frozen, all_ = (
            sum(self.parameters[name].numel() for name in names)
            for names in (self.frozen, self.parameters)
        )
        epochs = self.config.unfreeze_epoch
        until = "" if epochs is None else f" for {epochs} epoch{'s' * (epochs > 1)}"
        return f"{frozen:,} of {all_:,} parameters rest{until}"

    # --- frozen ----------------------------------------------------------------------------------

    def _frozen(self, freeze: Literal["backbone"] | list[str] | None) -> list[str]:
        """Names of the frozen parameters, in the network's order."""
        if not freeze:
            return []
        if isinstance(freeze, str):
            frozen = [name for name in self.parameters if name not in self.head]
        else:
            self._refuse_globs_that_fit_nothing(freeze)
            frozen = [n for n in self.parameters if any(fits(glob, n) for glob in freeze)]
        if not frozen:
            raise ConfigError(["freeze: the head is the whole network; leave freeze out, or head"])
        if len(frozen) < len(self.parameters):
            return frozen
        unknown = isinstance(freeze, str) and not self.head
        raise ConfigError(
            [
                "freeze: nobody tells which layers of this network are new; name them with head, "
                "or give freeze the globs of what is to rest"
                if unknown
                else "freeze: that is the whole network; leave out what is to be trained"
            ]
        )

    def _refuse_globs_that_fit_nothing(self, globs: list[str]) -> None:
        known = ["backbone", *modules(self.parameters)]
        problems = [
            f"freeze: {glob!r} fits no parameter that is trained{nearest(glob, known)}"
            for glob in globs
            if not any(fits(glob, name) for name in self.parameters)
        ]
        if problems:
            raise ConfigError(problems)

    def hold(self) -> None:
        """Put what must not change into eval mode: its dropout and its running statistics."""
        for module in (*self._still, *self._kept):
            module.training = False  # `eval` would reach into modules that are trained

    def is_due(self, epoch: int) -> bool:
        """Whether frozen parameters are to be trained by now, and are not yet.

        Args:
            epoch: about to be trained, from 0.
        """
        return (
            bool(self.frozen)
            and self.config.unfreeze_epoch is not None
            and epoch >= self.config.unfreeze_epoch
        )

    def thaw(self) -> None:
        """Train everything from now on; statistics that are kept stay so."""
        for name in self.frozen:
            self.parameters[name].requires_grad_(True)
        for module in self._still:
            module.training = True
        self.frozen, self._still = [], []
        self.hold()

    def thaw_if_ever(self) -> None:
        """`thaw` what will be trained at some time."""
        if self.config.unfreeze_epoch is not None:
            self.thaw()

    def release(self) -> None:
        """Leave the network as the plan found it, with what it has learned."""
        self._still += self._kept
        self._kept = []
        self.thaw()
        if self.low_rank is not None:
            self.low_rank.merge()
            self.low_rank = None

    def _norms(self, model: nn.Module) -> Iterator[nn.Module]:
        """Layers whose running statistics are kept: those of new layers have learned none yet."""
        if not keeps_statistics(self.config):
            return
        new = set(_within(model, self.head))
        for module in model.modules():
            if isinstance(module, _NormBase) and module.track_running_stats and module not in new:
                yield module

    # --- how fast --------------------------------------------------------------------------------

    def _scales(self, model: nn.Module) -> dict[str, float]:
        """Share of the learning rate that each parameter gets, by name."""
        scales = dict.fromkeys(self.parameters, 1.0)
        if self.config.layer_decay != 1:
            layers = layers_of(model)
            last = max(layers.values())
            scales = {n: self.config.layer_decay ** (last - layers.get(n, last)) for n in scales}
        backbone = backbone_scale(self.config)
        return {n: scale * (1 if n in self.new else backbone) for n, scale in scales.items()}

    @property
    def matrices(self) -> set[str]:
        """Names of the parameters [N, M] that lie between an embedding and the head."""
        return {
            name
            for name, parameter in self.parameters.items()
            if parameter.ndim == 2 and id(parameter) not in self._tables and name not in self.head
        }

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: their names, rates and weight decay.

        Frozen parameters are among them from the first step on: without a gradient an optimizer
        leaves them alone, weight decay included. The groups with the peak rate come first. Biases
        and norms do not decay.
        """

        def kind(name: str) -> tuple[bool, float, bool]:
            scale = self.scales[name]
            return scale != 1, -scale, self.parameters[name].ndim < 2

        return [
            {
                "params": [(name, self.parameters[name]) for name in names],
                "lr": self.learning_rate * -negative_scale,
                "weight_decay": 0.0 if is_vector else self.config.weight_decay,
            }
            for (_, negative_scale, is_vector), names in groupby(
                sorted(self.parameters, key=kind), kind
            )
        ]


def untouched(config: TrainingConfig) -> TrainingConfig:
    """The settings for a network that is looked at, not trained: all of it as it is, uncompiled."""
    unset = ("freeze", "unfreeze_epoch", "lora", "compile_mode")
    plain: dict[str, Any] = dict.fromkeys(unset)
    return replace(config, **plain, norm_statistics="train", layer_decay=1.0)


# --- What settings mean --------------------------------------------------------------------------


def backbone_scale(config: TrainingConfig) -> float:
    """Share of the learning rate that layers with learned weights get."""
    if config.backbone_lr_scale is not None:
        return config.backbone_lr_scale
    return 0.1 if config.pretrained is not None and config.layer_decay == 1 else 1.0


def keeps_statistics(config: TrainingConfig) -> bool:
    """Whether batch normalisation goes by the running statistics it came with."""
    if config.norm_statistics is not None:
        return config.norm_statistics == "keep"
    return config.pretrained is not None


# --- Modules and layers --------------------------------------------------------------------------


def _within(model: nn.Module, names: Collection[str]) -> list[nn.Module]:
    """Modules that have no parameter but those named, with all that lies in them."""
    named = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    found: dict[nn.Module, None] = {}
    for module in model.modules():
        own = [id(parameter) for parameter in module.parameters()]
        if own and named.issuperset(own):
            found.update(dict.fromkeys(module.modules()))
    return list(found)


def layers_of(model: nn.Module) -> dict[str, int]:
    """Depth of parameters as the library that built the network counts it, from the input's 0.

    Raises:
        ConfigError: it comes from no library that knows.
    """
    if callable(matcher := getattr(model, "group_matcher", None)):  # of timm's networks
        library = importlib.import_module("timm.models")
        layers: dict[str, int] = library.group_parameters(
            model, matcher(coarse=False), reverse=True
        )
        return layers
    transformers = sys.modules.get("transformers")  # a network of it has imported it
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        layers = _layers_of_transformer(model)
        if layers:
            return layers
    raise ConfigError(
        [
            f"layer_decay: nobody knows the order of {type(model).__name__}'s layers; it is for "
            "networks of timm and for transformers with numbered layers; give backbone_lr_scale "
            "instead"
        ]
    )


def _layers_of_transformer(model: Any) -> dict[str, int]:
    """Embeddings are layer 0, what comes behind the numbered layers is the last; empty if none."""
    count: int = getattr(model.config, "num_hidden_layers", 0)
    stack = next(
        (
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == count > 0
        ),
        None,
    )
    if stack is None:
        return {}
    layers, is_behind = {}, False
    for name, _ in model.named_parameters():
        if name.startswith(f"{stack}."):
            is_behind = True
            layers[name] = 1 + int(name.removeprefix(f"{stack}.").split(".")[0])
        else:
            layers[name] = count + 1 if is_behind else 0
    return layers
