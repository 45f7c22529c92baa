"""How soon a project's commands answer: `uv run python tests/start_times.py` prints a table.

Medians of interleaved runs, with a warm file cache, on a machine that has nothing else to do: until
the first character is printed, and until the first work is done.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rendering import copy_template, render

ROUNDS = 5
PACKAGE = "leaves"

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


def main() -> int:
    """Print the table."""
    seconds: dict[str, list[Started]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "tp35")
        project = render(template, Path(folder) / "leaves", {"project_name": "Leaves"})
        start(project, "train --max_steps 1 --export_bundle false", "")
        for number in range(ROUNDS + 1):
            for command, line in COMMANDS.items():
                found = start(project, command, line)
                if number:  # the first round fills the cache
                    seconds[command].append(found)
    print("| command | first output | first work |\n|---|---|---|")
    for command, ones in seconds.items():
        medians = [
            statistics.median(values)
            for values in (
                [one.first_output for one in ones],
                [one.first_work for one in ones],
            )
        ]
        print(f"| `{command}` | {medians[0]:.2f} s | {medians[1]:.2f} s |")
    return 0


def start(project: Path, command: str, line: str) -> Started:
    """Run a command until it has printed a line; until its end without one."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "PYTHONUNBUFFERED": "1"}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", PACKAGE, *command.split()],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read(1)
        first_output = time.perf_counter() - began
        while line and not re.search(line, printed.decode(errors="replace")):
            more = process.stdout.readline()
            if not more:
                raise SystemExit(f"{command} ended without {line!r}:\n{printed.decode()}")
            printed += more
        if line:
            first_work = time.perf_counter() - began
            process.kill()
        else:
            process.stdout.read()
            process.wait()
            first_work = time.perf_counter() - began
    return Started(first_output, first_work)


if __name__ == "__main__":
    sys.exit(main())
