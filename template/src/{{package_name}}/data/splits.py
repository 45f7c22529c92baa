"""What was read: the rows of each split, and what is known of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config import TrainingConfig
from ..errors import DataError
from .account import Account, shown

if TYPE_CHECKING:
    import datasets

# A class with fewer validation samples than this is named: its metrics say little.
ENOUGH_TO_VALIDATE = 5

# brought into memory together
DIGESTED_ROWS = 1000

# column of the rows that says which samples belong together: a speaker, a patient, a day
GROUP = "group"


@dataclass(frozen=True)
class Examination:
    """What opening every sample of a split told.

    Attributes:
        problems: one line for each sample that cannot be used, beginning with where it is.
        facts: what the samples are like, ready for JSON.
        digest: of what the samples hold, whatever their files are called and wherever they lie;
            empty where nobody made one.
    """

    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Splits:
    """Rows to train, to validate and to evaluate on.

    Attributes:
        train, val: tables whose columns are the modality's own.
        output_names: classes, labels or values, in the order of the network's outputs; empty where
            the processor knows them.
        processor: what was learned from the data to make numbers of them, such as a tokenizer; None
            where nothing was.
        test: rows that training never sees; None where there are none.
        facts: what the training samples are like, once they have been examined.
        digest: of the training samples, once they have been examined; see `Examination`.
        summary: what was understood of the data, ready for JSON; see `summarize`.
    """

    train: datasets.Dataset
    val: datasets.Dataset
    output_names: list[str]
    processor: Any = None
    test: datasets.Dataset | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


def labels_of(rows: datasets.Dataset) -> npt.NDArray[Any]:
    """The column `labels` as an array: [N], or [N, K] where a sample has several."""
    return np.asarray(rows.select_columns("labels")[:]["labels"])


def digest_of(rows: datasets.Dataset, columns: Sequence[str], *beside: str) -> str:
    """SHA-256 over the values of columns, in hexadecimal.

    Args:
        rows: a table.
        columns: those of them that it has count; they hold numbers or texts, or lists of numbers.
        beside: more that counts.
    """
    from datasets import List

    digest = hashlib.sha256()
    for name in columns:
        if name in rows.column_names:
            is_list = isinstance(rows.features[name], List)
            for batch in rows.select_columns(name).with_format("arrow").iter(DIGESTED_ROWS):
                values = batch[name].combine_chunks()
                if is_list:
                    digest.update(values.value_lengths().to_numpy().tobytes())
                    digest.update(values.flatten().to_numpy().tobytes())
                else:
                    digest.update(json.dumps(values.to_pylist()).encode())
    digest.update("".join(beside).encode())
    return digest.hexdigest()


def hold_out(groups: npt.NDArray[Any], share: float, seed: int) -> list[int]:
    """Positions of validation samples, in order: the same share of every group.

    Args:
        groups: the group of each sample [N]; a group of one is never held out.
        share: of each group; at least one sample of it, and at least `ENOUGH_TO_VALIDATE` where
            that is no more than a quarter of the group.
        seed: chooses them.
    """
    generator = np.random.default_rng(seed)
    held_out: list[int] = []
    for group in np.unique(groups):
        members = generator.permutation(np.flatnonzero(groups == group))
        wanted = max(1, round(len(members) * share), min(ENOUGH_TO_VALIDATE, len(members) // 4))
        held_out += members[: min(wanted, len(members) - 1)].tolist()
    return sorted(held_out)


def set_aside(
    rows: datasets.Dataset, groups: npt.NDArray[Any] | None, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Divide rows into those to train on and those to validate on.

    Args:
        rows: all of them.
        groups: the class of each, which keeps its share; None where there are no classes.
        config: `validation_split` and `seed`.

    Raises:
        DataError: too few rows.
    """
    chosen = np.zeros(len(rows), dtype=int) if groups is None else groups
    held_out = hold_out(chosen, config.validation_split, config.seed)
    if not held_out:
        raise DataError(too_few(config.data, len(rows), groups is not None))
    kept = np.setdiff1d(np.arange(len(rows)), held_out)
    return rows.select(kept), rows.select(held_out)


def set_aside_groups(
    rows: datasets.Dataset, classes: npt.NDArray[Any] | None, config: TrainingConfig
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Divide rows into those to train on and those to validate on, which share no group.

    Args:
        rows: all of them, with a column `group`.
        classes: the class of each, whose shares are kept as far as groups allow; None where there
            are no classes.
        config: `validation_split` and `seed`.

    Raises:
        DataError: there is only one group.
    """
    names, groups = np.unique(np.asarray(rows[GROUP][:]), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"{config.data}: all samples are of one group, {str(names[0])!r}, and validation is to "
            "share none with training; add another, or give the column another name to divide the "
            "samples themselves"
        )
    counts = _class_counts(groups, classes)
    held_out = hold_out_groups(counts, config.validation_split, config.seed)
    validates = np.isin(groups, held_out)
    return rows.select(np.flatnonzero(~validates)), rows.select(np.flatnonzero(validates))


def _class_counts(
    groups: npt.NDArray[np.int64], classes: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """Samples of each group in each class: [G, K], or [G, 1] without classes."""
    chosen = np.zeros(len(groups), dtype=np.int64) if classes is None else classes
    _, chosen = np.unique(chosen, return_inverse=True)
    counts = np.zeros((groups.max() + 1, chosen.max() + 1), dtype=np.int64)
    np.add.at(counts, (groups, chosen), 1)
    return counts


def hold_out_groups(counts: npt.NDArray[np.int64], share: float, seed: int) -> list[int]:
    """Groups to validate on, in order: about the same share of the samples of every class.

    In random order each group is taken that brings the shares nearer to what is wanted; then one
    for each class that has none yet. No class loses its last training sample to that.

    After K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of Multi-Label Data", 2011,
    who deal out samples of several labels so.

    Args:
        counts: samples of each group in each class, [G, K]; two groups or more.
        share: of each class.
        seed: chooses them.

    Returns:
        at least one group, and not all of them.
    """
    total = counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(counts)).tolist()
    taken: list[int] = []
    have = np.zeros_like(total)

    def distance(validation: npt.NDArray[np.int64]) -> float:
        return float(((validation / total - share) ** 2).sum())

    for group in order:
        more = have + counts[group]
        if (more < total).all() and distance(more) < distance(have):
            taken.append(group)
            have = more
    for group in order:
        more = have + counts[group]
        if group not in taken and (more < total).all() and ((have == 0) & (more > 0)).any():
            taken.append(group)
            have = more
    return sorted(taken) or [int(np.argmin(counts.sum(axis=1)))]


def warn_of_shared_groups(splits: Mapping[str, datasets.Dataset], account: Account) -> None:
    """Say which groups lie in training and in another split, where rows have groups."""
    found = {
        name: set(rows[GROUP][:]) for name, rows in splits.items() if GROUP in rows.column_names
    }
    for name, groups in found.items():
        if name != "train" and (shared := sorted(groups & found.get("train", set()))):
            account.warn(
                f"groups in train and in {name}: {shown(shared)}; what a model answers for groups "
                "it was trained on says little of others"
            )


def too_few(data: str, rows: int, has_classes: bool) -> str:
    """Why no sample can be set aside to validate on."""
    if has_classes and rows > 1:
        return (
            f"{data}: no class has two samples, one of which could validate; is the label's column "
            "a name or a measurement?"
        )
    return f"{data}: {rows} samples are too few to set some aside to validate on"


def validation_choice(config: TrainingConfig, by_class: bool, *, by_group: bool = False) -> str:
    """How `set_aside`, or `set_aside_groups`, chooses, for people."""
    share = f"{config.validation_split:.0%} of the training samples"
    if by_group:
        same = ", of each class where groups allow it" if by_class else ""
        return f"about {share}{same}, whole groups of them, drawn with seed {config.seed}"
    same = ", the same share of each class (at least 5 where that is no more than a quarter)"
    return f"{share}{same if by_class else ''}, drawn with seed {config.seed}"


def warn_of_rare_classes(val: npt.ArrayLike, names: Sequence[str], account: Account) -> None:
    """Name the classes that are validated on too few samples, or on none.

    Args:
        val: the class of each validation sample.
        names: of the classes.
        account: gets the warnings.
    """
    counts = np.bincount(np.asarray(val, dtype=np.int64), minlength=len(names))
    if none := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        account.warn(f"no sample validates the classes {shown(none)}: nothing is measured of them")
    few = [n for n, count in zip(names, counts, strict=True) if 0 < count < ENOUGH_TO_VALIDATE]
    if few:
        account.warn(
            f"fewer than {ENOUGH_TO_VALIDATE} samples validate the classes {shown(few)}: their "
            "metrics say little; add samples, or raise validation_split"
        )
