"""What people see in a browser: a page to try the model at /, the API's description at /docs.

All that they load is this server's own: the bundle's `page/`, and Swagger UI out of the package
fastapi-offline.
"""

from __future__ import annotations

import mimetypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

FOLDER = "page"

# some systems have a registry that says otherwise, and browsers run no script of another type
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/css", ".css")


class _Files(StaticFiles):
    """Files that a browser keeps, and asks for each time whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI, bundle: Path) -> None:
    """Serve both pages, to whoever comes: they hold nothing of the model."""
    for route, name in (("/", "index.html"), ("/docs", "docs.html")):
        _add_page(app, route, bundle / FOLDER / name)
    app.mount(f"/{FOLDER}", _Files(directory=bundle / FOLDER))
    app.mount("/docs", _Files(directory=_assets()))


def _add_page(app: FastAPI, route: str, file: Path) -> None:
    @app.get(route, include_in_schema=False)
    async def show() -> FileResponse:
        return FileResponse(file, headers={"Cache-Control": "no-cache"})


def _assets() -> Path:
    """Where Swagger UI lies; the package around it stays unused."""
    found = find_spec("fastapi_offline")
    assert found is not None and found.origin is not None  # requirements.txt has it
    return Path(found.origin).parent / "static"
