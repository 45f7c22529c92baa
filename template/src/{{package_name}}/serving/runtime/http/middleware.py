"""What happens to every request, whatever its route."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

access_log = logging.getLogger("server.access")

# of every answer: what a browser makes of it runs nothing inline and loads nothing from elsewhere
SECURITY_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class SecurityHeaders:
    """Sets SECURITY_HEADERS."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        await self.app(scope, receive, secured)


class BodyLimit:
    """Refuses bodies of more than `max_body_bytes`, without reading the rest."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app, self.max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise HTTPException(413, f"the body exceeds {self.max_body_bytes} bytes")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)


class RequestLog:
    """Counts and logs every request, whatever becomes of it; tells the client how long it took."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        received, status = 0, 500

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                taken = 1000 * (time.perf_counter() - started)
                timing = (b"server-timing", b"total;dur=%.1f" % taken)
                message["headers"] = [*message.get("headers", ()), timing]
            await send(message)

        try:
            await self.app(scope, counted, noted)
        finally:
            self._record(scope, received, status, time.perf_counter() - started)

    def _record(self, scope: Scope, received: int, status: int, seconds: float) -> None:
        # the route, not the path: a client must not be able to invent label values
        route = scope.get("route")
        path = route.path if route is not None else "other"
        self.metrics.observe_request(path, status, seconds)
        client = scope.get("client")
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": path,
            "status": status,
            "bytes_in": received,
            "ms": round(1000 * seconds, 2),
        }
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(json.dumps(entry))

    def _write(self) -> None:
        """What is answered in one turn of the event loop is written together."""
        lines, self._lines = self._lines, []
        access_log.info("\n".join(lines))
