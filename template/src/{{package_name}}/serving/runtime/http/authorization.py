"""Who may ask: bearer tokens, as RFC 6750 has them."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fastapi import Request

from .errors import RequestError
from .settings import ENVIRONMENT

VARIABLE = ENVIRONMENT + "TOKEN"
# what every client can send as one; RFC 6750 has fewer characters, people's secrets have more
TOKEN = re.compile(r"[!-~]+")


def read_tokens(file: str) -> list[str]:
    """The tokens that open this server: that of the environment, and those of a file.

    Args:
        file: one token a line; empty lines and those that begin with # are none. No path for none.

    Raises:
        ValueError: a token that not every client could send; a file that is empty or unreadable.
    """
    found = {VARIABLE: [os.environ[VARIABLE]]} if os.environ.get(VARIABLE) else {}
    if file:
        found[file] = _tokens_of(Path(file))
    for place, tokens in found.items():
        for token in tokens:
            if not TOKEN.fullmatch(token):
                raise ValueError(
                    f"{place} holds a token with white space or other characters that not every "
                    "client can send; visible ones of ASCII are taken"
                )
    return [token for tokens in found.values() for token in tokens]


def _tokens_of(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"token_file {file} cannot be read: {reason}") from None
    tokens = [line for line in (line.removesuffix("\r") for line in lines) if line]
    tokens = [token for token in tokens if not token.startswith("#")]
    if not tokens:
        raise ValueError(f"token_file {file} holds no token; nobody could ask anything")
    return tokens


class Authorization:
    """Refuses requests without one of the tokens; without tokens it lets all pass."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    @property
    def is_needed(self) -> bool:
        """Whether there are tokens."""
        return bool(self._tokens)

    async def check(self, request: Request) -> None:
        """Check one request.

        Raises:
            RequestError: 401.
        """
        if not self._tokens:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("a bearer token is needed", "Bearer")
        sent = given.strip(" ").encode()
        # all are compared, so that the time does not tell which was nearly right
        if not sum(hmac.compare_digest(sent, token) for token in self._tokens):
            raise _unauthorized("this bearer token is none of ours", 'Bearer error="invalid_token"')


def _unauthorized(message: str, challenge: str) -> RequestError:
    return RequestError(401, "unauthorized", message, {"WWW-Authenticate": challenge})
