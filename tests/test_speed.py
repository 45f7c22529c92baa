"""The generator stays quick."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import files, render

pytestmark = pytest.mark.unit


def seconds(action: Callable[[], object], rounds: int) -> float:
    """The fastest of some rounds: what the machine can do when nobody else uses it."""
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        spent.append(time.perf_counter() - started)
    return min(spent)


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-m", "tp35", "--help"]
    bare = [sys.executable, "-c", "pass"]
    asked = seconds(lambda: subprocess.run(command, check=True, capture_output=True), 7)
    # On a busy machine even an empty interpreter is slow; that part is not ours.
    idle = seconds(lambda: subprocess.run(bare, check=True, capture_output=True), 7)
    assert asked - idle < 0.28


def test_torch_is_never_imported() -> None:
    program = """
import importlib, pkgutil, sys, tp35
for module in pkgutil.iter_modules(tp35.__path__):
    if module.name not in {"__main__", "_version"}:
        importlib.import_module(f"tp35.{module.name}")
print([name for name in ("torch", "copier", "lightning") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def copy_seconds(source: Path, destination: Path) -> float:
    """`copier copy` as a user runs it."""
    copy = [sys.executable, "-m", "copier", "copy", "--defaults", "--quiet"]
    command = [*copy, str(source), str(destination)]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True), 1)


@pytest.mark.slow
def test_copying_is_about_as_fast_as_copying_empty_files(
    template_folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    for path in files(render(template_folder, tmp_path / "counted")):
        (empty / "template" / path).parent.mkdir(parents=True, exist_ok=True)
        (empty / "template" / path).write_text("")
    (empty / "copier.yml").write_text("_subdirectory: template\n")
    ratios = [
        # One after the other, so that both see the same machine.
        copy_seconds(template_folder, tmp_path / f"ours{number}")
        / copy_seconds(empty, tmp_path / f"empty{number}")
        for number in range(5)
    ]
    assert statistics.median(ratios) <= 1.5, ratios
