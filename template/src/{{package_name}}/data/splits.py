"""What was read: the rows of each split, and what looking at every sample told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Examination:
    """What opening every sample of a split told.

    Attributes:
        problems: one line for each sample that cannot be used, beginning with where it is.
        facts: what the samples are like, ready for JSON.
    """

    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


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
    """

    train: datasets.Dataset
    val: datasets.Dataset
    output_names: list[str]
    processor: Any = None
    test: datasets.Dataset | None = None
    facts: dict[str, Any] = field(default_factory=dict)
