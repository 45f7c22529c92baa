"""What clients put into JSON: a file in base64."""

from __future__ import annotations

import base64
import binascii

from .engine import InvalidInput

URL_ALPHABET = str.maketrans("-_", "+/")


def file_in(instance: object, kind: str) -> bytes:
    """The file in `{"b64": "<the file in base64>"}`.

    Line breaks, the alphabet for URLs, missing padding and the form of a data URL are base64 too.

    Args:
        instance: an element of `{"instances": [...]}`.
        kind: what the file holds, for people.

    Raises:
        InvalidInput: another form, or not base64.
    """
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise InvalidInput(f'an instance is {{"b64": "<the {kind} file in base64>"}}')
    head, comma, data = text.partition(",")
    if comma and head.lower().startswith("data:"):
        if not head.lower().endswith(";base64"):
            raise InvalidInput("b64 is a data URL of another encoding than base64")
        text = data
    plain = "".join(text.split()).translate(URL_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"b64 is not base64: {error}") from error
