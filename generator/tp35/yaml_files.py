"""YAML files that others write: whatever is in them, one line says what is wrong."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import yaml

from tp35.problems import Problem


def read_text(path: Path, remedy: str) -> str:
    """A file's text; raises `Problem`, which ends with the remedy, where it cannot be had."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is no text in UTF-8; {remedy}") from error
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}; {remedy}") from error


def parse_mapping(text: str, name: str, remedy: str) -> dict[str, Any]:
    """The mapping that a text holds.

    Raises:
        Problem: It is no YAML, or holds no mapping of texts to what JSON knows, too. Ends with the
            remedy.
    """
    try:
        loaded = yaml.safe_load(text)
    # ValueError: a date or number that is none; tags such as `!!python/object` are YAMLError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = ""
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            line = f" (line {error.problem_mark.line + 1})"
        raise Problem(f"{name} is not YAML{line}; {remedy}") from error
    if not isinstance(loaded, dict):
        raise Problem(f"{name} holds no keys with values; {remedy}")
    for key, value in loaded.items():
        if not isinstance(key, str):
            raise Problem(f"{name} has the key {key!r}, which is no text; {remedy}")
        _check_value(key, value, name, remedy)
    return loaded


def _check_value(key: str, value: object, name: str, remedy: str) -> None:
    if isinstance(value, datetime.date):
        raise Problem(f"{name}: {value} under {key} is read as a date; put it between quotes")
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Problem(
            f"{name}: {key} holds what is neither text, number nor list; {remedy}"
        ) from error
