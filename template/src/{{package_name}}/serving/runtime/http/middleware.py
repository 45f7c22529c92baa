"""What happens to every request, whatever its route."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
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


class Envelope:
    """Bounds what is read, sets SECURITY_HEADERS, counts and logs, whatever becomes of a request.

    Args:
        app: answers.
        metrics: told of each answer.
        max_body_bytes: of a request; the rest is not read.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self.app, self.metrics, self.max_body_bytes = app, metrics, max_body_bytes
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        received, status = 0, 500

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise HTTPException(413, f"the body exceeds {self.max_body_bytes} bytes")
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                taken = 1000 * (time.perf_counter() - started)
                timing = (b"server-timing", b"total;dur=%.1f" % taken)
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS, timing]
            await send(message)

        try:
            await self.app(scope, limited, noted)
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


class Direct:
    """Answers one route that is posted to at once; the others are looked for in turn.

    What lies around a route in FastAPI took longer than a small network.

    Args:
        app: answers all other requests.
        route: which; its path holds no parameters.
        answer: what the route's function does, errors included.
    """

    def __init__(
        self, app: ASGIApp, route: APIRoute, answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self.app, self.route, self.answer = app, route, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        is_http = scope["type"] == "http"
        if is_http and scope["path"] == self.route.path and scope["method"] == "POST":
            scope["route"] = self.route
            response = await self.answer(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)
