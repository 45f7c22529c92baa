"""Libraries that a project may have installed: those of networks, and what adds one."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import ModelError

# of pyproject.toml, which says what versions do; an extra has its library's name
EXTRAS = ("peft", "timm", "transformers")


def how_to_add(name: str) -> str:
    """The command that installs a library, and leaves other extras where they are."""
    return f"uv sync --inexact --extra {name}" if name in EXTRAS else f"uv add {name}"


def require(name: str, setting: str) -> ModuleType:
    """A library that a setting asks for.

    Args:
        name: of the library, as it is imported and installed.
        setting: which asks for it, for the message.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModelError(
            f"{setting}: needs {name}, which is not installed; {how_to_add(name)}"
        ) from error
