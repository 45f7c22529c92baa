"""The v3.4 migration guide, followed literally."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Tp35
from rendering import ROOT

pytestmark = pytest.mark.unit

GUIDE = ROOT / "docs" / "migrating-from-3.4.md"

OLD_CONFIG = {"learning_rate": 5e-5, "batch_size": 8, "n_epochs": 1, "accumulate_grad_batches": 4}
OLD_SCRIPT = """\
from pipeline import TrainingConfig, test_fine_tuning

config = TrainingConfig(lr=5e-5, batch_size=8)
results = test_fine_tuning(
    model,
    config,
    gradient_accumulation_steps=4,
)
"""
OLD_NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["gradient_accumulation_steps=4\n"]},
        {
            "cell_type": "code",
            "source": [
                "!pip install x\n",
                "test_fine_tuning(m, c, gradient_accumulation_steps=2)\n",
            ],
        },
    ]
}


@pytest.fixture
def old_project(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(OLD_CONFIG, indent=2))
    (folder / "train.py").write_text(OLD_SCRIPT)
    (folder / "train.ipynb").write_text(json.dumps(OLD_NOTEBOOK, indent=1))
    (folder / "unrelated.json").write_text('{"lr": 1}')
    (folder / "broken.py").write_text("def broken(:\n")
    return folder


def blocks() -> list[str]:
    """The commands of the guide, one string per step."""
    return re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


def test_doctor_names_every_deprecated_use(old_project: Path, tp35: Tp35) -> None:
    ran = tp35("doctor", old_project)
    assert ran.code == 1  # it is no project of the template
    for place in (
        "train.py:3: TrainingConfig(lr=...)",
        "train.py:7: gradient_accumulation_steps passed to test_fine_tuning()",
        "config.json:4: the field n_epochs",
        "config.json:5: the field accumulate_grad_batches",
    ):
        assert place in ran.out
    notebook = (old_project / "train.ipynb").read_text().splitlines()
    line = next(n for n, text in enumerate(notebook, 1) if "test_fine_tuning" in text)
    assert f"train.ipynb:{line}: gradient_accumulation_steps passed" in ran.out
    assert "use TrainingConfig(gradient_accumulation_steps=4)" in ran.out
    assert "unrelated.json" not in ran.out


def test_the_guide_lists_every_renamed_field() -> None:
    from tp35.deprecations import _configuration

    renamed, fields = _configuration()
    text = GUIDE.read_text("utf-8")
    assert renamed
    assert set(renamed.values()) <= fields
    for old, new in renamed.items():
        assert re.search(rf"\| .*`{old}`.* \| `{new}` \|", text), old


def test_following_the_guide(old_project: Path, history: tuple[Path, object]) -> None:
    *first, last = blocks()
    assert "train" in last  # trained in `test_projects.py`; here the project must be ready for it
    # The guide fetches the command tp35: here it is this clone's, with this test's interpreter.
    tools = old_project.parent / "bin"
    tools.mkdir()
    for name, command in {"uvx": "-m tp35", "python": ""}.items():
        given = "shift 3" if name == "uvx" else ":"  # --from git+URL tp35
        (tools / name).write_text(f'#!/bin/sh\n{given}\nexec {sys.executable} {command} "$@"\n')
        (tools / name).chmod(0o755)
    script = "\n".join(
        # Doctor exits with 1 here, as the guide says.
        block.replace("tp35 doctor .", "tp35 doctor . || true")
        for block in first
    ).replace("tp35 new", f"tp35 new --template {history[0]} --ref HEAD")
    env = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=old_project,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accumulate_grad_batches is called gradient_accumulation_steps now" in done.stderr
    assert "n_epochs is called epochs now" in done.stderr
    config = yaml.safe_load((old_project.parent / "migrated" / "config.yaml").read_text("utf-8"))
    assert config["gradient_accumulation_steps"] == 4
    assert (config["epochs"], config["batch_size"], config["learning_rate"]) == (1, 8, 5e-5)
