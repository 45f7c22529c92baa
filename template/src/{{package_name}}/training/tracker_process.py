"""A tracker in a process of its own: nothing that happens there can hold or end the run.

Requests go to its standard input and answers come back from its standard output, a line of JSON
each. A process, unlike a thread, can be ended whatever its library is waiting for, and leaves
nothing behind that Python waits for at its end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from .trackers import DISTRIBUTIONS, ENVIRONMENT, TRACKERS, NumberedRow, Outcome, RunInfo

PATIENCE_SECONDS = 60.0
"""How long a tracker may take for one answer, and for everything that is left at the run's end."""

INTERVAL_SECONDS = 0.5
"""Rows are handed over together, this often."""

BATCH = 1000
"""The most rows in one request. Together with PATIENCE_SECONDS it bounds what waits in memory."""


class TrackerProcess:
    """Hands rows to a tracker. Whatever happens there costs a warning.

    Args:
        name: a key of `TRACKERS`.
        info: about the run.
    """

    def __init__(self, name: str, info: RunInfo) -> None:
        self.name = name
        self._rows: deque[NumberedRow] = deque()
        self._outcome: Outcome | None = None
        self._ending = threading.Event()
        self._asked_at: float | None = None
        self._problem: str | None = None
        self._failed = False
        self._process: subprocess.Popen[str] | None = None
        if not _is_installed(name):
            self._fail(f"it is not installed: uv add {DISTRIBUTIONS[name]}")
            return
        for key, value in ENVIRONMENT.get(name, {}).items():
            os.environ.setdefault(key, value)  # here, so that the library can read the rows here
        self._process = _start(name)
        opening = {"open": asdict(info) | {"directory": info.directory and str(info.directory)}}
        self._thread = threading.Thread(
            target=self._serve_process, args=(self._process, opening), name=name, daemon=True
        )
        self._thread.start()

    def write(self, number: int, row: dict[str, float]) -> None:
        """Queue a row; the tracker gets it together with others. Never waits."""
        if self._failed:
            return
        self._rows.append((number, row))
        asked_at = self._asked_at
        if asked_at is not None and time.monotonic() - asked_at > PATIENCE_SECONDS:
            self._problem = self._problem or _silence()
        if self._problem is not None:
            self._fail(self._problem)

    def end(self, outcome: Outcome) -> None:
        """No row follows; does not wait for the tracker."""
        self._outcome = outcome
        self._ending.set()

    def wait(self, deadline: float) -> None:
        """Wait until the tracker has everything, but not beyond `deadline` (monotonic seconds)."""
        if self._failed or self._process is None:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._problem = self._problem or _silence()
        if self._problem is not None:
            self._fail(self._problem)

    def _fail(self, reason: str) -> None:
        self._failed = True
        if self._process is not None:
            self._process.kill()
        warnings.warn(
            f"{self.name} failed and gets nothing more from this run; metrics.csv has it all "
            f"({reason})",
            stacklevel=2,
        )

    # --- in a thread -----------------------------------------------------------------------------

    def _serve_process(self, process: subprocess.Popen[str], opening: dict[str, Any]) -> None:
        # leaving the block closes the pipes, and waits for what libraries do at a process's end
        with contextlib.suppress(OSError), process:
            self._hand_over(process, opening)
            if self._problem is not None:
                process.kill()
        self._rows.clear()

    def _hand_over(self, process: subprocess.Popen[str], opening: dict[str, Any]) -> None:
        """Everything in order; ends with the first problem."""
        self._ask(process, opening)
        ending = False
        while self._problem is None and not ending:
            ending = self._ending.wait(INTERVAL_SECONDS)
            while self._rows and self._problem is None:
                count = min(len(self._rows), BATCH)
                self._ask(process, {"rows": [self._rows.popleft() for _ in range(count)]})
        if self._problem is None:
            self._ask(process, {"close": self._outcome})

    def _ask(self, process: subprocess.Popen[str], request: dict[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked_at = time.monotonic()
        try:
            process.stdin.write(json.dumps(request, default=str) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):  # the pipe is closed at either end
            answer = ""
        self._asked_at = None
        if not answer:
            self._problem = self._problem or "its process ended"
        elif problem := json.loads(answer):
            self._problem = problem


def _silence() -> str:
    return f"no answer for {PATIENCE_SECONDS:g} seconds"


def _is_installed(name: str) -> bool:
    """A mere folder of that name, such as W&B leaves behind, is no library."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def _start(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C is for the run, which then closes its trackers
    )


# --- in the tracker's process --------------------------------------------------------------------


def _serve(name: str, requests: Iterable[dict[str, Any]], answer: Callable[[str], None]) -> None:
    """Answer every request with what went wrong, or nothing; ends behind the first problem."""
    tracker: Any = None
    try:
        for request in requests:
            if "open" in request:
                info = request["open"]
                info["directory"] = info["directory"] and Path(info["directory"])
                tracker = TRACKERS[name](RunInfo(**info))
            elif "rows" in request:
                tracker.write(request["rows"])
            else:
                tracker.close(request["close"])
            answer("")
            if "close" in request:
                return
    except Exception as error:  # a library may raise anything; it becomes a warning of the run
        answer(next(filter(None, str(error).splitlines()), type(error).__name__))


class _Requests:
    """Requests as they come; when the run is gone, this process is, too.

    A thread reads them, so that not even a library that waits can keep it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        closing = False
        for line in self._stream:
            closing = line.startswith('{"close"')
            self._lines.put(line)
        if not closing:
            os._exit(1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield json.loads(self._lines.get())


def main() -> None:
    """Serve the tracker that the command line names."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the run decides what follows from a signal
        signal.signal(number, signal.SIG_IGN)
    for category in (DeprecationWarning, FutureWarning):  # a user cannot mend libraries
        warnings.simplefilter("ignore", category)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the answers

    def answer(problem: str) -> None:
        answers.write(json.dumps(problem) + "\n")
        answers.flush()

    requests = _Requests(sys.stdin)
    _serve(sys.argv[1], requests, answer)
    requests.thread.join()  # Python's end must not meet it reading


if __name__ == "__main__":
    main()
