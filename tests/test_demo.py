"""`tp35 demo`: its stages, its verdict, and that it never calls a failure a success.

The stages are run against a stand-in for the project's commands here; `test_projects.py` runs the
real ones.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from conftest import Tp35

from tp35 import modalities

pytestmark = pytest.mark.unit

UV = """#!/bin/sh
echo "$PWD: $*" >> {log}
test -z "$VIRTUAL_ENV$UV_PROJECT_ENVIRONMENT" || exit 9
case "$*" in
  *"{failing}"*) echo "some output"; echo "the reason" >&2; exit 3 ;;
  *" train")
    mkdir -p data/train/3 data/val/7 runs/one
    touch data/train/3/a.png data/val/7/b.png runs/one/report.html
    mkdir -p exports/model_1
    echo "epoch 1/1" >&2 ;;
  *--input*) echo '{answer}' ;;
esac
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH, for a stand-in `uv`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def stand_in(folder: Path, answer: object, failing: str = "nothing at all") -> Path:
    log = folder / "log"
    (folder / "uv").write_text(UV.format(log=log, failing=failing, answer=json.dumps(answer)))
    (folder / "uv").chmod(stat.S_IRWXU)
    return log


def test_runs_every_stage_and_says_where_things_lie(
    from_folder: Path,
    uv: Path,
    tmp_path: Path,
    tp35: Tp35,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = stand_in(uv, {"class": "7", "probability": 0.99})
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(tmp_path / "ours"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "ours"))
    demo = tmp_path / "demo"
    ran = tp35("demo", demo)
    assert ran.code == 0, ran.err
    bundle = demo / "exports" / "model_1"
    assert log.read_text().splitlines() == [
        f"{demo}: sync",
        f"{demo}: run my-project train",
        f"{bundle}: run --project {demo} python inference.py --verify",
        f"{bundle}: run --project {demo} python inference.py --input {demo}/data/val/7/b.png",
    ]
    report = demo / "runs" / "one" / "report.html"
    for shown in ("epoch 1/1", str(bundle), str(report), "7, which is right"):
        assert shown in ran.err
    # a path can be copied: it is on one line, however narrow the terminal is
    assert f"report     {report}" in ran.err.splitlines()


@pytest.mark.parametrize("stage", ["sync", "train", "--verify", "--input"])
def test_a_failing_stage_is_reported_with_its_output(
    stage: str, from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35
) -> None:
    stand_in(uv, {"class": "7"}, failing=stage)
    ran = tp35("demo", tmp_path / "demo")
    assert ran.code == 1
    assert "some output" in ran.out + ran.err
    for shown in ("the reason", "failed with exit code 3"):
        assert shown in ran.err
    assert "which is right" not in ran.err


def test_a_wrong_prediction_is_no_success(
    from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35
) -> None:
    stand_in(uv, {"class": "3"})
    ran = tp35("demo", tmp_path / "demo")
    assert ran.code == 1
    assert "3, but its folder says 7" in ran.err


@pytest.mark.parametrize("answer", ["", "no JSON"])
def test_an_answer_that_is_no_json_is_no_success(
    answer: str, from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35
) -> None:
    log = uv / "log"
    (uv / "uv").write_text(UV.format(log=log, failing="nothing at all", answer=answer))
    (uv / "uv").chmod(stat.S_IRWXU)
    ran = tp35("demo", tmp_path / "demo")
    assert (ran.code, "no JSON" in ran.err) == (1, True)


def test_a_training_without_a_bundle_is_no_success(
    from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35
) -> None:
    (uv / "uv").write_text("#!/bin/sh\n")
    (uv / "uv").chmod(stat.S_IRWXU)
    ran = tp35("demo", tmp_path / "demo")
    assert (ran.code, "left no bundle" in ran.err) == (1, True)


def test_an_input_without_a_label_is_predicted_and_not_judged(
    from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"sample_inputs": "data/val/*/*.png", "sample_label": None}
    monkeypatch.setattr(modalities, "part", lambda *_: facts)
    stand_in(uv, {"text": "to be continued"})
    ran = tp35("demo", tmp_path / "demo")
    assert ran.code == 0, ran.err
    assert "to be continued" in ran.err
    assert "its folder says" not in ran.err


def test_a_training_that_left_no_samples_is_no_success(
    from_folder: Path, uv: Path, tmp_path: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"sample_inputs": "data/*.wav", "sample_label": "folder"}
    monkeypatch.setattr(modalities, "part", lambda *_: facts)
    stand_in(uv, {"class": "7"})
    ran = tp35("demo", tmp_path / "demo")
    assert (ran.code, "nothing matches data/*.wav" in ran.err) == (1, True)


def test_refuses_a_full_folder_and_an_unknown_modality(
    from_folder: Path, tmp_path: Path, tp35: Tp35
) -> None:
    (tmp_path / "mine").write_text("")
    assert tp35("demo", tmp_path).code == 2
    ran = tp35("demo", tmp_path / "demo", "--modality", "visoin")
    assert (ran.code, "did you mean 'vision'?" in ran.err) == (2, True)
    assert not (tmp_path / "demo").exists()


def test_uv_is_missing(
    from_folder: Path, tmp_path: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = tp35("demo", tmp_path / "demo")
    assert (ran.code, "uv is not installed" in ran.err) == (1, True)
