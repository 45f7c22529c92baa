"""`tp35 demo`: everything a project does, once, on real data that needs no download."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tp35 import modalities, new, questions, template
from tp35.answers_file import read
from tp35.problems import Problem


@dataclass(frozen=True)
class Sample:
    """One input the demo predicts, and the class its folder says it has."""

    path: Path
    expected: str | None


def _sample(project: Path, modality: str) -> Sample:
    """An input of the sample set that training wrote, found as the modality's facts say."""
    facts = modalities.part(modality, "facts.yml")
    inputs = sorted(project.glob(facts["sample_inputs"]))
    if not inputs:
        raise Problem(
            f"nothing matches {facts['sample_inputs']} in {project}; "
            "training should have written the sample set there"
        )
    # From the middle, not of the first class: a model that always says "0" must not look right.
    path = inputs[len(inputs) // 2]
    return Sample(path, path.parent.name if facts["sample_label"] == "folder" else None)


# The project has an environment of its own; that of this process must not be taken for it.
NOT_INHERITED = frozenset({"UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV"})


class Stages:
    """Runs one command after the other, showing which one runs and how long each took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    def show(self, title: str, command: list[str], cwd: Path) -> None:
        """Run a stage that shows its own progress; a failing one ends the demo."""
        self._begin(title, command)
        self._end(title, self._call(command, cwd), cwd)

    def run(self, title: str, command: list[str], cwd: Path) -> str:
        """Run a stage and give what it printed; a failing one ends the demo with its output."""
        self._begin(title, command)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            with self._progress(title):
                done = self._call(command, cwd, stdout=subprocess.PIPE, stderr=errors, text=True)
            errors.seek(0)
            said = errors.read()
        if done.returncode:
            self.console.print(done.stdout, said, sep="\n", markup=False, highlight=False)
        self._end(title, done, cwd)
        return str(done.stdout)

    def _begin(self, title: str, command: list[str]) -> None:
        self.seconds[title] = -time.monotonic()
        line = f"[bold]{title}[/bold]  [dim]{escape(shlex.join(command))}[/dim]"
        self.console.print(line, highlight=False, soft_wrap=True)

    def _call(
        self, command: list[str], cwd: Path, **streams: Any
    ) -> subprocess.CompletedProcess[Any]:
        env = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        try:
            return subprocess.run(command, cwd=cwd, env=env, **streams)
        except FileNotFoundError as error:
            raise Problem(f"{command[0]} is not installed or not on PATH") from error

    def _end(self, title: str, done: subprocess.CompletedProcess[Any], cwd: Path) -> None:
        self.seconds[title] += time.monotonic()
        if done.returncode:
            raise Problem(f"{title} failed with exit code {done.returncode} in {cwd}")
        self.console.print(f"  done in {self.seconds[title]:.0f} s")

    def _progress(self, title: str) -> Any:
        return self.console.status(f"{title} ...")


def newest_bundle(project: Path) -> Path:
    """The bundle that was written last."""
    bundles = sorted((project / "exports").glob("model_*"), key=lambda path: path.stat().st_mtime)
    if not bundles:
        raise Problem(f"training left no bundle under {project / 'exports'}")
    return bundles[-1]


def predicted_class(printed: str) -> str | None:
    """The class in what `inference.py` printed: one JSON object per input."""
    try:
        answer = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise Problem(f"inference.py printed no JSON but {printed.strip()!r}") from error
    for key in ("class", "label", "prediction"):
        if key in answer:
            return str(answer[key])
    return None


def run_demo(
    destination: Path, modality: str | None = None, console: Console | None = None
) -> None:
    """Render, install, train with an export, verify, predict; stop at the first that fails.

    Without a modality the project has the template's default one.
    """
    console = console or Console(stderr=True)
    answers = {} if modality is None else {"modality": modality}
    questions.check(answers)
    destination = destination.resolve()
    stages = Stages(console)

    started = time.monotonic()
    console.print("[bold]Render[/bold]  a project")
    new.create(destination, answers, defaults=True, source=template.own_source())
    stages.seconds["Render"] = time.monotonic() - started
    recorded = read(destination)
    command = recorded["project_slug"]

    stages.show("Install", ["uv", "sync"], destination)
    # with the default answers it writes a bundle, too
    stages.show("Train and export", ["uv", "run", command, "train"], destination)
    bundle = newest_bundle(destination)
    in_project = ["uv", "run", "--project", str(destination), "python", "inference.py"]
    stages.run("Verify", [*in_project, "--verify"], bundle)
    sample = _sample(destination, recorded["modality"])
    printed = stages.run("Predict", [*in_project, "--input", str(sample.path)], bundle)

    _summarise(console, stages, destination, bundle, sample, printed)


def _summarise(
    console: Console, stages: Stages, project: Path, bundle: Path, sample: Sample, printed: str
) -> None:
    predicted = predicted_class(printed)
    if sample.expected is None:
        verdict = printed.strip().splitlines()[-1]
    elif predicted == sample.expected:
        verdict = f"{predicted}, which is right"
    else:
        verdict = f"{predicted}, but its folder says {sample.expected}"
    reports = sorted(
        (project / "runs").glob("*/report.html"), key=lambda path: path.stat().st_mtime
    )

    rows = {
        "project": project,
        "report": reports[-1] if reports else "none was written",
        "bundle": bundle,
        "input": sample.path,
        "predicted": verdict,
        "took": ", ".join(f"{title} {spent:.0f} s" for title, spent in stages.seconds.items()),
    }
    console.print()
    for name, value in rows.items():  # paths are whole, to be copied
        console.print(
            f"[bold]{name:11}[/bold]{escape(str(value))}", highlight=False, soft_wrap=True
        )
    if sample.expected is not None and predicted != sample.expected:
        raise Problem("the model works, but it got the sample input wrong")
