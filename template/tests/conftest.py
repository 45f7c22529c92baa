"""Shared fixtures: a clean folder to work in, and the sample set in it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

# by which the processes of a run find each other
OF_A_RUN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "FIRST_PROCESS_ID")


@pytest.fixture(autouse=True)
def _quiet_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test runs may write to, or read from, the user's home folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture(autouse=True)
def _part_of_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the tests' own process leaves these, and what starts later would seem part of it."""
    for name in OF_A_RUN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_interrupts() -> None:
    """Also where the tests are a job in the background of a script, which has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one format, the quickest to open; copy it before you change it."""
    from bundles import export  # which imports the project: not every test needs that

    return export(tmp_path_factory.mktemp("onnx"), "onnx")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this project's config.yaml, as the working directory."""
    (tmp_path / "config.yaml").write_text((PROJECT / "config.yaml").read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
