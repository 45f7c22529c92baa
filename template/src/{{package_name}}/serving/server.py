"""Serve this bundle over HTTP: `python server.py [--host HOST] [--port PORT]`.

Every option can also be set as an environment variable, SERVER_PORT for --port. A bearer token is
asked for where SERVER_TOKEN is set.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import hmac
import json
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openinference
import uvicorn
from batching import Batcher, QueueFull, RunFailed
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from inference import Engine
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from python_multipart.exceptions import FormParserError
from runtime import RUN_ERRORS, Array, BundleError, InvalidInput, Item, verify_files
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUNDLE = Path(__file__).resolve().parent
MODEL, VERSION = "model", "1.0"
ENVIRONMENT = "SERVER_"
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # as in malloc.h
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)

Result = TypeVar("Result")

access_log = logging.getLogger("server.access")
log = logging.getLogger("server")


@dataclass(frozen=True)
class Settings:
    """What can be configured; the metadata of a field is its help text."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    format: str = ""
    threads: int = 0
    batch_size: int = 16
    batch_delay_ms: float = 0.0
    queue_size: int = 256
    timeout_s: float = 30.0
    grace_s: float = 10.0
    max_body_bytes: int = 20_000_000
    max_items: int = 64
    max_item_size: int = 0

    @classmethod
    def from_environment(cls) -> Settings:
        """Values of the SERVER_ variables, defaults for the rest.

        Raises:
            ValueError: a variable that is no number where one is needed.
        """
        found = {}
        for field in fields(cls):
            text = os.environ.get(ENVIRONMENT + field.name.upper())
            if text is not None:
                try:
                    found[field.name] = type(field.default)(text)  # type: ignore[misc]
                except ValueError:
                    raise ValueError(f"{ENVIRONMENT}{field.name.upper()} is {text!r}") from None
        return cls(**found)


HELP = {
    "host": "address to listen on; 0.0.0.0 for all",
    "port": "port to listen on",
    "workers": "processes, each with its own copy of the model",
    "format": "artifact to run; empty for the bundle's first",
    "threads": "threads of one run; 0 for the cores divided by the workers",
    "batch_size": "most items in one run",
    "batch_delay_ms": "how long a run waits for more items, in milliseconds",
    "queue_size": "most items waiting or running in a worker; 429 beyond",
    "timeout_s": "longest a request may take, in seconds; 504 beyond",
    "grace_s": "seconds to finish what was accepted when told to stop",
    "max_body_bytes": "largest body of a request; 413 beyond",
    "max_items": "most items in one request; 413 beyond",
    "max_item_size": "largest item: pixels of an image, characters of a text; 0 for the default",
}


class Refusal(Exception):
    """A request is answered with an error."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def to_json(self) -> dict[str, Any]:
        """The one shape of all errors; `error` is a string because the v2 protocol wants one."""
        return {"error": self.message, "code": self.code, "status": self.status}


CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "refused"} for status in (400, 401, 413, 415, 422, 429, 500, 504)
}


class Metrics:
    """What /metrics shows; with several workers, the sum of all."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "server_requests", "Requests answered", ["path", "status"], registry=own
        )
        self.seconds = Histogram(
            "server_request_seconds", "Time to the answer", ["path"], registry=own
        )
        self.batch = Histogram(
            "server_batch_items", "Items in one run", buckets=BATCH_BUCKETS, registry=own
        )
        self.run_seconds = Histogram("server_run_seconds", "Time of one run", registry=own)
        self.waiting = Gauge(
            "server_items_admitted",
            "Items waiting or running",
            registry=own,
            multiprocess_mode="livesum",
        )

    def observe_run(self, items: int, seconds: float) -> None:
        """Count one run of the network."""
        self.batch.observe(items)
        self.run_seconds.observe(seconds)

    def render(self) -> bytes:
        """Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)


class Service:
    """The engine, its batcher and the threads that decode."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        threads = settings.threads or max(1, cores // settings.workers)
        self.settings = settings
        self.engine = Engine(
            BUNDLE, settings.format or None, threads, settings.max_item_size or None
        )
        self.engine.verify_example()
        self.metrics = metrics
        self.batcher = Batcher(
            self.engine,
            settings.batch_size,
            settings.batch_delay_ms / 1000,
            settings.queue_size,
            metrics.observe_run,
        )
        self.decoders = ThreadPoolExecutor(max(2, cores), "decode")

    @asynccontextmanager
    async def admit(self, items: int) -> AsyncIterator[None]:
        """Room and time for a request's items.

        Raises:
            Refusal: the queue is full, or time is up.
        """
        try:
            with self.batcher.admit(items):
                self.metrics.waiting.set(self.batcher.admitted)
                async with asyncio.timeout(self.settings.timeout_s):
                    yield
        except QueueFull:
            raise Refusal(
                429, "queue_full", "the queue is full; try again", {"Retry-After": "1"}
            ) from None
        except TimeoutError:
            limit = f"{self.settings.timeout_s:g} s"
            raise Refusal(504, "timeout", f"no answer within {limit}") from None
        finally:
            self.metrics.waiting.set(self.batcher.admitted)

    async def on_thread(self, work: Callable[[], Result]) -> Result:
        """Run what would hold up other requests beside them."""
        return await asyncio.get_running_loop().run_in_executor(self.decoders, work)

    async def logits(
        self, items: Sequence[Item | InvalidInput]
    ) -> list[Array | InvalidInput | RunFailed]:
        """Logits of items, in order; an item that failed has its error instead."""
        return await asyncio.gather(*(self._logits_of(item) for item in items))

    async def _logits_of(self, item: Item | InvalidInput) -> Array | InvalidInput | RunFailed:
        if isinstance(item, InvalidInput):
            return item
        try:
            return await self.batcher.logits(item)
        except RunFailed as error:
            log.error("the network failed on an item", exc_info=error)
            return error

    async def predict(self, payloads: Sequence[bytes | InvalidInput]) -> list[dict[str, Any]]:
        """The answer for each payload, in order."""
        if len(payloads) > self.settings.max_items:
            raise Refusal(
                413, "too_many_items", f"{len(payloads)} items; at most {self.settings.max_items}"
            )

        async with self.admit(len(payloads)):
            items = await self.on_thread(lambda: [self._decode(payload) for payload in payloads])
            found = await self.logits(items)
            # on a thread too: going on with a text takes many runs of the network
            return await self.on_thread(lambda: list(map(self._answer, items, found)))

    def _decode(self, payload: bytes | InvalidInput) -> Item | InvalidInput:
        try:
            return self.engine.decode(payload) if isinstance(payload, bytes) else payload
        except InvalidInput as error:
            return error

    def _answer(
        self, item: Item | InvalidInput, found: Array | InvalidInput | RunFailed
    ) -> dict[str, Any]:
        if isinstance(item, InvalidInput) or isinstance(found, InvalidInput):
            return Refusal(400, "malformed_item", str(found)).to_json()
        if isinstance(found, RunFailed):
            return Refusal(500, "internal", "the network failed on this item").to_json()
        try:
            return self.engine.answer(item, found)
        except RUN_ERRORS:  # going on with a text runs the network again
            log.exception("the network failed on one item")
            return Refusal(500, "internal", "the network failed on this item").to_json()


# --- The request's body --------------------------------------------------------------------------


async def read_payloads(request: Request, service: Service) -> tuple[list[Any], bool]:
    """The items of a request, and whether it is a list of them.

    Raises:
        Refusal: 400 no JSON or form, 415 a content type that is not read, 422 JSON of another form.
    """
    header = request.headers.get("content-type", "application/octet-stream")
    media_type = header.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return _from_json(await request.body(), service.engine), True
    if media_type == "multipart/form-data":
        return await _from_form(request, service.settings.max_items), True
    kind = media_type.partition("/")[0]
    if media_type in service.engine.media_types or f"{kind}/*" in service.engine.media_types:
        return [await request.body()], False
    offered = ", ".join(("application/json", "multipart/form-data", *service.engine.media_types))
    raise Refusal(415, "unsupported_media_type", f"{media_type[:80]} is not read; send {offered}")


def _from_json(body: bytes, engine: Engine) -> list[bytes | InvalidInput]:
    try:
        document = openinference.parse_json(body)
    except InvalidInput as error:
        raise Refusal(400, "malformed_json", str(error)) from None
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise Refusal(422, "wrong_form", 'the body must be {"instances": [...]} with at least one')
    payloads: list[bytes | InvalidInput] = []
    for instance in instances:
        try:
            payloads.append(engine.from_json(instance))
        except InvalidInput as error:
            payloads.append(error)
    return payloads


async def _from_form(request: Request, max_items: int) -> list[bytes]:
    payloads = []
    try:
        async with request.form(max_files=max_items, max_fields=max_items) as form:
            for _, value in form.multi_items():
                payloads.append(
                    await value.read() if isinstance(value, UploadFile) else value.encode()
                )
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise Refusal(400, "malformed_form", error.detail) from None
    # starlette turns the parser's own errors into its exception since 1.7 only
    except (MultiPartException, FormParserError) as error:
        raise Refusal(400, "malformed_form", str(error)) from None
    if not payloads:
        raise Refusal(422, "wrong_form", "the form has no part")
    return payloads


# --- The application -----------------------------------------------------------------------------


def _give_memory_back() -> None:
    """Tell glibc to return large blocks to the system.

    Left alone it keeps them once they were freed, for every thread anew, and the server grows to
    many times the largest request.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # other C libraries do it anyway
            libc.mallopt(M_ARENA_MAX, 2)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 20)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; the model is loaded when it starts, and must reproduce its example."""
    _give_memory_back()
    settings = settings or Settings.from_environment()
    token = os.environ.get(ENVIRONMENT + "TOKEN", "")
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(settings, metrics)
        running = asyncio.create_task(service.batcher.run())
        app.state.running = running
        try:
            yield
        finally:
            running.cancel()
            service.decoders.shutdown(wait=False)

    # parts of a form stay in memory, which the body's limit bounds: a full disk refuses nobody
    MultiPartParser.spool_max_size = settings.max_body_bytes
    app = FastAPI(title=MODEL, version=VERSION, lifespan=lifespan)
    app.add_middleware(Guard, metrics=metrics, max_body_bytes=settings.max_body_bytes)
    for kind, handler in (
        (Refusal, _answer_refusal),
        (HTTPException, _answer_http_exception),
        (Exception, _answer_bug),
    ):
        app.add_exception_handler(kind, handler)

    async def authorized(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Refusal(
                401, "unauthorized", "a bearer token is needed", {"WWW-Authenticate": "Bearer"}
            )

    _add_health(app)
    _add_prediction(app, Depends(authorized))
    _add_openinference(app, Depends(authorized))

    @app.get("/metrics", dependencies=[Depends(authorized)])
    async def show_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    return app


def _add_health(app: FastAPI) -> None:
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "Healthy"}

    async def ready(request: Request) -> dict[str, str]:
        """The model is loaded, has reproduced its example, and runs."""
        if request.app.state.running.done():
            raise Refusal(503, "not_ready", "the model does not run any more")
        return {"status": "Ready"}

    for path in ("/ping", "/health", "/v2/health/live"):
        app.get(path)(live)
    for path in ("/ready", "/v2/health/ready", f"/v2/models/{MODEL}/ready"):
        app.get(path)(ready)


def _add_prediction(app: FastAPI, authorized: Any) -> None:
    body = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["instances"],
                "properties": {"instances": {"type": "array", "minItems": 1, "items": {}}},
            }
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"data": {"type": "string", "format": "binary"}},
            }
        },
    }
    documented = {"requestBody": {"required": True, "content": body}}

    @app.post(
        f"/predictions/{MODEL}",
        dependencies=[authorized],
        openapi_extra=documented,
        responses=ERRORS,
    )
    async def predict(request: Request) -> Response:
        """Predict one item (the body is the item) or several (JSON instances, or form parts)."""
        service: Service = request.app.state.service
        payloads, several = await read_payloads(request, service)
        answers = await service.predict(payloads)
        failures = [answer for answer in answers if "error" in answer]
        status = failures[0]["status"] if len(failures) == len(answers) else 200
        return JSONResponse({"predictions": answers} if several else answers[0], status)


def _add_openinference(app: FastAPI, authorized: Any) -> None:
    @app.get("/v2", dependencies=[authorized])
    async def server_metadata() -> dict[str, Any]:
        return {"name": "server.py", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @app.get(f"/v2/models/{MODEL}", dependencies=[authorized])
    @app.get(f"/v2/models/{MODEL}/versions/{VERSION}", dependencies=[authorized])
    async def model_metadata(request: Request) -> dict[str, Any]:
        engine: Engine = request.app.state.service.engine
        return openinference.describe_model(engine.metadata, engine.format, MODEL, VERSION)

    infer_routes: dict[str, Any] = {
        "dependencies": [authorized],
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": openinference.REQUEST_SCHEMA}},
            }
        },
        "responses": ERRORS,
    }

    @app.post(f"/v2/models/{MODEL}/infer", **infer_routes)
    @app.post(f"/v2/models/{MODEL}/versions/{VERSION}/infer", **infer_routes)
    async def infer(request: Request) -> Response:
        service: Service = request.app.state.service
        body, header = await request.body(), request.headers.get(openinference.HEADER_LENGTH)
        try:
            parsed = await service.on_thread(
                partial(
                    openinference.parse_request,
                    body,
                    header,
                    service.engine.metadata,
                    service.settings.max_items,
                )
            )
            for item in parsed.items:
                service.engine.check(item)
        except InvalidInput as error:
            raise Refusal(400, "malformed_request", str(error)) from None
        async with service.admit(len(parsed.items)):
            found = await service.logits(parsed.items)
        logits = [row for row in found if not isinstance(row, (InvalidInput, RunFailed))]
        if len(logits) < len(found):
            raise Refusal(500, "internal", "the network failed on this request")
        content, headers = openinference.format_response(parsed, logits, MODEL, VERSION)
        return Response(content, headers=headers)


async def _answer_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return JSONResponse(error.to_json(), error.status, error.headers)


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "refused")
    refusal = Refusal(error.status_code, code, str(error.detail))
    headers = dict(error.headers) if error.headers else None
    return JSONResponse(refusal.to_json(), error.status_code, headers)


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(Refusal(500, "internal", "internal error").to_json(), 500)


class Guard:
    """Limits the body, counts and logs every request, whatever becomes of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self.app, self.metrics, self.max_body_bytes = app, metrics, max_body_bytes

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

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, limited, counted)
        finally:
            seconds = time.perf_counter() - started
            # the route, not the path: a client must not be able to invent label values
            route = scope.get("route")
            path = route.path if route is not None else "other"
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(seconds)
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
            access_log.info(json.dumps(entry))


# --- The command ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; see `--help`."""
    try:
        defaults = Settings.from_environment()
        parser = argparse.ArgumentParser(prog="server.py", description="Serve this bundle")
        for field in fields(Settings):
            default = getattr(defaults, field.name)
            parser.add_argument(
                f"--{field.name}",
                type=type(field.default),
                default=default,
                help=f"{HELP[field.name]} ({default})",
            )
        settings = Settings(**vars(parser.parse_args(arguments)))
        _check(settings)
        verify_files(BUNDLE, only_model=True)
    except (ValueError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # workers are new processes: they read the settings from their environment
    for field in fields(Settings):
        os.environ[ENVIRONMENT + field.name.upper()] = str(getattr(settings, field.name))
    return _serve(settings)


def _check(settings: Settings) -> None:
    for field in fields(Settings):
        value = getattr(settings, field.name)
        positive = field.name in ("workers", "batch_size", "queue_size", "timeout_s", "max_items")
        if isinstance(value, (int, float)) and (value < 0 or (positive and not value)):
            raise ValueError(f"{field.name} is {value}; give {'more than ' if positive else ''}0")


def _serve(settings: Settings) -> int:
    # uvicorn raises the signal again once it has drained; stopping when told is no failure
    signal.signal(signal.SIGTERM, lambda *_: None)
    shared = tempfile.mkdtemp(prefix="server-metrics-") if settings.workers > 1 else None
    if shared:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
    try:
        uvicorn.run(
            "server:create_app",
            factory=True,
            app_dir=str(BUNDLE),
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            timeout_graceful_shutdown=math.ceil(settings.grace_s),
            access_log=False,
            log_config=LOGGING,
        )
    finally:
        if shared:
            shutil.rmtree(shared, ignore_errors=True)
    return 0


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(levelname)s %(message)s"},
        "bare": {"format": "%(message)s"},
    },
    "handlers": {
        "messages": {"class": "logging.StreamHandler", "formatter": "plain"},
        "access": {
            "class": "logging.StreamHandler",
            "formatter": "bare",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "server": {"handlers": ["messages"], "level": "INFO", "propagate": False},
        "server.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["messages"], "level": "INFO", "propagate": False},
    },
}


if __name__ == "__main__":
    sys.exit(main())
