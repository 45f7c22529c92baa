"""Random answers through `tp35 new` of the wheel, and whether `answer_fuzz.py` would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from answer_fuzz import lint
from rendering import ROOT, render

pytestmark = pytest.mark.integration


def _fuzz(count: int, seed: int, wheel: Path, processes: int) -> None:
    command = [sys.executable, str(ROOT / "tests" / "answer_fuzz.py"), f"--count={count}"]
    command += [f"--seed={seed}", f"--wheel={wheel}", f"--processes={processes}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 projects made" not in done.stdout


def test_a_few_random_answers(wheel: Path) -> None:
    _fuzz(30, 1, wheel, processes=1)


@pytest.mark.slow
def test_a_thousand_random_answers(wheel: Path) -> None:
    _fuzz(1000, 0, wheel, processes=2)


def test_what_the_lint_finds_is_told(template_folder: Path, tmp_path: Path) -> None:
    project = render(template_folder, tmp_path / "p")
    assert lint([project]) == []
    (project / "src" / "my_project" / "unused.py").write_text("import os\n", "utf-8")
    assert any("F401" in line for line in lint([project]))
