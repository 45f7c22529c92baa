"""What uvicorn leaves open about connections: slow and long heads, shapes of errors, good ends."""

from __future__ import annotations

import asyncio
import json

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .errors import RequestError

# a request line with its headers
MAX_HEAD_BYTES = 1 << 16
HEAD_TIMEOUT_S = 10.0
# what tells a client that there will be no other answer on this connection
CLOSE = (b"connection", b"close")
# how long a server that ends waits for the first request of a connection
FIRST_REQUEST_S = 1.0
# headers that say how long a body is
FRAMING = (b"content-length", b"transfer-encoding")
# where the application finds the connection's state of a request
CYCLE = "server.cycle"


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    _refused: RequestError | None = None
    _is_framing = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; its first request must follow."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone, or was told to go."""
        self._stop_expecting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP is refused, and no other protocol is changed to."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _stay(self, rest: bytes) -> None:
        """Go on with HTTP/1.1 where a client offers more, as Java's does and `curl --http2`.

        The parser leaves the body to the other protocol. Another one is told of that body alone.
        """
        self.parser = httptools.HttpRequestParser(self)
        self._is_framing = True
        framing = [b"%s: %s\r\n" % one for one in self.headers if one[0] in FRAMING]
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._is_framing = False
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._is_framing:
            return
        super().on_message_begin()
        self._head_bytes = 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        """A part of its path."""
        if self._is_framing:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self._is_framing:
            return
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is here: the application answers."""
        if self._is_framing:
            return
        self._stop_expecting()
        super().on_headers_complete()
        self.scope[CYCLE] = self.cycle  # type: ignore[literal-required]

    def on_message_complete(self) -> None:
        """Its body is here, unless the parser leaves that to another protocol."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the one shape of errors, and close."""
        error = self._refused or RequestError(400, "malformed_http", "this is no HTTP request")
        body = json.dumps(error.to_json()).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            CLOSE,
        ]
        lines = [b"%s: %s\r\n" % header for header in headers]
        if self.transport.is_closing():
            return
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body]))
        self.transport.close()

    def leave(self) -> None:
        """Close it behind the answer that is under way, which says so."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.default_headers = [*self.cycle.default_headers, CLOSE]
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close it, unless it is so new that its first request is still to come."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_S, self._close_unless_asked)
        else:
            super().shutdown()

    def _close_unless_asked(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refused = RequestError(
                431, "head_too_large", f"path and headers exceed {MAX_HEAD_BYTES} bytes"
            )
            raise ValueError(self._refused.message)  # the parser stops, and refuses

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _stop_expecting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        """A head that does not end; a client that has not begun one needs no answer."""
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self._head_bytes:
            self.transport.close()
            return
        self._refused = RequestError(
            408, "head_timeout", f"no whole request within {HEAD_TIMEOUT_S:g} s"
        )
        self.send_400_response(self._refused.message)


def is_gone(scope: Scope) -> bool:
    """Whether the client of a request has hung up; False where another server runs this."""
    cycle = scope.get(CYCLE)
    return cycle is not None and bool(cycle.disconnected)


def is_whole(scope: Scope) -> bool:
    """Whether the body of a request has arrived, asked for or not."""
    cycle = scope.get(CYCLE)
    return cycle is not None and not cycle.more_body
