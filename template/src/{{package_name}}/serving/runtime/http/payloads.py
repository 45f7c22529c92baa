"""Reading the body of a request: one item, or several as JSON, in a form, as rows of a table."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header

from ..engine import InferenceEngine, InvalidInput
from ..rows import MEDIA_TYPES, row_payload
from ..tables import PARQUET, SUFFIXES, Number, UnreadableTable, parse_text_table
from .errors import RequestError
from .forms import Part, parse_form

JSON, FORM = "application/json", "multipart/form-data"
# codecs of Python's own, which are no character sets
NO_CHARSETS = frozenset(
    ("idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
)
STREAM = "stream"


@dataclass(frozen=True)
class Inputs:
    """What a request asks.

    Attributes:
        payloads: its items; one that has none has its error instead.
        is_list: whether the answer is a list, of one even.
        names: of files or rows, where the items came as such.
        ignored: what else the body holds, by its names.
        parameters: of the answers, as the engine read them.
        streams: whether an answer is wanted as it grows.
    """

    payloads: Sequence[bytes | InvalidInput]
    is_list: bool
    names: Sequence[str | None] = ()
    ignored: Sequence[str] = ()
    parameters: Any = None
    streams: bool = False


async def read_inputs(request: Request, engine: InferenceEngine, max_items: int) -> Inputs:
    """The items of a request, and how they are to be answered.

    Args:
        request: its body is one item, JSON instances, a form, or a table whose rows are items;
            parameters lie in the JSON or behind the path.
        engine: says which content types it reads, what an instance is, and which parameters there
            are.
        max_items: most items.

    Raises:
        RequestError: 400 no JSON, form or table, or a wrong parameter; 415 a content type or
            character set that is not read, 422 JSON of another form.
    """
    header = request.headers.get("content-type", "application/octet-stream")
    media_type = header.partition(";")[0].strip().lower()
    kind = media_type.partition("/")[0]
    is_item = media_type in engine.media_types or f"{kind}/*" in engine.media_types
    tables = MEDIA_TYPES if engine.takes_rows else {}
    if not is_item and media_type not in (JSON, FORM, *tables):
        offered = ", ".join((JSON, FORM, *tables, *engine.media_types))
        raise RequestError(
            415, "unsupported_media_type", f"{media_type[:80]} is not read; send {offered}"
        )
    body = await request.body()
    if media_type == JSON:
        inputs, given = _from_json(body, _charset(header), engine)
    elif media_type == FORM:
        inputs, given = _from_form(body, header, engine, max_items), {}
    elif media_type in tables:
        body, suffix = _as_utf8(body, _charset(header), engine), tables[media_type]
        inputs, given = await asyncio.to_thread(_from_table, body, suffix), {}
    else:
        inputs, given = Inputs([_as_utf8(body, _charset(header), engine)], False), {}
    given = _behind_path(request) | given
    streams = given.pop(STREAM, False)
    if not isinstance(streams, bool):
        raise RequestError(400, "wrong_parameter", f"{STREAM} is neither true nor false")
    try:
        parameters = engine.read_parameters(given)
    except InvalidInput as error:
        raise RequestError(400, "wrong_parameter", str(error)) from None
    if parameters is None and not streams:
        return inputs
    return replace(inputs, parameters=parameters, streams=streams)


def _behind_path(request: Request) -> dict[str, Any]:
    """Parameters in the address: JSON where that is JSON, else texts."""
    given: dict[str, Any] = {}
    if not request.scope["query_string"]:
        return given
    for name, text in request.query_params.multi_items():
        if name in given:
            raise RequestError(400, "wrong_parameter", f"{name[:80]} is given twice")
        try:
            given[name] = parse_json(text)
        except InvalidInput:
            given[name] = text
    return given


def _from_json(
    body: bytes, charset: str | None, engine: InferenceEngine
) -> tuple[Inputs, dict[str, Any]]:
    try:
        text = body if charset is None else _decoded(body, charset)
        document = parse_json(text, Number if engine.takes_rows else None)
    except InvalidInput as error:
        raise RequestError(400, "malformed_json", str(error)) from None
    if not isinstance(document, dict):
        document = {}
    instances, given = document.get("instances"), document.get("parameters", {})
    if not isinstance(instances, list) or not instances:
        raise RequestError(
            422, "wrong_form", 'the body must be {"instances": [...]} with at least one'
        )
    if not isinstance(given, dict):
        raise RequestError(422, "wrong_form", "parameters is no object")
    given = {STREAM: document[STREAM], **given} if STREAM in document else dict(given)
    payloads: list[bytes | InvalidInput] = []
    for instance in instances:
        try:
            payloads.append(engine.from_json(instance))
        except InvalidInput as error:
            payloads.append(error)
    ignored = [name for name in document if name not in ("instances", "parameters", STREAM)]
    return Inputs(payloads, True, ignored=ignored), given


def _from_form(body: bytes, media_type: str, engine: InferenceEngine, max_items: int) -> Inputs:
    payloads: list[bytes | InvalidInput] = []
    names: list[str | None] = []
    ignored: list[str] = []
    for part in parse_form(body, media_type, max_items):
        if not (part.filename or part.name in engine.form_fields) or part.filename == "":
            ignored.append(part.name)  # a browser's field of a file that nobody chose is such too
            continue
        content = _as_utf8(bytes(part.content), _charset(part.media_type), engine)
        for name, payload in _items_of_part(content, part, engine):
            payloads.append(payload)
            names.append(name)
    if not payloads:
        found = f"; it has {', '.join(ignored)[:200]}" if ignored else ""
        fields = " or ".join(engine.form_fields)
        raise RequestError(422, "wrong_form", f"the form has no file and no field {fields}{found}")
    return Inputs(payloads, True, names, ignored)


def _items_of_part(
    content: bytes, part: Part, engine: InferenceEngine
) -> Iterator[tuple[str | None, bytes | InvalidInput]]:
    """What a part of a form holds, each with its name: a row each where it is a table of such."""
    media_type = part.media_type.partition(";")[0].strip().lower()
    suffix = PurePath(part.filename or "").suffix.lower()
    suffix = suffix if suffix in SUFFIXES else MEDIA_TYPES.get(media_type, "")
    if not engine.takes_rows or not suffix:
        yield part.filename, content
        return
    try:
        for place, payload in _rows(content, suffix):
            yield ", ".join(filter(None, (part.filename, place))), payload
    except InvalidInput as error:
        yield part.filename, error


# --- Tables --------------------------------------------------------------------------------------


def _from_table(body: bytes, suffix: str) -> Inputs:
    try:
        rows = list(_rows(body, suffix))
    except InvalidInput as error:
        raise RequestError(400, "malformed_table", str(error)) from None
    return Inputs([payload for _, payload in rows], True, [place for place, _ in rows])


def _rows(content: bytes, suffix: str) -> Iterator[tuple[str, bytes | InvalidInput]]:
    """Where each row of a table is, nothing where it is the only one, and its payload or its error.

    Raises:
        InvalidInput: the table cannot be read at all.
    """
    if suffix == PARQUET:
        raise InvalidInput("Parquet is not read from requests; send CSV or JSON lines")
    try:
        table = parse_text_table(content, suffix)
    except UnreadableTable as error:
        raise InvalidInput(str(error)) from None
    entries = list(table.entries())
    if not entries:
        raise InvalidInput("it has no rows")
    for place, found in entries:
        name = "" if table.is_one else place
        yield name, InvalidInput(found) if isinstance(found, str) else row_payload(table.row(found))


# --- Character sets ------------------------------------------------------------------------------


def _charset(media_type: str) -> str | None:
    """The character set that a Content-Type declares."""
    if ";" not in media_type:
        return None
    _, options = parse_options_header(media_type)
    charset = options.get(b"charset")
    return None if charset is None else charset.decode("latin-1").strip()


def _as_utf8(body: bytes, charset: str | None, engine: InferenceEngine) -> bytes:
    """Text as engines read it, whatever character set it was sent in; other items as they are."""
    if charset is None or not (engine.takes_text or engine.takes_rows):
        return body
    # halves of characters, which UTF-7 can spell, are the engine's to refuse
    return _decoded(body, charset).encode("utf-8", "surrogatepass")


def _decoded(body: bytes, charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
        if name in NO_CHARSETS:
            raise LookupError
        # its mark is no part of the text
        return body.decode(charset).removeprefix("\ufeff")
    except (LookupError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise RequestError(
                400, "malformed_text", f"byte {error.start} is not {charset[:80]}"
            ) from None
        raise RequestError(
            415, "unsupported_charset", f"the character set {charset[:80]} is not read; send utf-8"
        ) from None


def parse_json(body: bytes | str, number: type[Number] | None = None) -> Any:
    """JSON without NaN, in which no name stands twice.

    Args:
        body: the JSON.
        number: what numbers become; those of Python by default.

    Raises:
        InvalidInput: it is none, or nested beyond reason.
    """
    try:
        return json.loads(
            body,
            parse_int=number,
            parse_float=number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_of_pairs,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
