"""How inputs were prepared for pretrained weights: the record that a library or folder keeps.

Each function gives settings by their names in the configuration; what a record leaves out is left
out. A modality takes those that it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .files import CONFIG_FILE

# names of interpolations by the numbers that preprocessors record
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_SETTINGS_FILE = "tokenizer_config.json"

# A longer input than this is taken where it is asked for only: some networks read whole books.
LONGEST = 1024
# RoBERTa and its like count positions from behind the padding's id
OFFSET_POSITIONS = ("camembert", "data2vec-text", "longformer", "mpnet")
# what transformers writes where a tokenizer knows no limit is far beyond this
NO_LIMIT = 10_000_000


def of_timm(settings: Mapping[str, Any]) -> dict[str, Any]:
    """From a `pretrained_cfg` of timm."""
    record = {
        "image_size": _whole(settings.get("input_size")),
        "mean": _numbers(settings.get("mean")),
        "std": _numbers(settings.get("std")),
        "interpolation": _filter(settings.get("interpolation")),
    }
    return _known(record)


def of_torchvision(transforms: Any) -> dict[str, Any]:
    """From the `transforms()` of torchvision's weights for classification."""
    size = getattr(transforms, "crop_size", None)
    size = [size] if isinstance(size, int) else size
    record = {
        "image_size": None if not size else (3, int(size[0]), int(size[-1])),
        "mean": _numbers(getattr(transforms, "mean", None)),
        "std": _numbers(getattr(transforms, "std", None)),
        "interpolation": _filter(getattr(getattr(transforms, "interpolation", None), "value", "")),
    }
    return _known(record)


def of_folder(folder: Path) -> dict[str, Any]:
    """From the files beside weights in transformers' format; empty where none says anything.

    Raises:
        ModelError: one of them is damaged.
    """
    config = read_json(folder / CONFIG_FILE)
    if isinstance(config.get("pretrained_cfg"), Mapping):  # written by timm
        return of_timm(config["pretrained_cfg"])
    preprocessor = read_json(folder / PREPROCESSOR_FILE)
    return _of_images(preprocessor, config) | _of_sounds(preprocessor) | _of_texts(folder, config)


def _of_images(preprocessor: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    if not preprocessor:
        sides = _sides(config.get("image_size"))
        return {"image_size": (config.get("num_channels", 3), *sides)} if sides else {}
    size = preprocessor.get("crop_size") if preprocessor.get("do_center_crop", True) else None
    sides = _sides(size) or _sides(preprocessor.get("size"))
    channels = config.get("num_channels", 3)
    # a record may scale to another range than 0..1 before it normalises
    scale = 255 * float(preprocessor.get("rescale_factor", 1 / 255))
    mean, std = _numbers(preprocessor.get("image_mean")), _numbers(preprocessor.get("image_std"))
    if not preprocessor.get("do_normalize", True):
        mean, std = (0.0,), (1.0,)
    record = {
        "image_size": None if sides is None else (channels, *sides),
        "mean": None if mean is None else tuple(value / scale for value in mean),
        "std": None if std is None else tuple(value / scale for value in std),
        "interpolation": RESAMPLING.get(preprocessor.get("resample", -1)),
    }
    return _known(record)


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width, as any version of transformers has written them."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
        if "shortest_edge" in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
    return None


def _of_sounds(preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """Of encoders of raw sound; what makes spectrograms is recorded in too many ways."""
    if preprocessor.get("feature_size") != 1 or "sampling_rate" not in preprocessor:
        return {}
    return {
        "sample_rate": int(preprocessor["sampling_rate"]),
        "features": "waveform",
        "normalization": "sample" if preprocessor.get("do_normalize", True) else "none",
    }


def _of_texts(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    tokenizer = folder / TOKENIZER_FILE
    limit = longest_text(folder, config)
    record = {
        "tokenizer": str(tokenizer) if tokenizer.is_file() else None,
        "max_seq_len": None if limit is None else min(limit, LONGEST),
    }
    return _known(record)


def longest_text(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Tokens that a network takes at most; None where no file tells."""
    told = read_json(folder / TOKENIZER_SETTINGS_FILE).get("model_max_length")
    limits = [int(told)] if isinstance(told, int | float) and 2 <= told < NO_LIMIT else []
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if isinstance(positions, int) and positions > 2:
        limits.append(positions - spare_positions(config))
    return min(limits, default=None)


def spare_positions(config: Mapping[str, Any]) -> int:
    """Positions of a network of transformers that no token is at."""
    kind, padding = str(config.get("model_type")), config.get("pad_token_id")
    is_offset = "roberta" in kind or kind in OFFSET_POSITIONS
    return padding + 1 if is_offset and isinstance(padding, int) else 0


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty where there is no such file.

    Raises:
        ModelError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"pretrained: {path} is damaged: {error}") from error
    return data if isinstance(data, dict) else {}


def _filter(name: Any) -> str | None:
    return name if name in RESAMPLING.values() else None


def _whole(values: Any) -> tuple[int, ...] | None:
    return None if values is None else tuple(int(value) for value in values)


def _numbers(values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    return tuple(float(v) for v in values) if isinstance(values, list | tuple) else (float(values),)


def _known(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}
