"""Whether every sample can be read, and what they are like: told once for the same files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import BadSamples, TrainingError
from .account import Account
from .splits import Examination, Splits

if TYPE_CHECKING:
    import datasets

STAMP = ".checked"
# among the facts of a split
DIGEST = "digest"


class Reading(Protocol):
    """What a modality's `data/reading.py` provides, without waiting for torch."""

    def read_splits(self, config: TrainingConfig, processor: Any = None) -> Splits:
        """Read `config.data`; DataError names what is wrong with it.

        Args:
            config: where the data lie and how they are split.
            processor: of a run, used instead of learning another from the data.
        """

    def read_samples(
        self, config: TrainingConfig, names: list[str], processor: Any
    ) -> tuple[datasets.Dataset, Account]:
        """Read all samples of `config.data`, whichever splits they belong to, to evaluate on.

        Args:
            config: where they lie.
            names: classes, labels or values as the network has them; matched by name.
            processor: of the network, where it has one.

        Returns:
            the rows, for `examine` to open, and the account of the reading. DataError names what is
            wrong with them, and labels that the network has not learned.
        """

    def count_repeated(self, rows: datasets.Dataset, train: datasets.Dataset) -> int:
        """How many samples are among the training samples, as far as that is cheap to tell."""

    def examine(self, rows: datasets.Dataset, config: TrainingConfig) -> Examination:
        """Open every sample: what they are, and one line for each that cannot be read."""

    def fingerprint(self, rows: datasets.Dataset, config: TrainingConfig) -> str | None:
        """Digest of all that `examine` hangs on; None where its answer need not be kept."""

    def review(self, facts: Mapping[str, Mapping[str, Any]], config: TrainingConfig) -> list[str]:
        """What people should know before training, one line each, by the facts of each split.

        DataError where splits with such facts cannot be trained on.
        """

    def places(self, rows: datasets.Dataset) -> list[str]:
        """The file of each sample, or where it is in its table."""


def read_checked_splits(reading: Reading, config: TrainingConfig) -> Splits:
    """Read `config.data` and open every sample.

    Raises:
        BadSamples: naming those that cannot be used.
        DataError: the data cannot be read at all, or splits do not go together.
    """
    splits = reading.read_splits(config)
    return _with(splits, _examine(reading, splits, config), reading, config)


def with_facts(reading: Reading, splits: Splits, config: TrainingConfig) -> Splits:
    """The splits with the facts of their training samples, and what people should know of them.

    Every sample is opened, unless a stamp in the output folder says that these very ones have been.
    Of several processes each does that for itself: none waits for another, which could fail.

    Raises:
        BadSamples: samples cannot be read.
        DataError: splits do not go together.
        TrainingError: the output folder cannot be written.
    """
    stamp = Path(config.output_dir) / STAMP
    state = _state(reading, splits, config)
    facts = None if state is None else _read_stamp(stamp, state)
    if facts is None:
        facts = _examine(reading, splits, config)
        if state is not None:
            _write_stamp(stamp, state, facts)
    return _with(splits, facts, reading, config)


def _examine(reading: Reading, splits: Splits, config: TrainingConfig) -> dict[str, dict[str, Any]]:
    """Open every sample of all splits; the facts of each with its digest, by its name."""
    examined = {name: reading.examine(rows, config) for name, rows in _by_name(splits).items()}
    if problems := [problem for split in examined.values() for problem in split.problems]:
        raise BadSamples(config.data, problems)
    return {name: {**split.facts, DIGEST: split.digest} for name, split in examined.items()}


def _with(
    splits: Splits,
    facts: Mapping[str, dict[str, Any]],
    reading: Reading,
    config: TrainingConfig,
) -> Splits:
    warnings = [*splits.summary.get("warnings", ()), *reading.review(facts, config)]
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
    reading: Reading, splits: Splits, config: TrainingConfig
) -> dict[str, str | None] | None:
    """Fingerprint of each split; None where nothing need be kept."""
    state = {name: reading.fingerprint(rows, config) for name, rows in _by_name(splits).items()}
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
