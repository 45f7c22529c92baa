"""How soon the commands of a project answer."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .harness import Project, Row, Scale, Target, Way, benchmark, project

# what is typed, and a line of what the first work prints; empty where the end is meant
COMMANDS = {
    "--help": "",
    "train --help-all": "",
    "train --epochs many": "",
    "runs": "",
    "data check": "",
    "train --max_steps 1 --export_bundle false": "loading PyTorch and Lightning",
    "report": "loading PyTorch and Lightning",
    "evaluate": "loading PyTorch and Lightning",
    "export --export_formats onnx": "loading PyTorch and Lightning",
}


@dataclass(frozen=True)
class Started:
    """Seconds from the start of a process.

    Attributes:
        first_output: until it has printed something.
        first_work: until it has read what is quick to read.
    """

    first_output: float
    first_work: float


@benchmark("Commands", minutes=3)
def starting(scale: Scale) -> Iterator[Row]:
    """In a project that has a run; the files that are read lie in the system's cache."""
    found: dict[str, list[Started]] = {command: [] for command in COMMANDS}
    with project("vision") as home:
        _start(home, "train --max_steps 1 --export_bundle false", "")
        for number in range(scale.rounds + 1):
            for command, line in COMMANDS.items():
                started = _start(home, command, line)
                if number:
                    found[command].append(started)
    if not scale.rounds:
        return
    names = {command: f"`{command}`" for command in COMMANDS}
    yield Row(
        "Until a command prints something",
        "s",
        [
            Way(names[command], "ours", [one.first_output for one in ones])
            for command, ones in found.items()
        ],
        [Target(name, most=0.5) for name in names.values()],
    )
    yield Row(
        "Until it has read what is quick to read",
        "s",
        [
            Way(names[command], "ours", [one.first_work for one in ones])
            for command, ones in found.items()
        ],
    )


def _start(home: Project, command: str, line: str) -> Started:
    """Run a command until it has printed a line; until its end without one.

    Raises:
        RuntimeError: it ended without that line.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        home.command(*command.split()),
        cwd=home.folder,
        env=home.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read(1)
        first_output = time.perf_counter() - began
        while line and not re.search(line, printed.decode(errors="replace")):
            more = process.stdout.readline()
            if not more:
                raise RuntimeError(f"{command} ended without {line!r}:\n{printed.decode()}")
            printed += more
        if line:
            first_work = time.perf_counter() - began
            process.kill()
        else:
            process.stdout.read()
            process.wait()
            first_work = time.perf_counter() - began
    return Started(first_output, first_work)
