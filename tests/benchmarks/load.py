"""A client that keeps a number of HTTP requests under way, as lightly as Python can.

One thread, plain sockets that stay open, requests that were written beforehand: on a machine with
few cores what the client costs comes off the server.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

CHUNK = 1 << 16
# seconds without any answer after which a server counts as stuck
STUCK = 60.0


class LoadError(Exception):
    """A server refused, hung up or hangs; the message says what it sent."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        body: whole.
    """

    status: int
    body: bytes


@dataclass
class _Connection:
    socket: socket.socket
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Measured:
    """What a server did.

    Attributes:
        rate: requests a second.
        latencies: of each request, in seconds, ascending.
    """

    rate: float
    latencies: Sequence[float]

    def percentile(self, share: float) -> float:
        """The latency that this share of requests stays within, in ms."""
        return 1000 * self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def request_of(path: str, body: bytes, media_type: str) -> bytes:
    """A POST that keeps its connection."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask(port: int, request: bytes) -> Answer:
    """Send one request.

    Raises:
        OSError: nobody listens.
        LoadError: as `keep_busy`.
    """
    with socket.create_connection(("127.0.0.1", port), STUCK) as connection:
        connection.sendall(request)
        received = bytearray()
        while (answer := _answer_in(received)) is None:
            received += _received(connection)
        return answer


def keep_busy(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Measured:
    """Keep `concurrency` requests under way, each sent as soon as the one before was answered.

    Args:
        port: of a server on this machine.
        requests: sent in turns.
        concurrency: how many connections.
        seconds: how long.

    Raises:
        LoadError: an answer other than 200, a connection that ends, or none for a minute.
    """
    waiting, latencies = cycle(requests), list[float]()
    with selectors.DefaultSelector() as selector:
        connections = []
        try:
            for _ in range(concurrency):
                opened = socket.create_connection(("127.0.0.1", port), STUCK)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(_Connection(opened))
                selector.register(opened, selectors.EVENT_READ, connections[-1])
            started = time.perf_counter()
            for connection in connections:
                connection.sent = time.perf_counter()
                connection.socket.sendall(next(waiting))
            end = started + seconds
            while (now := time.perf_counter()) < end:
                ready = selector.select(STUCK)
                if not ready:
                    raise LoadError(f"no answer within {STUCK:.0f} s")
                for key, _ in ready:
                    connection = key.data
                    connection.received += _received(connection.socket)
                    answer = _answer_in(connection.received)
                    if answer is None:
                        continue
                    if answer.status != 200:
                        raise LoadError(f"{answer.status}: {answer.body[:200]!r}")
                    now = time.perf_counter()
                    latencies.append(now - connection.sent)
                    connection.received.clear()
                    connection.sent = now
                    connection.socket.sendall(next(waiting))
            return Measured(len(latencies) / (now - started), sorted(latencies))
        finally:
            for connection in connections:
                connection.socket.close()


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(CHUNK)
    if not data:
        raise LoadError("the server ended the connection")
    return data


def _answer_in(received: bytearray) -> Answer | None:
    """The answer that was received, once it is whole."""
    head, end, body = bytes(received).partition(b"\r\n\r\n")
    if not end:
        return None
    status, fields = int(head[9:12]), head.lower()
    _, found, length = fields.partition(b"content-length:")
    if not found:
        raise LoadError(f"an answer of unknown length: {head[:200]!r}")
    size = int(length.partition(b"\r\n")[0])
    return Answer(status, body) if len(body) >= size else None
