"""Runs a project's commands, each in a process forked from one that has imported everything.

Importing torch, Lightning and the compiler takes longer than a short training. All projects of a
modality have the same Python files, so one process can serve them all; each command runs in its own
project's folder, from the command line's entry point on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# The plugins of this repository's own tests are not a project's.
PLAIN = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "-p", "no:copie")

SERVER = """
import contextlib, gc, importlib, json, os, pathlib, runpy, shutil, signal, subprocess, sys
import traceback, types
import pytest
import vl_convert
package, first = sys.argv[1:]
exec(first)
main = importlib.import_module(package + ".cli").main
for name in (package + ".training.loop", package + ".export.bundle", package + ".report"):
    importlib.import_module(name)
for name in ("onnxruntime", "onnxscript", "torch._inductor.compile_fx", "torch.onnx"):
    importlib.import_module(name)
# what a bundle's server imports: it writes no bytecode, for its folder's sake
for name in ("fastapi", "uvicorn"):
    importlib.import_module(name)

# what every report holds, made once: in another process, since threads do not outlive a fork
make = "import vl_convert; print(vl_convert.javascript_bundle(), end='')"
library = subprocess.check_output([sys.executable, "-c", make], encoding="utf-8")
vl_convert.javascript_bundle = lambda: library

def writing_once(write, samples):
    # what a modality's samples take to be written, tests of every file would wait for
    def copied(folder, task):
        kept = pathlib.Path(samples) / package / task
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            partial = kept.with_name(f"{task}.{os.getpid()}")
            write(partial, task)
            with contextlib.suppress(OSError):  # another process was quicker
                partial.rename(kept)
        shutil.copytree(kept, folder)
    return copied

def serve_small_runs():
    # what `python small_runs.py` does, but it would import everything once more for every file
    sys.path.insert(0, os.path.abspath("tests"))
    small_runs = importlib.import_module("small_runs")
    if samples := os.environ.get("SAMPLE_SETS"):
        small_runs.write_sample = writing_once(small_runs.write_sample, samples)
    (requests, asking), (answering, answers) = os.pipe(), os.pipe()
    if not os.fork():
        os.close(asking)
        os.dup2(requests, 0)
        os.dup2(answers, 1)
        small_runs.serve()
        os._exit(0)
    os.close(requests)
    os.close(answers)
    server = types.SimpleNamespace(stdin=os.fdopen(asking, "w"), stdout=os.fdopen(answering))
    small_runs._server = lambda: server

def run(asked):
    os.dup2(os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.chdir(asked["folder"])
    program, *arguments = asked["command"]
    if program == "-m":
        return main(arguments)
    if program == "pytest":
        serve_small_runs()
        return pytest.main(arguments)
    sys.argv = [program, *arguments]
    sys.path.insert(0, os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")
    return 0

def ended(asked):
    try:
        return run(asked)
    except SystemExit as stopped:
        return stopped.code
    except BaseException:
        traceback.print_exc()
        return 1

gc.collect()
gc.freeze()  # a collection in a fork would copy all that was imported
for line in sys.stdin:
    child = os.fork()
    if not child:
        asked = json.loads(line)
        signal.alarm(asked["limit"])
        code = ended(asked)
        sys.stdout.flush()
        os._exit(code or 0)  # what a fork has inherited cannot be taken down in order
    _, status, used = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What came of a command.

    Attributes:
        code: it ended with; negative for a signal.
        printed: to standard output.
        errors: to standard error.
        seconds: of CPU time, with those of its own processes.
    """

    code: int
    printed: str
    errors: str
    seconds: float


class WarmProcess:
    """A process in which a project's package is imported.

    Args:
        sources: folder of the package.
        package: its name.
        log: where standard error goes.
        env: set beside this process's own environment. `SAMPLE_SETS` names a folder in which those
            of the tests' small runs are kept.
        first: Python to run before anything is imported.
        limit: seconds after which a command is ended; 0 for none.
    """

    def __init__(
        self,
        sources: Path,
        package: str,
        log: Path,
        env: Mapping[str, str],
        first: str = "",
        limit: int = 0,
    ) -> None:
        self.log = log
        self.limit = limit
        self._errors = log.open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, package, first],
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

    def run(self, folder: Path, *arguments: str) -> str:
        """Run one command of the project in a folder; fails with what was printed."""
        return self._run(folder, "-m", *arguments)

    def run_tests(self, project: Path, *arguments: str) -> str:
        """Run the project's own tests, as `pytest` with these arguments would."""
        return self._run(project, "pytest", "-q", *PLAIN, *arguments)

    def run_script(self, script: Path, *arguments: str, cwd: Path) -> str:
        """Run a program; gives its standard output."""
        return self._run(cwd, str(script), *arguments)

    def ask(self, folder: Path, *command: str) -> Done:
        """Run a command, `-m ARGUMENT...` being one of the project, and tell what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self.log.stat().st_size
        output = self.log.with_suffix(".out")
        asked = {"folder": str(folder), "command": command, "output": str(output)}
        self._process.stdin.write(json.dumps(asked | {"limit": self.limit}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        errors = self.log.read_bytes()[before:].decode(errors="replace")
        assert answer, f"the process died\n{errors[-8000:]}"
        code, seconds = answer
        return Done(int(code), output.read_text("utf-8"), errors, float(seconds))

    def _run(self, folder: Path, *command: str) -> str:
        done = self.ask(folder, *command)
        assert done.code == 0, f"{command}\n{done.printed[-8000:]}\n{done.errors[-8000:]}"
        return done.printed
