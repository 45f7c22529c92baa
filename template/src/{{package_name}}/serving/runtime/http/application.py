"""The application: its routes, and what lies around them."""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from ..engine import InferenceEngine
from ..integrity import read_metadata
from . import openinference
from .description import describe, name_of
from .errors import RESPONSES, RequestError, add_error_handlers, refusal
from .metrics import Metrics
from .middleware import Direct, Envelope
from .openinference import MODEL, VERSION
from .pages import add_pages
from .payloads import read_payloads
from .process import give_memory_back, leave_to_the_collector_what_is_new
from .service import Service
from .settings import ENVIRONMENT, Settings


def create_app(
    engine_class: type[InferenceEngine], bundle: Path, settings: Settings | None = None
) -> FastAPI:
    """The application; the model is loaded when it starts, and must reproduce its example.

    Args:
        engine_class: of this bundle.
        bundle: its folder.
        settings: those of the environment by default.

    Raises:
        ValueError: as `Settings.from_environment`.
        BundleError: as `read_metadata`.
    """
    give_memory_back()
    settings = settings or Settings.from_environment()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(engine_class, bundle, settings, metrics)
        leave_to_the_collector_what_is_new()
        try:
            yield
        finally:
            service.batcher.close()

    # parts of a form stay in memory, which the body's limit bounds: a full disk refuses nobody
    MultiPartParser.spool_max_size = settings.max_body_bytes
    title = name_of(read_metadata(bundle))
    app = FastAPI(title=title, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    add_error_handlers(app)
    token = os.environ.get(ENVIRONMENT + "TOKEN", "")
    authorize = _authorization(token)
    # /docs asks for it
    authorized = [Depends(authorize), Depends(HTTPBearer(auto_error=False))] if token else []

    _add_prediction(app, authorize, authorized)
    app.add_middleware(Envelope, metrics=metrics, max_body_bytes=settings.max_body_bytes)
    _add_health(app)
    _add_description(app, authorized)
    _add_openinference(app, authorized)
    if settings.page:
        add_pages(app, bundle)

    @app.get("/metrics", dependencies=authorized)
    async def show_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    return app


def _authorization(token: str) -> Callable[[Request], Awaitable[None]]:
    """Refuses requests without the bearer token; an empty one lets all pass."""

    async def authorize(request: Request) -> None:
        given = request.headers.get("authorization", "") if token else ""
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestError(
                401, "unauthorized", "a bearer token is needed", {"WWW-Authenticate": "Bearer"}
            )

    return authorize


def _add_health(app: FastAPI) -> None:
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "Healthy"}

    async def ready(request: Request) -> dict[str, str]:
        """The model is loaded, has reproduced its example, and runs."""
        if request.app.state.service.batcher.is_broken:
            raise RequestError(503, "not_ready", "the model does not run any more")
        return {"status": "Ready"}

    for path in ("/ping", "/health", "/v2/health/live"):
        app.get(path)(live)
    for path in ("/ready", "/v2/health/ready", f"/v2/models/{MODEL}/ready"):
        app.get(path)(ready)


def _add_prediction(
    app: FastAPI, authorize: Callable[[Request], Awaitable[None]], authorized: list[Any]
) -> None:
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

    async def predict(request: Request) -> Response:
        """Predict one item (the body is the item) or several (JSON instances, or form parts)."""
        service: Service = app.state.service
        try:
            await authorize(request)
            payloads, several = await read_payloads(
                request, service.engine, service.settings.max_items
            )
            answers = await service.predict(payloads)
        except (RequestError, HTTPException) as error:
            return refusal(error)
        failures = [answer for answer in answers if "error" in answer]
        status = failures[0]["status"] if len(failures) == len(answers) else 200
        return JSONResponse({"predictions": answers} if several else answers[0], status)

    path = f"/predictions/{MODEL}"
    options: dict[str, Any] = {"dependencies": authorized, "openapi_extra": documented}
    app.post(path, responses=RESPONSES, **options)(predict)
    [route] = [found for found in app.routes if isinstance(found, APIRoute) and found.path == path]
    app.add_middleware(Direct, route=route, answer=predict)


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
    @app.get("/v2", dependencies=authorized)
    async def server_metadata() -> dict[str, Any]:
        return {"name": "server.py", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @app.get(f"/v2/models/{MODEL}", dependencies=authorized)
    @app.get(f"/v2/models/{MODEL}/versions/{VERSION}", dependencies=authorized)
    async def model_metadata(request: Request) -> dict[str, Any]:
        engine: InferenceEngine = request.app.state.service.engine
        return openinference.describe_model(engine.metadata, engine.format)

    infer_routes: dict[str, Any] = {
        "dependencies": authorized,
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": openinference.REQUEST_SCHEMA}},
            }
        },
        "responses": RESPONSES,
    }

    @app.post(f"/v2/models/{MODEL}/infer", **infer_routes)
    @app.post(f"/v2/models/{MODEL}/versions/{VERSION}/infer", **infer_routes)
    async def infer(request: Request) -> Response:
        service: Service = request.app.state.service
        header_length = request.headers.get(openinference.HEADER_LENGTH)
        content, headers = await service.infer(await request.body(), header_length)
        return Response(content, headers=headers)
