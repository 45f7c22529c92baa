"""Standard streams that end no run midway, be they closed, cut off, or of few letters."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

# of streams: what their encoding lacks is written as JSON escapes it
JSON_ESCAPES = "json_escapes"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(JSON_ESCAPES, _escaped)


def escape_what_it_lacks(stream: TextIO) -> None:
    """Let a stream write escapes of JSON for what its encoding has no letters for."""
    if isinstance(stream, io.TextIOWrapper):  # under test it may be something else
        stream.reconfigure(errors=JSON_ESCAPES)


def discard(stream: TextIO | None) -> None:
    """Send to nowhere what is left in a stream's buffer, which would fail once more at the end."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def quiet_streams() -> Iterator[None]:
    """While entered, standard error takes any text and never fails; what nobody reads is lost."""
    _occupy_closed_streams()
    with redirect_stderr(_Beside(sys.stderr)):
        yield


def _occupy_closed_streams() -> None:
    """Else a file that is opened gets the number of one, and whatever a library writes there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


class _Beside(io.TextIOBase):
    """Standard error, as long as somebody reads it.

    Args:
        stream: None where it was closed from the beginning.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        if stream is not None:
            escape_what_it_lacks(stream)

    def write(self, text: str) -> int:
        """Write and hand on at once."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:
                discard(self._stream)
                self._stream = None
        return len(text)
