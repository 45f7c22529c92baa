"""The text in a file, whatever Unicode encoding it was saved in."""

from __future__ import annotations

import codecs

# longest marks first: the mark of UTF-32 begins with that of UTF-16
MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF8, "UTF-8 with a byte order mark", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16"),
)


class UnknownEncoding(ValueError):
    """The bytes are no Unicode text; the message says where, and what to do."""


def decode_text(content: bytes) -> tuple[str, str]:
    """Decode UTF-8 with or without a byte order mark, or UTF-16 and UTF-32 with one.

    Returns:
        the text without the mark, and the encoding's name for people.

    Raises:
        UnknownEncoding: it is none of them.
    """
    marked = ((name, codec) for mark, name, codec in MARKS if content.startswith(mark))
    name, codec = next(marked, ("UTF-8", "utf-8"))
    if name == "UTF-8" and (place := content.find(0)) >= 0:
        raise UnknownEncoding(
            f"a zero byte at byte {place}: UTF-16 without a byte order mark, or no text; "
            "save it as UTF-8"
        )
    try:
        return content.decode(codec), name
    except UnicodeDecodeError as error:
        byte = f" (0x{content[error.start]:02x})" if error.start < len(content) else ""
        raise UnknownEncoding(
            f"not {name} at byte {error.start}{byte}; save it as UTF-8, from Windows-1252 for "
            "instance with `iconv -f WINDOWS-1252 -t UTF-8`"
        ) from error
