"""The benchmarks' contenders do the same, and the page says what was measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from benchmarks.catalogue import BENCHMARKS
from benchmarks.harness import ROOT, Outcome, Row, Scale, Target, Way, interleave
from benchmarks.page import FIGURES, PAGE, claim, page, picture, read_outcomes, section
from benchmarks.tables import ranked

# of those in the group `benchmarks` alone
OTHERS = ("bentoml", "litserve", "mosec", "river", "statsmodels")


def row(*targets: Target) -> Row:
    ours = Way("ours", "ours", [30.0, 10.0, 20.0])
    return Row(
        "loading", "images/s", [ours, Way("peer", "peer 1.0", [10.0, 5.0, 10.0])], [*targets]
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("target", "line"),
    [
        (
            Target("ours", "peer", least=1.5),
            "ours / peer: 2 (2 to 2.5); target at least 1.5: met",
        ),
        (
            Target("ours", "peer", least=2.5),
            "ours / peer: 2 (2 to 2.5); target at least 2.5: **missed** by 20%",
        ),
        (
            Target("peer", "ours", most=0.4),
            "peer / ours: 0.5 (0.417 to 0.5); target at most 0.4: **missed** by 25%",
        ),
        (
            Target("ours", most=19.9),
            "ours: 20 (15 to 25); target at most 19.9: **missed** by less than 1%",
        ),
        (Target("ours", most=20), "ours: 20 (15 to 25); target at most 20: met"),
    ],
    ids=["met", "below", "above", "just above", "absolute"],
)
def test_a_claim_is_judged_by_the_median_of_the_rounds_ratios(target: Target, line: str) -> None:
    assert claim(target, row(target).ways) == f"- {line}"


@pytest.mark.unit
def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    called: list[str] = []

    def way(name: str) -> float:
        called.append(name)
        return float(len(called))

    values = interleave({"a": lambda: way("a"), "b": lambda: way("b")}, Scale(rounds=2))
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [4, 5], "b": [3, 6]}


@pytest.mark.unit
def test_figures_are_kept_whole() -> None:
    outcome = Outcome("loading", "2026-11-28", "a machine", 1.5, [row(Target("ours", most=30))])
    assert Outcome.of(json.loads(json.dumps(outcome.to_dict()))) == outcome


@pytest.mark.unit
def test_the_page_is_written_from_its_figures() -> None:
    outcomes = read_outcomes()
    assert PAGE.read_text("utf-8") == page(outcomes)
    kept = json.loads(FIGURES.read_text("utf-8"))
    assert {one["benchmark"] for one in kept} == outcomes.keys()
    assert outcomes.keys() >= {name for name, found in BENCHMARKS.items() if not found.is_gpu}


@pytest.mark.unit
def test_the_picture_shows_every_target() -> None:
    targets = [Target("ours", "peer", least=1.5), Target("ours", most=10)]
    chart = picture([Outcome("loading", "", "", 0, [row(*targets)])])
    assert [point["share"] for point in chart["data"]["values"]] == [pytest.approx(4 / 3), 0.5]
    assert [point["target"] for point in chart["data"]["values"]] == ["met", "missed"]


@pytest.mark.unit
def test_a_row_shows_contenders_with_their_versions_and_its_note() -> None:
    shown = section(Row("loading", "images/s", row().ways, [], "Why so."))
    assert "| peer (peer 1.0) | 10 (7.5 to 10) |" in shown
    assert shown.endswith("\nWhy so.\n")


@pytest.mark.unit
def test_contenders_on_tables_are_ranked_by_less_loss_or_more_hits() -> None:
    reached = {
        "network": {"val/loss": 0.2, "val/accuracy": 0.75},
        "trees": {"val/loss": 0.4, "val/accuracy": 0.5},
        "line": {"val/loss": 0.3, "val/accuracy": 0.75},
    }
    assert ranked("log loss", reached) == {"network": 1, "trees": 3, "line": 2}
    assert ranked("accuracy", reached) == {"network": 1.5, "trees": 3, "line": 1.5}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_all_contenders_are_right(name: str) -> None:
    missing = [package for package in OTHERS if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed; uv run --group benchmarks pytest")
    command = [sys.executable, "-m", "tests.benchmarks", name, "--rounds", "0", "--toy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
