"""Forms, `multipart/form-data`: their parts as bytes, as they were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .errors import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# beside those that are inputs
MAX_FIELDS = 64


@dataclass
class Part:
    """One part of a form.

    Attributes:
        headers: by name, in lower case.
        content: its bytes.
    """

    headers: dict[str, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """Of the field."""
        return self._option(b"name") or ""

    @property
    def filename(self) -> str | None:
        """Of the file; None where it is none, nothing where nobody chose one."""
        return self._option(b"filename")

    @property
    def media_type(self) -> str:
        """What it says it is, with its parameters; nothing by default."""
        return self.headers.get("content-type", b"").decode("latin-1")

    def _option(self, name: bytes) -> str | None:
        _, options = parse_options_header(self.headers.get("content-disposition"))
        value = options.get(name)
        return None if value is None else value.decode("utf-8", "replace")


def parse_form(body: bytes, media_type: str, max_parts: int) -> list[Part]:
    """The parts of a form, in order.

    Args:
        body: of the request, whole.
        media_type: value of Content-Type, which holds the boundary.
        max_parts: 413 beyond so many and MAX_FIELDS.

    Raises:
        RequestError: it is no form, or has too many parts.
    """
    _, options = parse_options_header(media_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError(400, "malformed_form", "its Content-Type names no boundary")
    reader = _Reader(max_parts + MAX_FIELDS)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, "malformed_form", str(error)) from None
    if not reader.is_ended:
        raise RequestError(400, "malformed_form", "it ends before its last boundary")
    for part in reader.parts:
        encoding = part.headers.get("content-transfer-encoding", b"binary").strip().lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            name = encoding.decode("latin-1")[:80]
            raise RequestError(415, "unsupported_encoding", f"{name} in a form is not read")
    return reader.parts


class _Reader:
    """Gathers what the parser finds."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.is_ended = False
        self._max_parts = max_parts
        self._name, self._value = bytearray(), bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._max_parts:
            raise RequestError(
                413, "too_many_items", f"the form has more than {self._max_parts} parts"
            )
        self.parts.append(Part())

    def _end_header(self) -> None:
        self.parts[-1].headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.is_ended = True
