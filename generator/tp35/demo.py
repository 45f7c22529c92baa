"""`tp35 demo`: everything a project does, once, on real data that needs no download."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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

    def run(self, title: str, command: list[str], cwd: Path) -> str:
        """Run a stage and give what it printed; a failing one ends the demo with its output."""
        env = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        started = time.monotonic()
        self.console.print(f"[bold]{title}[/bold]  [dim]{' '.join(command)}[/dim]")
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            try:
                with self._progress(title):
                    done = subprocess.run(
                        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
                    )
            except FileNotFoundError as error:
                raise Problem(f"{command[0]} is not installed or not on PATH") from error
            errors.seek(0)
            said = errors.read()
        self.seconds[title] = time.monotonic() - started
        if done.returncode:
            self.console.print(done.stdout, said, sep="\n", markup=False, highlight=False)
            raise Problem(f"{title} failed with exit code {done.returncode} in {cwd}")
        self.console.print(f"  done in {self.seconds[title]:.0f} s")
        return done.stdout

    def _progress(self, title: str) -> Any:
        return self.console.status(f"{title} ...")


def newest_bundle(project: Path) -> Path:
    """The bundle that was exported last."""
    bundles = sorted((project / "exports").glob("model_*"), key=lambda path: path.stat().st_mtime)
    if not bundles:
        raise Problem(f"export left no bundle under {project / 'exports'}")
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
    """Render, install, train, export, verify, predict; stop at the first stage that fails.

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

    stages.run("Install", ["uv", "sync"], destination)
    stages.run("Train", ["uv", "run", command, "train"], destination)
    stages.run("Export", ["uv", "run", command, "export"], destination)
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

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in {
        "project": project,
        "report": reports[-1] if reports else "none was written",
        "bundle": bundle,
        "input": sample.path,
        "predicted": verdict,
        "took": ", ".join(f"{title} {spent:.0f} s" for title, spent in stages.seconds.items()),
    }.items():
        table.add_row(name, str(value))
    console.print()
    console.print(table)
    if sample.expected is not None and predicted != sample.expected:
        raise Problem("the model works, but it got the sample input wrong")
