"""How a request is refused: every error has one shape."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}

SCHEMA = {
    "type": "object",
    "required": ["error", "code", "status"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "status": {"type": "integer"},
    },
}
# for the API's own description
REFUSED = {"description": "refused", "content": {"application/json": {"schema": SCHEMA}}}
RESPONSES: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 401, 408, 413, 415, 422, 429, 500, 503, 504), REFUSED
)


class RequestError(Exception):
    """A request, or one item of it, is answered with an error.

    Args:
        status: of HTTP.
        code: what kind of error it is, for programs.
        message: what is wrong, for people.
        headers: of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def to_json(self) -> dict[str, Any]:
        """The one shape of all errors; `error` is a string because the v2 protocol wants one."""
        return {"error": self.message, "code": self.code, "status": self.status}


def refusal(error: RequestError | HTTPException) -> JSONResponse:
    """The answer to a request that is refused."""
    if isinstance(error, HTTPException):
        code = CODES.get(error.status_code, "refused")
        headers = dict(error.headers) if error.headers else None
        error = RequestError(error.status_code, code, str(error.detail), headers)
    return JSONResponse(error.to_json(), error.status, error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer whatever a route raises in the one shape of all errors."""
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(Exception, _answer_bug)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (RequestError, HTTPException))
    if isinstance(error, HTTPException):
        error = HTTPException(error.status_code, _reason(request, error), error.headers)
    return refusal(error)


def _reason(request: Request, error: HTTPException) -> str:
    """What is wrong, where the framework says no more than the name of the status."""
    where = f"{request.method} {request.scope['path'][:200]}"
    reasons = {
        404: f"there is nothing at {where}; /docs and /openapi.json list what there is",
        405: f"{where} is not possible; Allow names what is",
    }
    return reasons.get(error.status_code, str(error.detail))


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    return refusal(RequestError(500, "internal", "internal error"))
