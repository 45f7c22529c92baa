"""Networks that libraries offer by name: torchvision, timm, transformers.

A catalogue turns a name into what builds that network, with fresh weights, for a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .config import TrainingConfig, nearest
from .errors import ConfigError, ModelError
from .libraries import require
from .pretrained.records import spare_positions
from .task import TaskSpec
from .user_code import reason


@dataclass(frozen=True)
class Entry:
    """How to build one network of a library.

    Attributes:
        module: a dotted module name.
        name: the function or class in it.
        kwargs: what it is called with; JSON-ready.
        config: of transformers: the network's configuration, of which it is built; JSON-ready.
    """

    module: str
    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None


# --- torchvision ---------------------------------------------------------------------------------


# builders that are told how large an image is, and those that would ask how to start
_TORCHVISION_SIZES: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "vit_": lambda height, width: {"image_size": height},
    "maxvit_": lambda height, width: {"input_size": [height, width]},
}
_TORCHVISION_STARTS = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


def torchvision_entry(name: str, task_spec: TaskSpec, model_args: Mapping[str, Any]) -> Entry:
    """A classification network of torchvision."""
    models = require("torchvision", "model").models
    known = models.list_models(module=models)
    _refuse_unknown("torchvision", name, known)
    kwargs = {"num_classes": task_spec.num_outputs, **_TORCHVISION_STARTS.get(name, {})}
    if image_size := task_spec.image_size:
        for prefix, size in _TORCHVISION_SIZES.items():
            if name.startswith(prefix):
                kwargs |= size(*image_size[1:])
    return Entry("torchvision.models", name, kwargs | dict(model_args))


# --- timm ----------------------------------------------------------------------------------------


def timm_entry(name: str, task_spec: TaskSpec, model_args: Mapping[str, Any]) -> Entry:
    """A network of timm; `name` may have a tag, which says something of weights only."""
    timm = require("timm", "model")
    plain = name.partition(".")[0]
    _refuse_unknown("timm", plain, timm.list_models())
    kwargs: dict[str, Any] = {
        "model_name": plain,
        "pretrained": False,
        "num_classes": task_spec.num_outputs,
    }
    if image_size := task_spec.image_size:
        channels, *size = image_size
        kwargs["in_chans"] = channels
        record = timm.get_pretrained_cfg(plain)
        # others take any size and have no such argument
        if record is not None and record.fixed_input_size and [*record.input_size[1:]] != size:
            kwargs["img_size"] = size
    return Entry("timm", "create_model", kwargs | dict(model_args))


# --- transformers --------------------------------------------------------------------------------


# by task: the class that takes any of its configurations
_AUTO_CLASSES = {
    "lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "text_classification": "AutoModelForSequenceClassification",
    "audio_classification": "AutoModelForAudioClassification",
    "audio_multilabel": "AutoModelForAudioClassification",
    "audio_regression": "AutoModelForAudioClassification",
    "vision_classification": "AutoModelForImageClassification",
    "vision_multilabel": "AutoModelForImageClassification",
    "vision_regression": "AutoModelForImageClassification",
}


def transformers_entry(name: str, task_spec: TaskSpec, model_args: Mapping[str, Any]) -> Entry:
    """A class of transformers, a folder in its format, or a name of its hub."""
    transformers = require("transformers", "model")
    if is_folder(name):
        configuration, class_name = _of_folder(transformers, name, task_spec)
    else:
        network = _network_class(transformers, name)
        configuration, class_name = network.config_class(), name
    _fit(configuration, task_spec)
    unknown = [key for key in model_args if not hasattr(configuration, key)]
    if unknown:
        known = list(configuration.to_dict())
        raise ModelError(
            f"model_args: {type(configuration).__name__} has no {unknown[0]!r}"
            f"{drop_path_hint('transformers', unknown[0]) or nearest(unknown[0], known)}"
        )
    for key, value in model_args.items():
        setattr(configuration, key, value)
    config = configuration.to_diff_dict()
    config.pop("transformers_version", None)
    return Entry("transformers", class_name, config=config)


def is_folder(name: str) -> bool:
    """Whether the name of a network of transformers is a folder's, here or on its hub."""
    return "/" in name or "\\" in name or Path(name).is_dir()


def _of_folder(transformers: ModuleType, name: str, task_spec: TaskSpec) -> tuple[Any, str]:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"model: {folder} holds no config.json, so it is no network's folder")
    if not folder.exists() and (folder.is_absolute() or name.count("/") != 1):
        raise ModelError(f"model: {folder} does not exist")
    try:
        configuration = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model: transformers cannot read {name}: {reason(error)}") from error
    auto = getattr(transformers, _AUTO_CLASSES[task_spec.task_type])
    try:
        with torch.device("meta"):
            network = auto.from_config(configuration)
    except ValueError as error:
        raise ModelError(
            f"model: transformers has no network for {task_spec.task_type} of the kind "
            f"{configuration.model_type}, which {name} holds"
        ) from error
    return configuration, type(network).__name__


def _network_class(transformers: ModuleType, name: str) -> Any:
    found: Any = getattr(transformers, name, None) if name.isidentifier() else None
    is_network = isinstance(found, type) and issubclass(found, torch.nn.Module)
    if not is_network or found.config_class is None:  # of all networks: none by itself
        known = [
            known
            for known in dir(transformers)
            if not known.startswith(("Auto", name)) and ("For" in known or known.endswith("Model"))
        ]
        raise ModelError(
            f"model: transformers has no network {name!r}{nearest(name, known)}; a folder in its "
            "format is given by its path, such as ./folder"
        )
    return found


def _fit(configuration: Any, task_spec: TaskSpec) -> None:
    """Say in the library's words what goes in and what comes out."""
    schema = task_spec.input_schema
    if task_spec.task_type not in ("lm", "masked_lm"):
        configuration.num_labels = task_spec.num_outputs
    if "vocab_size" in schema:
        configuration.vocab_size = schema["vocab_size"]
    if "pad_token_id" in schema:
        configuration.pad_token_id = schema["pad_token_id"]
    positions = getattr(configuration, "max_position_embeddings", None)
    needed = schema.get("max_seq_len", 0) + spare_positions(configuration.to_dict())
    if isinstance(positions, int) and positions < needed:
        configuration.max_position_embeddings = needed
    if image_size := task_spec.image_size:
        channels, height, width = image_size
        if hasattr(configuration, "num_channels"):
            configuration.num_channels = channels
        if hasattr(configuration, "image_size"):
            configuration.image_size = height if height == width else [height, width]


# --- settings of training that networks know -----------------------------------------------------


# what each library calls the share of residual branches that training leaves out
_DROP_PATH = {
    "torchvision": "stochastic_depth_prob",
    "timm": "drop_path_rate",
    "transformers": "drop_path_rate",
}


def network_args(config: TrainingConfig) -> dict[str, Any]:
    """`model_args`, and with them what other settings mean to the library of the network.

    Raises:
        ConfigError: the network comes from no library that takes them, or both say the same.
    """
    if not config.drop_path:
        return dict(config.model_args)
    name = _DROP_PATH.get(config.model.partition(":")[0])
    if name is None:
        raise ConfigError(
            [
                f"drop_path: nobody knows how {config.model} takes it; it is for networks of "
                f"{', '.join(_DROP_PATH)}; give your own what it asks for in model_args"
            ]
        )
    if name in config.model_args:
        raise ConfigError([f"drop_path: model_args gives it, too, as {name}; leave one out"])
    return {name: config.drop_path, **config.model_args}


def drop_path_hint(library: str, message: str) -> str:
    """What an error about an argument has to do with `drop_path`; empty for nothing."""
    name = _DROP_PATH.get(library)
    if name is None or name not in message:
        return ""
    return f"; that is what drop_path sets in {library}: leave it at 0 for this network"


# --- all of them ---------------------------------------------------------------------------------


CATALOGUES: dict[str, Callable[[str, TaskSpec, Mapping[str, Any]], Entry]] = {
    "torchvision": torchvision_entry,
    "timm": timm_entry,
    "transformers": transformers_entry,
}


def _refuse_unknown(library: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise ModelError(f"model: {library} has no network {name!r}{nearest(name, known)}")
