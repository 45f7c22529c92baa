"""What happens to every request, whatever its route."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .bodies import Body, Intake
from .connections import CLOSE, is_gone, is_whole
from .errors import RequestError, refusal
from .metrics import Metrics

access_log = logging.getLogger("server.access")
# what servers count where nobody waits for the answer any more
GONE = 499
# of a client that is not worth waiting for
TOO_SLOW = 408
# what a log can hold without being misread
REQUEST_ID = re.compile(rb"[!-~]{1,128}")

# of every answer: what a browser makes of it runs nothing inline and loads nothing from elsewhere
SECURITY_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"media-src blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Envelope:
    """Bounds what is read, adds headers, counts and logs, whatever becomes of a request.

    An answer that comes before the body has arrived is followed by reading on: a client that still
    sends would find its connection broken, and not the answer.

    Args:
        app: answers.
        metrics: told of each answer.
        intake: what may be read.
        log: writes a line for each request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, intake: Intake, log: AccessLog) -> None:
        self.app, self.metrics, self.intake, self.log = app, metrics, intake, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        # whoever runs this leaves out the body of an answer to HEAD
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        request_id = _request_id(scope)
        body = Body(scope, receive, self.intake)
        status = 0

        async def envelop(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                taken = 1000 * (time.perf_counter() - started)
                message["headers"] = [
                    *message.get("headers", ()),
                    *SECURITY_HEADERS,
                    (b"x-request-id", request_id),
                    (b"server-timing", b"total;dur=%.1f" % taken),
                ]
                if not _is_read(body, scope):
                    message["headers"].append(CLOSE)
            elif not message.get("more_body", False) and not _is_read(body, scope):
                await send({**message, "more_body": True})
                if status != TOO_SLOW:
                    await body.read_on()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self.app(inner, body.receive, envelop)
        except asyncio.CancelledError:
            # the server stops, and this took longer than it waits
            if not status:
                error = RequestError(503, "stopping", "the server is stopping")
                await refusal(error)(scope, receive, envelop)
        finally:
            body.release()
            route = inner.get("route")
            entry = Entry(
                # the route, not the path: a client must not be able to invent label values
                path=route.path if route is not None else "other",
                method=scope["method"],
                status=GONE if is_gone(scope) else status or 500,
                client=scope["client"][0] if scope.get("client") else None,
                request_id=request_id.decode(),
                bytes_in=body.received,
                seconds=time.perf_counter() - started,
            )
            self.metrics.observe_request(entry.path, entry.status, entry.seconds)
            self.log.note(entry)


def _is_read(body: Body, scope: Scope) -> bool:
    """Whether all of a body has come; a short one may have without having been asked for."""
    return body.is_whole or is_whole(scope)


def _request_id(scope: Scope) -> bytes:
    """That of the client, or of a proxy before it; a new one where it is none."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            given: bytes = value
            return given
    return os.urandom(16).hex().encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that has been answered."""

    path: str
    method: str
    status: int
    client: str | None
    request_id: str
    bytes_in: int
    seconds: float


class AccessLog:
    """A line for each request, in one of FORMS."""

    def __init__(self, form: str) -> None:
        self._write_entry = FORMS[form]
        self._lines: list[str] = []

    def note(self, entry: Entry) -> None:
        """Write a line; those of one turn of the event loop together."""
        if self._write_entry is None:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(self._write_entry(entry))

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        access_log.info("\n".join(lines))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _as_json(entry: Entry) -> str:
    return json.dumps(
        {
            "time": _now(),
            "client": entry.client,
            "method": entry.method,
            "path": entry.path,
            "status": entry.status,
            "bytes_in": entry.bytes_in,
            "ms": round(1000 * entry.seconds, 2),
            "request_id": entry.request_id,
        }
    )


def _as_text(entry: Entry) -> str:
    return (
        f"{_now()} {entry.client} {entry.method} {entry.path} {entry.status} "
        f"{1000 * entry.seconds:.2f} ms {entry.request_id}"
    )


# what `access_log` may be
FORMS: dict[str, Callable[[Entry], str] | None] = {"json": _as_json, "text": _as_text, "off": None}


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
