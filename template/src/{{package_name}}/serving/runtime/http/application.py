"""The application: its routes, and what lies around them."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ..cores import available_cores
from ..engine import InferenceEngine
from ..integrity import BundleError, read_metadata
from ..rows import MEDIA_TYPES as TABLES
from . import openinference
from .authorization import Authorization, read_tokens
from .bodies import Intake
from .connections import is_gone
from .description import describe, name_of
from .errors import RESPONSES, SCHEMA, RequestError, add_error_handlers, refusal
from .metrics import Metrics
from .middleware import AccessLog, Direct, Envelope
from .openinference import MODEL, VERSION
from .pages import add_pages
from .payloads import Inputs, read_inputs
from .process import give_memory_back, leave_to_the_collector_what_is_new
from .service import Service
from .settings import Settings

TRACING = (
    "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http opentelemetry-instrumentation-asgi"
)
EVENTS = "text/event-stream"
# gzip, weighed by more than nothing
GZIP_WANTED = re.compile(r"gzip;q=(1(\.0*)?|0\.\d*[1-9]\d*)")
# bytes of an answer of tensors; what is smaller takes longer to compress than to send
WORTH_COMPRESSING = 1 << 16


def create_app(
    engine_class: type[InferenceEngine], bundle: Path, settings: Settings | None = None
) -> FastAPI:
    """The application, with the model loaded, which has reproduced its example.

    Args:
        engine_class: of this bundle.
        bundle: its folder.
        settings: those of the environment by default.

    Raises:
        ValueError: as `Settings.from_environment` and `read_tokens`.
        BundleError: the model cannot be loaded, or answers its example otherwise.
    """
    give_memory_back()
    settings = settings or Settings.from_environment()
    authorize = Authorization(read_tokens(settings.token_file))
    engine = _open_engine(engine_class, bundle, settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(engine, settings, metrics)
        leave_to_the_collector_what_is_new()
        try:
            yield
        finally:
            service.batcher.close()

    title = name_of(read_metadata(bundle))
    app = FastAPI(
        title=title,
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={401: RESPONSES[401]} if authorize.is_needed else None,
    )
    add_error_handlers(app)
    # /docs asks for it
    scheme = HTTPBearer(auto_error=False)
    authorized = [Depends(authorize.check), Depends(scheme)] if authorize.is_needed else []

    _add_prediction(app, authorize, authorized, engine)
    _add_envelope(app, metrics, settings)
    _add_health(app)
    _add_description(app, authorized)
    _add_openinference(app, authorized)
    if settings.page:
        add_pages(app, bundle)

    @app.get("/metrics", dependencies=authorized, response_class=Response)
    async def show_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    return app


def _open_engine(
    engine_class: type[InferenceEngine], bundle: Path, settings: Settings
) -> InferenceEngine:
    engine = engine_class(
        bundle,
        settings.format or None,
        settings.threads or max(1, available_cores() // settings.workers),
        settings.max_item_size or None,
        settings.device,
    )
    engine.max_answer_size = settings.max_answer_size
    engine.verify_example()
    return engine


def _add_envelope(app: FastAPI, metrics: Metrics, settings: Settings) -> None:
    """What lies around all routes, the innermost first."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "Server-Timing", "X-Request-ID"],
        )
    intake = Intake(settings.max_body_bytes, settings.max_held_bytes, settings.body_timeout_s)
    app.add_middleware(Envelope, metrics=metrics, intake=intake, log=AccessLog(settings.access_log))
    if settings.telemetry:
        try:
            from .telemetry import add_telemetry
        except ImportError as error:
            raise BundleError(f"telemetry needs {error.name}; pip install {TRACING}") from None
        add_telemetry(app)


def _add_health(app: FastAPI) -> None:
    async def live() -> dict[str, Any]:
        """The process answers."""
        return {"status": "Healthy", "live": True}

    async def ready(request: Request) -> dict[str, Any]:
        """The model is loaded, has reproduced its example, and runs."""
        if request.app.state.service.batcher.is_broken:
            raise RequestError(503, "not_ready", "the model does not run any more")
        return {"status": "Ready", "ready": True, "name": MODEL}

    for path in ("/ping", "/health", "/v2/health/live"):
        app.get(path)(live)
    of_model = f"/v2/models/{MODEL}"
    versioned = f"{of_model}/versions/{VERSION}"
    for path in ("/ready", "/v2/health/ready", f"{of_model}/ready", f"{versioned}/ready"):
        app.get(path, responses={503: RESPONSES[503]})(ready)


def _add_prediction(
    app: FastAPI, authorize: Authorization, authorized: list[Any], engine: InferenceEngine
) -> None:
    async def predict(request: Request) -> Response:
        """Predict one item (the body is the item) or several (JSON instances, form parts, rows)."""
        service: Service = app.state.service
        try:
            await authorize.check(request)
            inputs = await read_inputs(request, service.engine, service.settings.max_items)
            if inputs.streams:
                return await _stream(service, inputs, request)
            answers = await service.predict(inputs)
        except (RequestError, HTTPException) as error:
            return refusal(error)
        failures = [answer for answer in answers if "error" in answer]
        status = failures[0]["status"] if len(failures) == len(answers) else 200
        if not inputs.is_list:
            return JSONResponse(answers[0], status)
        ignored = {"ignored": inputs.ignored} if inputs.ignored else {}
        return JSONResponse({"predictions": answers, **ignored}, status)

    path = f"/predictions/{MODEL}"
    options: dict[str, Any] = {"dependencies": authorized, "openapi_extra": _documented(engine)}
    app.post(path, responses=RESPONSES | _answers(engine), **options)(predict)
    [route] = [found for found in app.routes if isinstance(found, APIRoute) and found.path == path]
    app.add_middleware(Direct, route=route, answer=predict)


async def _stream(service: Service, inputs: Inputs, request: Request) -> Response:
    """Server-sent events: `{"piece": ...}` each, and the whole answer, or an error, as the last.

    Raises:
        RequestError: before anything was sent.
    """
    pieces = service.stream(inputs, lambda: is_gone(request.scope))
    first = await anext(pieces, None)
    if first is None:
        raise RequestError(499, "client_gone", "the client has gone")
    if "error" in first:
        await pieces.aclose()
        return JSONResponse(first, first["status"])

    async def events() -> AsyncIterator[str]:
        async with aclosing(pieces):
            try:
                yield _event(first)
                async for piece in pieces:
                    yield _event(piece)
            except RequestError as error:  # the status has been sent
                yield _event(error.to_json())

    return StreamingResponse(events(), media_type=EVENTS, headers={"Cache-Control": "no-store"})


def _event(piece: dict[str, Any]) -> str:
    kind = "piece" if "piece" in piece else "error" if "error" in piece else "answer"
    return f"event: {kind}\ndata: {json.dumps(piece, ensure_ascii=False)}\n\n"


def _documented(engine: InferenceEngine) -> dict[str, Any]:
    """What a request may be, for the API's own description."""
    several = {
        "type": "object",
        "required": ["instances"],
        "properties": {
            "instances": {"type": "array", "minItems": 1, "items": engine.instance_schema},
            "parameters": {"type": "object"},
            "stream": {"type": "boolean", "default": False},
        },
    }
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": dict.fromkeys(engine.form_fields, file)}
    body = {
        "application/octet-stream": {"schema": file},
        "application/json": {"schema": several},
        "multipart/form-data": {"schema": form},
    }
    if engine.takes_rows:
        body |= {media_type: {"schema": {"type": "string"}} for media_type in TABLES}
    return {"requestBody": {"required": True, "content": body}}


def _answers(engine: InferenceEngine) -> dict[int | str, dict[str, Any]]:
    """What is answered, by status; where every item of several failed, by that of the first."""
    one = engine.answer_schema
    several = {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "predictions": {"type": "array", "items": {"anyOf": [one, SCHEMA]}},
            "ignored": {"type": "array", "items": {"type": "string"}},
        },
    }

    def described(meaning: str, *schemas: dict[str, Any]) -> dict[str, Any]:
        content = {"application/json": {"schema": {"anyOf": list(schemas)}}}
        return {"description": meaning, "content": content}

    answered = described("the answer, or those of several items", one, several)
    answered["content"][EVENTS] = {"schema": {"type": "string"}}
    failed = described("refused, or the error of each item", SCHEMA, several)
    return {200: answered, 400: failed, 500: failed}


def _add_description(app: FastAPI, authorized: list[Any]) -> None:
    @app.get("/model", dependencies=authorized)
    async def model(request: Request) -> dict[str, Any]:
        """What is known of the model, and what this server takes."""
        service: Service = request.app.state.service
        return describe(service.engine, service.settings)

    @app.get("/model/example", dependencies=authorized, response_class=FileResponse)
    async def example(request: Request) -> FileResponse:
        """The input that is stored with the model."""
        engine: InferenceEngine = request.app.state.service.engine
        return FileResponse(engine.bundle / engine.metadata["example"]["input"])


def _add_openinference(app: FastAPI, authorized: list[Any]) -> None:
    known: dict[str, Any] = {"dependencies": authorized}
    of_model = f"/v2/models/{MODEL}"
    versioned = f"{of_model}/versions/{VERSION}"

    @app.get("/v2", **known)
    async def server_metadata() -> dict[str, Any]:
        """What this server is."""
        extensions = ["binary_tensor_data", "classification", "model_repository"]
        return {"name": "server.py", "version": VERSION, "extensions": extensions}

    @app.get("/v2/models", **known)
    async def models() -> dict[str, Any]:
        """The models there are."""
        return {"models": [MODEL]}

    @app.post("/v2/repository/index", **known)
    async def repository_index() -> list[dict[str, str]]:
        """The models there are, as clients of Triton ask for them."""
        return openinference.index_repository()

    @app.get(of_model, **known)
    @app.get(versioned, **known)
    async def model_metadata(request: Request) -> dict[str, Any]:
        """Tensors that go in and come out."""
        engine: InferenceEngine = request.app.state.service.engine
        return openinference.describe_model(engine.metadata, engine.format)

    body = {"application/json": {"schema": openinference.REQUEST_SCHEMA}}
    answer = {"application/json": {"schema": openinference.RESPONSE_SCHEMA}}
    infer_routes: dict[str, Any] = {
        **known,
        "openapi_extra": {"requestBody": {"required": True, "content": body}},
        "responses": {200: {"description": "tensors", "content": answer}, **RESPONSES},
    }

    @app.post(f"{of_model}/infer", **infer_routes)
    @app.post(f"{versioned}/infer", **infer_routes)
    async def infer(request: Request) -> Response:
        """Run tensors through the network."""
        service: Service = request.app.state.service
        header_length = request.headers.get(openinference.HEADER_LENGTH)
        content, headers = await service.infer(await request.body(), header_length)
        if len(content) >= WORTH_COMPRESSING and _takes_gzip(request):
            content = await asyncio.to_thread(gzip.compress, content, 1)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(content, headers=headers)


def _takes_gzip(request: Request) -> bool:
    offers = request.headers.get("accept-encoding", "").replace(" ", "").lower().split(",")
    return any(offer in ("gzip", "*") or GZIP_WANTED.fullmatch(offer) for offer in offers)
