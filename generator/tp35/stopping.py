"""Signals that end the command, as exceptions: what was begun is undone on the way out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

NAMES = ("SIGTERM", "SIGHUP")


class Stopped(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Raise `Stopped` where a signal would end the process at once; ignored ones stay ignored."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {
        number: signal.signal(number, _stop)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
