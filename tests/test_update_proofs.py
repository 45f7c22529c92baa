"""`tp35 update` from outside, as `python -m tests.updates` tries it: a few, or all if slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from updates.catalogue import PLACES
from updates.edits import Ground, Script, try_script
from updates.large import MOST, measure
from updates.places import Plain, check_plain, plain_update, try_place
from updates.subjects import real_subject, toy_subject
from updates.toy import Subject

pytestmark = pytest.mark.integration

# One of each kind of place, with a clash alone.
FEW = (
    "a checkout of depth 1",
    "a read-only folder: docs, where one must be made",
    "a larger repository with 300 files and a repository that are untracked",
    "core.autocrlf=true, files with CRLF",
    "in the hook pre-commit, git commit -a",
    "LANG=C",
)
SCRIPTS, FEW_SCRIPTS, REAL_SCRIPTS = 500, 8, 20


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return toy_subject(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="module")
def plain(toy: Subject, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Plain]:
    """How updates end where nothing is special."""
    root = tmp_path_factory.mktemp("plain")
    return {
        clashing: plain_update(root / str(clashing), toy, clashing) for clashing in (True, False)
    }


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, dict[bool, Plain]]:
    root = tmp_path_factory.mktemp("real")
    subject = real_subject(root / "real")
    return subject, {
        clashing: plain_update(root / str(clashing), subject, clashing)
        for clashing in (True, False)
    }


@pytest.mark.parametrize("clashing", [True, False])
def test_a_plain_update_ends_as_known_by_heart(plain: dict[bool, Plain], clashing: bool) -> None:
    assert not list(check_plain(plain[clashing], clashing))


@pytest.mark.parametrize("name", FEW)
def test_an_update_ends_there_as_elsewhere_or_in_one_line(
    toy: Subject, plain: dict[bool, Plain], name: str, tmp_path: Path
) -> None:
    row = try_place(PLACES[name], tmp_path, toy, {True: plain[True]})
    assert not row.wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLACES))
def test_an_update_ends_as_elsewhere_in_every_place(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = PLACES[name]
    if place.real:
        subject, plain = request.getfixturevalue("real")
    else:
        subject, plain = request.getfixturevalue("toy"), request.getfixturevalue("plain")
    assert not try_place(place, tmp_path, subject, plain).wrong


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.build(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def real_ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.build(tmp_path_factory.mktemp("ground"), real=True)


def _numbers(count: int, at_once: int) -> list[object]:
    return [
        pytest.param(number, marks=[] if number < at_once else [pytest.mark.slow])
        for number in range(count)
    ]


@pytest.mark.parametrize("number", _numbers(SCRIPTS, FEW_SCRIPTS))
def test_no_edit_and_no_change_of_the_template_is_lost(number: int, ground: Ground) -> None:
    result = try_script(number, ground)
    assert not result.wrong, result.script


@pytest.mark.slow
@pytest.mark.parametrize("number", range(REAL_SCRIPTS))
def test_nothing_is_lost_of_the_real_template(number: int, real_ground: Ground) -> None:
    result = try_script(number, real_ground)
    assert not result.wrong, result.script


def test_a_script_is_the_same_every_time() -> None:
    assert str(Script.of(7)) == str(Script.of(7)) != str(Script.of(8))


@pytest.mark.slow
def test_a_large_repository_takes_no_more_than_twice_as_long(tmp_path: Path) -> None:
    for times in measure(tmp_path, files=100_000, rounds=5):
        assert times.ratio <= MOST, str(times)
