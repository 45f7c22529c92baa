"""Bodies of requests: within limits of size and time, decompressed, and read to their end."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Message, Receive, Scope

from .connections import is_whole
from .errors import RequestError

# what a refused client may go on sending before its connection is closed: it reads the answer once
# it is done, and one that is cut off before then may never see it
LINGER_S, LINGER_BYTES = 10.0, 1_000_000_000
# decompressed at a time
PIECE = 1 << 18
GZIP, EITHER_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS


@dataclass
class Intake:
    """What is read for all requests together.

    Attributes:
        max_body_bytes: of one body, as it comes and as it is once it was decompressed.
        max_held_bytes: of all bodies that have been read and not been answered.
        timeout_s: a body may take so long to arrive, in seconds.
        held: how many bytes that are now.
    """

    max_body_bytes: int
    max_held_bytes: int
    timeout_s: float
    held: int = 0


class Body:
    """The body of one request, read in place of `receive`.

    Args:
        scope: of the request.
        receive: gives what comes.
        intake: the limits.
    """

    def __init__(self, scope: Scope, receive: Receive, intake: Intake) -> None:
        self._scope, self._receive, self._intake = scope, receive, intake
        self._headers = dict(scope["headers"])
        self._decompressor: Decompressor | None = None
        self._deadline: float | None = None
        self.received = self._held = 0
        self._is_ended = False
        self.is_whole = not _has_body(self._headers)

    async def receive(self) -> Message:
        """The next part, decompressed.

        Raises:
            RequestError: 408 it did not arrive in time, 413 too large, 415 an encoding that is not
                read, 400 it is damaged, 499 the client has gone, 503 other bodies take the room.
        """
        if self._is_ended:  # who streams an answer listens whether the client is there
            return await self._receive()
        if self._deadline is None:
            self._begin()
        message = await (self._receive() if is_whole(self._scope) else self._in_time())
        if message["type"] != "http.request":
            raise RequestError(499, "client_gone", "the client has gone")
        part = message.get("body", b"")
        self.received += len(part)
        self.is_whole = self._is_ended = not message.get("more_body", False)
        if self._decompressor is not None:
            part = self._decompress(part)
        self._hold(len(part))
        return {**message, "body": part}

    async def _in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            seconds = f"{self._intake.timeout_s:g} s"
            raise RequestError(
                408, "body_timeout", f"the body did not arrive within {seconds}"
            ) from None

    def _begin(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + self._intake.timeout_s
        announced = self._headers.get(b"content-length", b"0")
        # before any of it was sent, where the client waits to be told so
        if announced.isdigit() and int(announced[:20]) > self._intake.max_body_bytes:
            self._refuse_size()
        encoding = self._headers.get(b"content-encoding")
        if encoding is not None:
            self._decompressor = decompressor(encoding.decode("latin-1"))

    def _decompress(self, part: bytes) -> bytes:
        assert self._decompressor is not None
        pieces = []
        size = self._held
        try:
            for piece in self._decompressor.feed(part):
                pieces.append(piece)
                size += len(piece)
                if size > self._intake.max_body_bytes:
                    self._refuse_size()
            if self.is_whole:
                self._decompressor.end()
        except (zlib.error, EOFError, ValueError) as error:
            raise RequestError(
                400, "malformed_body", f"the body is not what its Content-Encoding says: {error}"
            ) from None
        return b"".join(pieces)

    def _hold(self, size: int) -> None:
        intake = self._intake
        if self._held + size > intake.max_body_bytes:
            self._refuse_size()
        if intake.held + size > intake.max_held_bytes:
            raise RequestError(
                503, "overloaded", "other requests take the room; try again", {"Retry-After": "1"}
            )
        self._held += size
        intake.held += size

    def _refuse_size(self) -> None:
        limit = self._intake.max_body_bytes
        raise RequestError(413, "too_large", f"the body exceeds {limit} bytes")

    def release(self) -> None:
        """Its bytes are no longer held."""
        self._intake.held -= self._held
        self._held = 0

    async def read_on(self) -> None:
        """Take what is still being sent, and keep none of it."""
        received = 0
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.is_whole and received < LINGER_BYTES:
                    message = await self._receive()
                    received += len(message.get("body", b""))
                    self.is_whole = not message.get("more_body", False)
        except TimeoutError:
            pass
        self.received += received


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


# --- Content-Encoding ----------------------------------------------------------------------------


class Decompressor(Protocol):
    """Undoes one encoding, a part of a body after the other."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a part holds, in pieces that are not too large."""

    def end(self) -> None:
        """Raises EOFError where the end is missing."""


class _Zlib:
    """gzip, of one or more members, or deflate: with zlib's head, or without it as some send it."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data and not self._is_begun:
            self._is_begun = True
            if self._window == EITHER_DEFLATE and not _has_zlib_head(data):
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        piece = b""
        while data or len(piece) == PIECE:  # there is more of what was read before
            if data and self._stream.eof:
                if self._window != GZIP:
                    raise ValueError("something follows its end")
                self._stream = zlib.decompressobj(GZIP)
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def end(self) -> None:
        if self._is_begun and not self._stream.eof:
            raise EOFError("its end is missing")


def _has_zlib_head(data: bytes) -> bool:
    return data[0] & 0x0F == 8 and (len(data) < 2 or int.from_bytes(data[:2]) % 31 == 0)


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "gzip": lambda: _Zlib(GZIP),
    "x-gzip": lambda: _Zlib(GZIP),
    "deflate": lambda: _Zlib(EITHER_DEFLATE),
}


def decompressor(encoding: str) -> Decompressor | None:
    """What undoes a Content-Encoding; None where there is nothing to undo.

    Raises:
        RequestError: 415, it is not read.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in DECOMPRESSORS:
        offered = ", ".join(("gzip", "deflate"))
        raise RequestError(
            415,
            "unsupported_encoding",
            f"Content-Encoding {name[:80]} is not read; send {offered} or none",
            {"Accept-Encoding": offered},
        )
    return DECOMPRESSORS[name]()
