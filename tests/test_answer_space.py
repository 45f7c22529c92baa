"""The arrays cover what they claim to; their maker's word is not taken for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from answer_space import (
    CORE,
    FORMAT_SETS,
    FORMATS,
    GATES,
    MODALITIES,
    answers,
    combinations_of,
    covering_array,
    interactions,
    some_format,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("strength", [1, 2, 3])
@pytest.mark.parametrize("factors", [CORE, GATES], ids=["core", "gates"])
def test_every_interaction_occurs(factors: dict[str, Sequence[Any]], strength: int) -> None:
    rows = covering_array(factors, strength)
    seen = {frozenset(pairs) for row in rows for pairs in combinations(row.items(), strength)}
    # With at most three factors fixed, a fourth format is always free to be chosen.
    missing = [wanted for wanted in interactions(factors, strength) if wanted not in seen]
    assert not missing


@pytest.mark.parametrize("strength", [2, 3])
def test_rows_are_valid_and_few(strength: int) -> None:
    rows = covering_array(GATES, strength)
    assert all(some_format(row) for row in rows)
    assert len({tuple(row.items()) for row in rows}) == len(rows)
    assert len(rows) < len(combinations_of(GATES)) / 3


def test_the_core_space_is_whole() -> None:
    assert len(FORMAT_SETS) == 2 ** len(FORMATS) - 1
    tasks = sum(len(row["tasks"]) for row in MODALITIES.values())
    assert len(combinations_of(CORE)) == tasks * 5 * 2 * 15


def test_a_row_becomes_answers() -> None:
    row = {"task": ("vision", "vision_regression"), "onnx": True, "torchscript": False}
    row |= {"pytorch": False, "pt2": True}
    assert answers(row) == {
        "modality": "vision",
        "task": "vision_regression",
        "export_formats": ["onnx", "pt2"],
    }


def test_a_missing_interaction_would_be_noticed() -> None:
    rows = covering_array(GATES, 2)[1:]
    seen = {frozenset(pairs) for row in rows for pairs in combinations(row.items(), 2)}
    assert [wanted for wanted in interactions(GATES, 2) if wanted not in seen]
