"""Which parameters of a network are its head, new for the task; all others are its backbone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..config import TrainingConfig, nearest
from ..errors import ConfigError

# what torch.compile puts into the names of what it has wrapped
COMPILED = "_orig_mod."

# modules that give a second answer in training: GoogLeNet's and Inception's
AUXILIARY = ("aux1", "aux2", "AuxLogits", "aux_classifier")


def head_parameters(network: nn.Module, config: TrainingConfig, num_outputs: int) -> set[str]:
    """Names of the parameters that are new for a task, as `network.named_parameters()` has them.

    The answer hangs on the network's structure and the settings alone, never on a file of weights:
    a resumed run gets the same one. `config.head` decides where it is set. Otherwise a network of
    timm says itself which layer classifies; of one of transformers, what lies outside of its base
    model is new; of any other, its last layer, if that gives `num_outputs` values, and that of its
    auxiliary outputs.

    Args:
        network: with whatever weights; compiled or not, but not yet wrapped otherwise.
        config: its `head`.
        num_outputs: classes, labels, values, or tokens of the vocabulary.

    Returns:
        a part of the names; empty where nothing is new or nobody can tell, such as a language model
        whose last layer is its embedding.

    Raises:
        ConfigError: a glob of `head` fits no parameter.
    """
    names = [name for name, _ in network.named_parameters()]
    globs = config.head if config.head is not None else _told(network, num_outputs)
    found: set[str] = set()
    for glob in globs:
        fitting = {name for name in names if fits(glob, name)}
        if not fitting and config.head is not None:
            raise ConfigError([f"head: {glob!r} fits no parameter{nearest(glob, modules(names))}"])
        found |= fitting
    return found


def fits(glob: str, name: str) -> bool:
    """Whether a glob is that of a parameter or of a module that it lies in."""
    parts = plain(name).split(".")
    return any(fnmatchcase(".".join(parts[: end + 1]), glob) for end in range(len(parts)))


def plain(name: str) -> str:
    """A parameter's name as it was before torch.compile."""
    return name.replace(COMPILED, "")


def module(name: str) -> str:
    """The module that a parameter lies in."""
    return plain(name).rpartition(".")[0]


def modules(names: Iterable[str]) -> list[str]:
    """Modules that have parameters of these names, each once, in their order."""
    return list(dict.fromkeys(map(module, names)))


def is_told(network: nn.Module) -> bool:
    """Whether the network's library says which layers are its head."""
    is_torchvision = type(network).__module__.partition(".")[0] == "torchvision"
    return is_torchvision or bool(_timm_classifier(network)) or bool(base_model_prefix(network))


def base_model_prefix(network: nn.Module) -> str | None:
    """Name of the base model within a network of transformers; None for one of another library."""
    prefix: Any = getattr(network, "base_model_prefix", None)
    return prefix if isinstance(prefix, str) and prefix and hasattr(network, "config") else None


def _told(network: nn.Module, num_outputs: int) -> Iterable[str]:
    """Modules, or parameters, that are the head."""
    classifier = _timm_classifier(network)
    if classifier is not None:
        return classifier
    outside = _outside_of_base_model(network)
    if outside is not None:
        return outside
    return _last_layers(network, num_outputs)


def _timm_classifier(network: nn.Module) -> Iterable[str] | None:
    """What timm has written down of a network's classifier; None for one of another library."""
    settings: Any = getattr(network, "pretrained_cfg", None)
    if not isinstance(settings, dict) or not settings.get("classifier"):
        return None
    classifier = settings["classifier"]
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def _outside_of_base_model(network: nn.Module) -> Iterable[str] | None:
    """What a network of transformers has beside its base model; None for one of another library."""
    prefix = base_model_prefix(network)
    if prefix is None:
        return None
    names = [plain(name) for name, _ in network.named_parameters()]
    if not any(name.startswith(f"{prefix}.") for name in names):
        return ()  # the base model alone
    return [name for name in names if not name.startswith(f"{prefix}.")]


def _last_layers(network: nn.Module, num_outputs: int) -> Iterator[str]:
    layers = {plain(name): module for name, module in network.named_modules() if _is_layer(module)}
    auxiliary = [name for name in layers if any(part in AUXILIARY for part in name.split("."))]
    ends = {name.split(".")[0]: name for name in auxiliary}
    main = [name for name in layers if name not in auxiliary]
    for name in (*main[-1:], *ends.values()):
        if _width(layers[name]) == num_outputs:
            yield name


def _is_layer(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _width(layer: nn.Module) -> int | None:
    """Values that a layer gives at each place; None where it does not tell."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels
    told: Any = getattr(layer, "out_features", None)  # of what is linear, whoever wrote it
    return told if isinstance(told, int) else None
