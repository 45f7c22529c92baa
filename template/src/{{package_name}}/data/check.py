"""Whether every sample can be read, and what they are like: told once for the same files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import BadSamples, TrainingError
from .splits import Splits

if TYPE_CHECKING:
    import datasets

    from .module import Modality

STAMP = ".checked"
# among the facts of a split
DIGEST = "digest"


def read_checked_splits(modality: Modality, config: TrainingConfig) -> Splits:
    """Read `config.data` and open every sample.

    Raises:
        BadSamples: naming those that cannot be used.
        DataError: the data cannot be read at all, or splits do not go together.
    """
    splits = modality.read_splits(config)
    return _with(splits, _examine(modality, splits, config), modality, config)


def with_facts(modality: Modality, splits: Splits, config: TrainingConfig) -> Splits:
    """The splits with the facts of their training samples, and what people should know of them.

    Every sample is opened, unless a stamp in the output folder says that these very ones have been.
    Of several processes each does that for itself: none waits for another, which could fail.

    Raises:
        BadSamples: samples cannot be read.
        DataError: splits do not go together.
        TrainingError: the output folder cannot be written.
    """
    stamp = Path(config.output_dir) / STAMP
    state = _state(modality, splits, config)
    facts = None if state is None else _read_stamp(stamp, state)
    if facts is None:
        facts = _examine(modality, splits, config)
        if state is not None:
            _write_stamp(stamp, state, facts)
    return _with(splits, facts, modality, config)


def _examine(
    modality: Modality, splits: Splits, config: TrainingConfig
) -> dict[str, dict[str, Any]]:
    """Open every sample of all splits; the facts of each with its digest, by its name."""
    examined = {name: modality.examine(rows, config) for name, rows in _by_name(splits).items()}
    if problems := [problem for split in examined.values() for problem in split.problems]:
        raise BadSamples(config.data, problems)
    return {name: {**split.facts, DIGEST: split.digest} for name, split in examined.items()}


def _with(
    splits: Splits,
    facts: Mapping[str, dict[str, Any]],
    modality: Modality,
    config: TrainingConfig,
) -> Splits:
    warnings = [*splits.summary.get("warnings", ()), *modality.review(facts, config)]
    train = dict(facts["train"])
    return replace(
        splits,
        digest=train.pop(DIGEST),
        facts=train,
        summary={**splits.summary, "warnings": warnings},
    )


def _by_name(splits: Splits) -> dict[str, datasets.Dataset]:
    rows = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {name: split for name, split in rows.items() if split is not None}


# --- The stamp: facts of samples that could all be read ------------------------------------------


def _state(
    modality: Modality, splits: Splits, config: TrainingConfig
) -> dict[str, str | None] | None:
    """Fingerprint of each split; None where nothing need be kept."""
    state = {name: modality.fingerprint(rows, config) for name, rows in _by_name(splits).items()}
    return state if any(state.values()) else None


def _read_stamp(path: Path, state: Mapping[str, str | None]) -> Any:
    """Facts of each split; None where there is no stamp, or one of other samples."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or damaged
        return None
    return kept["facts"] if isinstance(kept, dict) and kept.get("state") == state else None


def _write_stamp(
    path: Path, state: Mapping[str, str | None], facts: Mapping[str, Mapping[str, Any]]
) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"state": state, "facts": facts}))
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror}") from error
