"""Where `pretrained` points to: a library's catalogue, a file, a folder, or a run of this project.

The libraries timm and transformers are imported where they are asked for only.
"""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from ..architecture import Architecture
from ..catalogues import is_folder
from ..config import TrainingConfig, nearest
from ..data.account import shown
from ..data.module import load_modality
from ..data.processor import processor_from
from ..errors import ModelError
from ..libraries import require
from ..task import TaskSpec
from ..training.checkpoints import (
    BEST,
    LAST,
    MODEL_PREFIX,
    find_checkpoint,
    read_checkpoint,
)
from ..training.runs import FOLDER
from . import records
from .files import (
    FOLDER_FILES,
    StoredWeights,
    check_readable,
    is_safetensors,
    read_saved,
    read_stored,
    weights_file,
)
from .head import base_model_prefix

DEFAULT = "default"

# endings by which a name that is not there was meant for a file
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".json", ".tar", ".pkl")

# of a folder on a hub, what fine-tuning needs
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


@dataclass(frozen=True)
class Source:
    """Weights that somebody has trained, not read yet.

    Attributes:
        name: for people.
        record: settings by which inputs were prepared for them; see `records`.
        read: gives the weights for a network of this architecture, where that is known.
        processor: files of what made the inputs, of a run of this project.
        longest: tokens that the network takes at most; None where nobody tells.
    """

    name: str
    record: Mapping[str, Any]
    read: Callable[[nn.Module, Architecture | None], StoredWeights]
    processor: Mapping[str, bytes] = field(default_factory=dict)
    longest: int | None = None

    def load_processor(self) -> Any:
        """What made the inputs, such as a tokenizer; None where no run of this project did."""
        return processor_from(load_modality(TaskSpec.modality), self.processor)


def find_source(config: TrainingConfig) -> Source | None:
    """What `config.pretrained` means for `config.model`; None where it is null.

    Raises:
        ModelError: nothing by that name, a file that is no weights, or a library that is missing.
    """
    asked = config.pretrained
    if asked is None:
        return None
    library, _, name = config.model.partition(":")
    path = Path(asked).expanduser()
    if asked != DEFAULT and path.exists():
        return _of_path(path)
    if asked != DEFAULT and (asked.endswith(FILE_SUFFIXES) or asked.startswith((".", "/", "~"))):
        raise ModelError(f"pretrained: {asked} does not exist")
    if library == "torchvision":
        return _of_torchvision(name, asked)
    if library == "timm":
        return _of_timm(name, asked)
    if library == "transformers":
        return _of_transformers(name, asked)
    meaning = "the default weights of a library" if asked == DEFAULT else "neither file nor folder"
    raise ModelError(
        f"pretrained: {asked} is {meaning}, and model: {config.model} has no catalogue; give a "
        "file of weights, or model: torchvision:NAME, timm:NAME or transformers:FOLDER"
    )


# --- Files, folders, runs ------------------------------------------------------------------------


def _of_path(path: Path) -> Source:
    if path.is_dir():
        if any((path / FOLDER / name).exists() for name in (BEST, LAST)):
            return _of_checkpoint(find_checkpoint("", str(path), "best"))
        return _of_folder(path)
    if path.name in FOLDER_FILES and records.of_folder(path.parent):
        return _of_folder(path.parent)
    if not path.name.endswith(".json") and not is_safetensors(path) and _is_own(read_saved(path)):
        return _of_checkpoint(path)
    return Source(path.name, {}, lambda network, _: _for_timm(network, read_stored(path)))


def _is_own(saved: Any) -> bool:
    return isinstance(saved, Mapping) and "task_spec" in saved and "checkpoint_version" in saved


def _of_checkpoint(path: Path) -> Source:
    """A run of this project: its task says how inputs were prepared."""
    checkpoint = read_checkpoint(path)
    task_spec = TaskSpec.from_dict(checkpoint["task_spec"])
    preprocessing = task_spec.preprocessing_config
    record = {**task_spec.input_schema, **preprocessing}
    if not preprocessing.get("normalize", True):
        record |= {"mean": (0.0,), "std": (1.0,)}
    return Source(
        str(path),
        record,
        lambda network, _: _network_of(checkpoint),
        {name: value.numpy().tobytes() for name, value in checkpoint["processor"].items()},
        task_spec.input_schema.get("max_seq_len"),
    )


def _network_of(checkpoint: Mapping[str, Any]) -> StoredWeights:
    weights = checkpoint["state_dict"]
    tensors = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in weights.items()
        if name.startswith(MODEL_PREFIX)
    }
    metadata = {
        path.removeprefix(MODEL_PREFIX): value
        for path, value in getattr(weights, "_metadata", {}).items()
        if path.startswith(MODEL_PREFIX)
    }
    return StoredWeights(tensors, metadata)


def _of_folder(folder: Path) -> Source:
    file = weights_file(folder)
    check_readable(file)

    def read(network: nn.Module, architecture: Architecture | None) -> StoredWeights:
        if base_model_prefix(network) is not None:
            return _through_transformers(network, folder)
        return _for_timm(network, read_stored(file))

    config = records.read_json(folder / "config.json")
    return Source(
        str(folder), records.of_folder(folder), read, {}, records.longest_text(folder, config)
    )


# --- transformers --------------------------------------------------------------------------------


def _of_transformers(name: str, asked: str) -> Source:
    """The folder that the network is built from, or one of the hub."""
    folder = Path(name)
    if asked == DEFAULT and folder.is_dir():
        return _of_folder(folder)
    if asked == DEFAULT and not is_folder(name):
        raise ModelError(
            f"pretrained: transformers has no default weights of {name}; give a folder in its "
            "format, here or as model: transformers:FOLDER"
        )
    return _of_folder(_from_hub(name if asked == DEFAULT else asked))


def _from_hub(name: str) -> Path:
    hub = require("huggingface_hub", "pretrained")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except hub.errors.HFValidationError as error:
        raise ModelError(f"pretrained: {name} is no file, no folder and no hub name") from error
    except (hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise _not_downloaded(f"{name} of the hub", error) from error


def _through_transformers(network: nn.Module, folder: Path) -> StoredWeights:
    """Weights under the names of the present network: the library knows those of older versions."""
    loaded: Any = type(network)
    with _quiet(require("transformers", "pretrained")), torch.random.fork_rng(devices=[]):
        try:
            other, info = loaded.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        # whatever the library finds wrong with a folder
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"pretrained: {folder} cannot be loaded: {reason}") from error
    state = other.state_dict()
    tensors = {key: value for key, value in state.items() if key not in info["missing_keys"]}
    unexpected = {key: torch.empty(0, device="meta") for key in info["unexpected_keys"]}
    return StoredWeights(tensors | unexpected, state._metadata)


@contextlib.contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Without the library's own report: what was loaded is told in one line."""
    logging = transformers.utils.logging
    before, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bars:
            logging.enable_progress_bar()


# --- torchvision ---------------------------------------------------------------------------------


def _of_torchvision(name: str, asked: str) -> Source:
    try:
        known = require("torchvision", "pretrained").models.get_model_weights(name)
    except ValueError as error:
        raise ModelError(f"pretrained: torchvision has no weights of {name}") from error
    member = asked.rpartition(".")[2]
    if asked == DEFAULT:
        weights = next(iter(known), None) if not hasattr(known, "DEFAULT") else known.DEFAULT
    else:
        weights = known.__members__.get(member)
    if weights is None:
        names = list(known.__members__)
        raise ModelError(
            f"pretrained: torchvision has no weights {member!r} of {name}; give a file, or one "
            f"of: {', '.join(names)}{nearest(member, names)}"
        )

    def read(network: nn.Module, _: Architecture | None) -> StoredWeights:
        try:
            state = weights.get_state_dict(progress=False, check_hash=True)
        except (URLError, OSError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
            raise _not_downloaded(f"{weights.url} to {torch.hub.get_dir()}", error) from error
        return StoredWeights(state, getattr(state, "_metadata", None))

    return Source(str(weights), records.of_torchvision(weights.transforms()), read)


# --- timm ----------------------------------------------------------------------------------------


def _of_timm(name: str, asked: str) -> Source:
    timm = require("timm", "pretrained")
    architecture, _, tag = name.partition(".")
    if asked != DEFAULT:
        tag = asked.removeprefix(f"{architecture}.")
    known = _timm_catalogue(timm, architecture)
    tag = tag or next(iter(known), "")
    settings = known.get(tag)
    if settings is None:
        raise ModelError(
            f"pretrained: timm has no weights {tag!r} of {architecture}; give a file"
            + (f", or one of: {shown(list(known))}{nearest(tag, list(known))}" if known else "")
        )

    full = f"{architecture}.{tag}" if tag else architecture

    def read(network: nn.Module, built: Architecture | None) -> StoredWeights:
        arguments = {"num_classes": network.num_classes} if built is None else built.kwargs
        arguments = arguments | {"model_name": full, "pretrained": True}
        with torch.random.fork_rng(devices=[]):
            try:
                other = timm.create_model(**arguments)
            except (OSError, RuntimeError, ValueError) as error:
                raise _not_downloaded(f"{full} of timm", error) from error
        return _of_built(other, settings)

    return Source(f"{full} of timm", records.of_timm(settings), read)


def _timm_catalogue(timm: ModuleType, architecture: str) -> dict[str, dict[str, Any]]:
    """Settings of all weights of an architecture, by their tags; its default first."""
    tags = [
        full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)
    ]
    default = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    first = [default.tag] if default is not None and default.has_weights else []
    return {
        tag: timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture).to_dict()
        for tag in dict.fromkeys([*(tag or "" for tag in first), *tags])
    }


def _of_built(other: nn.Module, settings: Mapping[str, Any]) -> StoredWeights:
    """Weights of a network into which timm has loaded them, with its own ways to make them fit."""
    tensors = dict(other.state_dict())
    trained_outputs, outputs = settings.get("num_classes"), getattr(other, "num_classes", None)
    classifier: Any = settings.get("classifier") or ()
    for layer in (classifier,) if isinstance(classifier, str) else classifier:
        for key in [f"{layer}.weight", f"{layer}.bias"]:
            if trained_outputs not in (None, 0, outputs) and key in tensors:
                # of the width that the weights have; nothing is in it
                tensors[key] = torch.empty(trained_outputs, *tensors[key].shape[1:], device="meta")
    notes = []
    wanted, *trained_for = settings["input_size"]
    built_for: Any = getattr(getattr(other, "patch_embed", None), "img_size", None)
    if built_for and list(built_for) != trained_for:
        had, has = (" x ".join(map(str, size)) for size in (trained_for, built_for))
        places = [key for key in tensors if key.endswith("pos_embed")]
        notes += [f"timm interpolated {key}, from images of {had} to {has}" for key in places]
    first = settings.get("first_conv")
    convolution = tensors.get(f"{first}.weight")
    if isinstance(first, str) and convolution is not None:
        channels = convolution.shape[1]
        if channels != wanted:
            notes.append(_adapted(first, wanted, channels))
    return StoredWeights(tensors, notes=tuple(notes))


def _for_timm(network: nn.Module, stored: StoredWeights) -> StoredWeights:
    """Weights of a file as a network of timm wants them; those of other networks as they are.

    timm has functions that bring names of the papers' authors to its own and positions to another
    size of images.
    """
    settings: Any = getattr(network, "pretrained_cfg", None)
    own = network.state_dict()
    if not isinstance(settings, dict) or not settings:
        return stored
    tensors, notes = dict(stored.tensors), list(stored.notes)
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    unlike = [k for k, v in tensors.items() if k not in own or v.shape != own[k].shape]
    if convert is not None and unlike:
        before, tensors = tensors, dict(convert(tensors, network))
        notes += [
            f"timm interpolated {key}, from {list(before[key].shape)} to {list(value.shape)}"
            for key, value in tensors.items()
            if "pos" in key and key in before and before[key].shape != value.shape
        ]
    first = settings.get("first_conv")
    for layer in (first,) if isinstance(first, str) else first or ():
        key = f"{layer}.weight"
        if key in tensors and key in own and tensors[key].shape[1] != own[key].shape[1]:
            had, has = tensors[key].shape[1], own[key].shape[1]
            with contextlib.suppress(NotImplementedError):  # then it is told as another shape
                timm = require("timm", "pretrained")
                tensors[key] = timm.models.adapt_input_conv(has, tensors[key])
                notes.append(_adapted(layer, had, has))
    return replace(stored, tensors=tensors, notes=tuple(notes))


def _adapted(layer: str, had: int, has: int) -> str:
    return f"timm brought {layer}, the first convolution, from {had} channels to {has}"


# --- Downloads -----------------------------------------------------------------------------------


def _not_downloaded(what: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return ModelError(
        f"pretrained: cannot download {what}: {reason}; without a network give a file or folder "
        "that you brought: --pretrained PATH"
    )
