"""Signals that end the command, as exceptions: what was begun is undone on the way out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

OF_A_SIGNAL = 128  # what shells add
NAMES = ("SIGTERM", "SIGHUP")
NUMBERS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Stopped(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = OF_A_SIGNAL + number


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Raise `Stopped` where a signal would end the process at once; ignored ones stay ignored."""
    numbers = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def to_the_end() -> Iterator[None]:
    """Let no signal that can be kept off stop what has begun, and takes moments."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *NUMBERS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
