"""Reading the body of a request: one item, JSON with several, or a form with several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from ..engine import InferenceEngine, InvalidInput
from .errors import RequestError


async def read_payloads(
    request: Request, engine: InferenceEngine, max_items: int
) -> tuple[Sequence[bytes | InvalidInput], bool]:
    """The items of a request, and whether it is a list of them.

    Args:
        request: its body is one item, JSON instances, or a form.
        engine: says which content types it reads, and what an instance is.
        max_items: most parts of a form.

    Raises:
        RequestError: 400 no JSON or form, 415 a content type that is not read, 422 JSON of another
            form.
    """
    header = request.headers.get("content-type", "application/octet-stream")
    media_type = header.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return _from_json(await request.body(), engine), True
    if media_type == "multipart/form-data":
        return await _from_form(request, max_items), True
    kind = media_type.partition("/")[0]
    if media_type in engine.media_types or f"{kind}/*" in engine.media_types:
        return [await request.body()], False
    offered = ", ".join(("application/json", "multipart/form-data", *engine.media_types))
    raise RequestError(
        415, "unsupported_media_type", f"{media_type[:80]} is not read; send {offered}"
    )


def _from_json(body: bytes, engine: InferenceEngine) -> list[bytes | InvalidInput]:
    try:
        document = parse_json(body)
    except InvalidInput as error:
        raise RequestError(400, "malformed_json", str(error)) from None
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise RequestError(
            422, "wrong_form", 'the body must be {"instances": [...]} with at least one'
        )
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
        raise RequestError(400, "malformed_form", error.detail) from None
    # starlette turns the parser's own errors into its exception since 1.7 only
    except (MultiPartException, FormParserError) as error:
        raise RequestError(400, "malformed_form", str(error)) from None
    if not payloads:
        raise RequestError(422, "wrong_form", "the form has no part")
    return payloads


def parse_json(body: bytes) -> Any:
    """JSON without NaN.

    Raises:
        InvalidInput: it is none, or nested beyond reason.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
