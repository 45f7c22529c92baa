"""What a command line owes people and its surroundings: signs of life, lines to paste, signals."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from .errors import Stopped
from .training.speaker import process_rank

if TYPE_CHECKING:
    from rich.console import Console

# SIGHUP: the terminal was closed; nohup has it ignored, and so it stays
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """The first signal raises `Stopped` wherever the program is, a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    end_at_next()
    raise Stopped(number)


def end_at_next() -> None:
    """Let the next signal end the program at once.

    Not under torchrun, which passes on what its processes have got already, and ends them itself.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def end_undisturbed() -> None:
    """Let no signal cut off what is said of an error: the program ends anyway, within seconds.

    Where one of several processes fails, torchrun sends signals to the others, which find out by
    themselves, and agree on who says so.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


# the reader of a pipe has ended; the terminal was closed
NOBODY_READS = (errno.EPIPE, errno.EIO)


class _Steady:
    """A stream that nobody need read: once nobody does, what comes is dropped.

    Args:
        stream: what to write to.
        is_result: other failures, such as a full disk, are errors; else they are like the first.
    """

    def __init__(self, stream: TextIO, *, is_result: bool) -> None:
        self._stream, self._is_result = stream, is_result

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is buffered would fail at exit again
        os.close(nowhere)
        if self._is_result and error.errno not in NOBODY_READS:
            raise OSError(error.errno, error.strerror, "the standard output") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady_output() -> Iterator[None]:
    """Go on where output ends in `head` or a closed terminal.

    Raises:
        OSError: what a command prints as its result cannot be written.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None else _Steady(stream, is_result=stream is before[0])
        for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def lines_for_warnings(show: Any) -> Iterator[None]:
    """Warnings are lines for people, whatever PYTHONWARNINGS makes of them.

    Args:
        show: takes the place of `warnings.showwarning`.
    """
    with warnings.catch_warnings():
        if any(option.startswith("e") for option in sys.warnoptions):  # error, or its beginning
            warnings.simplefilter("default")
            for quiet in (ImportWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", quiet)
        warnings.showwarning = show
        for category in (DeprecationWarning, FutureWarning):  # a user cannot mend libraries
            warnings.simplefilter("ignore", category)
        warnings.filterwarnings("default", category=DeprecationWarning, module=__package__)
        yield


# nobody who watches a file or a pipe waits for longer without a sign
SILENT_SECONDS = 30.0


def telling(console: Console) -> Callable[[str], None]:
    """Prints lines about what is being done."""

    def tell(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    return tell


@contextmanager
def waiting(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Say what is waited for, and every 30 seconds that it still is; the first process does.

    Args:
        say: prints a line.
        what: is being done, such as `reading data`.
    """
    if process_rank() != 0:
        yield
        return
    ended, start = threading.Event(), time.monotonic()

    def remind() -> None:
        while not ended.wait(SILENT_SECONDS):
            say(f"{what}: {time.monotonic() - start:.0f} s so far")

    say(f"{what} ...")
    reminder = threading.Thread(target=remind, name="reminder", daemon=True)
    reminder.start()
    try:
        yield
    finally:
        ended.set()
        reminder.join()


def pasteable(*words: str | Path) -> str:
    """A command line that calls this program again, as it was called, to be pasted.

    Args:
        words: what stands behind the program's name.
    """
    return shlex.join([*_runner(), *_program(), *map(str, words)])


def pasteable_beside(*words: str | Path) -> str:
    """A command line of another program in this one's environment, to be pasted."""
    return shlex.join([*_runner(), *map(str, words)])


def _runner() -> list[str]:
    return ["uv", "run"] if "UV_RUN_RECURSION_DEPTH" in os.environ else []


def _program() -> list[str]:
    called = Path(sys.argv[0])
    return [called.name] if called.suffix != ".py" else ["python", "-m", __package__ or ""]
