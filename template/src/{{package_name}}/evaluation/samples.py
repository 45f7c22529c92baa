"""Which samples a trained network is evaluated on: a split of its own data, or any others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import TrainingConfig
from ..data.account import account_lines
from ..data.columns import COLUMN_SETTINGS
from ..data.module import load_modality
from ..data.splits import Splits
from ..errors import BadSamples, DataError
from . import Measured, splits_of_run

VAL, TEST = "val", "test"
OWN_SPLITS = (VAL, TEST)


@dataclass(frozen=True)
class Chosen:
    """The samples to evaluate on.

    Attributes:
        split: `val`, `test`, or a name made of where other data lie.
        data: where they lie.
        splits: the rows; those of a split that is not `val` are `test`.
        told: what they are, for people.
    """

    split: str
    data: str
    splits: Splits
    told: str

    @property
    def count(self) -> int:
        """How many there are."""
        rows = self.splits.val if self.split == VAL else self.splits.test
        return 0 if rows is None else len(rows)


def choose(
    trained: Measured, data: str | None, config: TrainingConfig, say: Callable[[str], None]
) -> Chosen:
    """Read the samples that `--data` names.

    Args:
        trained: what will be evaluated.
        data: `val` or `test` of the data of its run; otherwise where other data lie, all of which
            are taken. By default the test split where there is one, else the validation samples.
        config: its settings about columns say how other data are read.
        say: takes a line about what was left out or tidied up.

    Raises:
        DataError: no such split, or samples that cannot be used, all of them named.
    """
    if data is None or data in OWN_SPLITS:
        return _own(trained, data)
    return _other(trained, data, config, say)


def _own(trained: Measured, split: str | None) -> Chosen:
    splits, data = splits_of_run(trained), trained.config.data
    if split is None:
        split = VAL if splits.test is None else TEST
    if split == TEST:
        if splits.test is None:
            raise DataError(
                f"{data} has no test split; give --data val for the samples that chose the "
                "checkpoint, or --data PATH of others"
            )
        return Chosen(TEST, data, splits, f"the test samples of {data}, which training never saw")
    why = "" if splits.test is not None else "; there is no test split"
    told = f"the validation samples of {data}, which chose this checkpoint{why}"
    return Chosen(VAL, data, splits, told)


def _other(
    trained: Measured, data: str, config: TrainingConfig, say: Callable[[str], None]
) -> Chosen:
    modality, task_spec = load_modality(trained.task_spec.modality), trained.task_spec
    asked = config.to_dict()
    columns = {name: asked[name] for name in asked if name.endswith(COLUMN_SETTINGS)}
    reading = replace(trained.config, data=data, **columns)
    rows, account = modality.read_samples(reading, task_spec.class_names, trained.processor)
    if problems := modality.examine(rows, reading).problems:
        raise BadSamples(data, problems)
    for line in account_lines(account.to_dict()):
        say(line)
    for warning in account.warnings:
        warnings.warn(warning, stacklevel=2)
    try:
        own = modality.read_splits(trained.config, trained.processor)
    except DataError as error:
        say(f"whether these samples were trained on is not known: {str(error).splitlines()[0]}")
        none = rows.select([])
        own = Splits(none, none, task_spec.class_names, trained.processor)
    else:
        _warn_of_repeated(modality.count_repeated(rows, own.train), len(rows), trained, data)
    return Chosen(name_of(data), data, replace(own, test=rows), f"all samples of {data}")


def _warn_of_repeated(repeated: int, count: int, trained: Measured, data: str) -> None:
    if repeated:
        warnings.warn(
            f"{repeated} of {count} samples of {data} are training samples of "
            f"{trained.config.data}: what a network says of those tells little of others",
            stacklevel=2,
        )


def name_of(data: str) -> str:
    """A folder's name for an evaluation on other data, by where they lie."""
    name = re.sub(r"[^\w.]+", "-", str(Path(data))).strip("-.") or "data"
    return f"{name}-data" if name in OWN_SPLITS else name
