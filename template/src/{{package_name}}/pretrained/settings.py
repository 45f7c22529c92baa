"""Settings that pretrained weights bring along: how the inputs they know were prepared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..config import TrainingConfig
from ..errors import ConfigError
from .sources import Source, find_source


def settle(config: TrainingConfig, say: Callable[[str], None]) -> TrainingConfig:
    """The configuration with all that reading data asks for.

    Raises:
        as `find_source` and `settled`.
    """
    source = find_source(config)
    return config if source is None else settled(config, source, say)


def settled(config: TrainingConfig, source: Source, say: Callable[[str], None]) -> TrainingConfig:
    """The configuration with what it leaves open taken from the weights' own record.

    Args:
        config: fields of `RECORDED` that are null are open.
        source: of the weights.
        say: takes a line about what was taken, and one about what the record does not tell.

    Raises:
        ConfigError: the tokenizer of the weights is not known, texts are longer than the network
            takes, or what was taken contradicts other settings.
    """
    unset = [name for name in config.RECORDED if getattr(config, name) is None]
    taken = {name: source.record[name] for name in unset if name in source.record}
    others = {name: config.RECORDED[name] for name in unset if name not in source.record}
    if "tokenizer" in others and not source.processor:
        raise ConfigError(
            [
                f"pretrained: {source.name} comes without a tokenizer.json; give tokenizer: the "
                "PATH of the one that it was trained with"
            ]
        )
    _check_length(config, source)
    filled = _by_channels(config, taken | others)
    chosen = TrainingConfig.from_dict({**config.to_dict(), **filled})
    if taken:
        say(f"pretrained: {_listed(chosen, taken)}, from the record of {source.name}")
    silent = [name for name, value in others.items() if value is not None]
    if silent:
        say(
            f"pretrained: {source.name} does not tell {', '.join(silent)}; taking "
            f"{_listed(chosen, silent)}: set them as they were in its training"
        )
    return chosen


def settled_as_before(config: TrainingConfig, before: Mapping[str, Any]) -> TrainingConfig:
    """The configuration of a run that goes on: it has settled these things.

    Args:
        config: as given now.
        before: settings of the run.
    """
    unset = [
        name
        for name in (*config.RECORDED, "head")
        if getattr(config, name) is None and before.get(name) is not None
    ]
    return replace(config, **{name: before[name] for name in unset}) if unset else config


def _check_length(config: TrainingConfig, source: Source) -> None:
    asked = vars(config).get("max_seq_len")
    if asked is not None and source.longest is not None and asked > source.longest:
        raise ConfigError(
            [
                f"max_seq_len: {asked} is more than {source.name} takes; give at most "
                f"{source.longest}, or null"
            ]
        )


def _by_channels(config: TrainingConfig, filled: Mapping[str, Any]) -> dict[str, Any]:
    """The mean over colours where the record is of colours and images have another number."""
    shape = vars(config).get("image_size") or filled.get("image_size")
    fitting = dict(filled)
    for name in ("mean", "std"):
        values = filled.get(name)
        if shape and values and len(values) not in (1, shape[0]):
            fitting[name] = (sum(values) / len(values),)
    return fitting


def _listed(config: TrainingConfig, names: Any) -> str:
    return ", ".join(f"{name} {json.dumps(getattr(config, name))}" for name in names)
