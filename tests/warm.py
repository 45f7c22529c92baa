"""Runs a project's commands one after the other in one process that has imported everything.

Importing torch and Lightning takes longer than a short training. All projects of a modality have
the same Python files, so one process can serve them all; each command runs in its own project's
folder, from the command line's entry point on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

# Standard output carries the answers, so the commands' own goes to standard error.
SERVER = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
main = importlib.import_module(sys.argv[1] + ".cli").main
for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    try:
        code = main(asked["arguments"])
    except SystemExit as stopped:
        code = stopped.code
    sys.stdout.flush()
    print(json.dumps(code), file=answers, flush=True)
"""


class WarmProcess:
    """A process in which a project's package is imported."""

    def __init__(self, sources: Path, package: str, log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        self._errors = log.open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": str(sources)} | dict(env),
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=120)  # closes its input, which ends it
        self._errors.close()

    def run(self, folder: Path, *arguments: str) -> None:
        """Run one command in a project's folder; fails with what was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self.log.stat().st_size
        asked = {"folder": str(folder), "arguments": arguments}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        printed = self.log.read_bytes()[before:].decode(errors="replace")
        assert answer, f"the process died\n{printed[-8000:]}"
        assert json.loads(answer) == 0, f"{arguments}\n{printed[-8000:]}"
