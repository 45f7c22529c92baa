"""The template's questions, and answers given on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import yaml

from tp35 import template
from tp35.problems import Misuse, nearest

Answers = dict[str, Any]
BOOLEANS = frozenset(["y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0"])


@cache
def _configuration() -> dict[str, Any]:
    text = (template.root() / "copier.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@cache
def questions() -> dict[str, dict[str, Any]]:
    """What a user can be asked, by key, in the order of asking."""
    return {
        key: question
        for key, question in _configuration().items()
        if not key.startswith("_") and question.get("when") is not False
    }


@cache
def _tables() -> dict[str, Any]:
    """The computed values that questions read, such as the tasks of each modality."""
    return {
        key: yaml.safe_load(table["default"])
        for key, table in _configuration().items()
        if not key.startswith("_") and table.get("when") is False
    }


def choices(key: str, answers: Mapping[str, Any]) -> list[str] | None:
    """The values a question accepts under the other answers; None where any value goes."""
    offered = questions()[key].get("choices")
    if offered is None:
        return None
    if isinstance(offered, str):
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment()
        environment.filters["to_json"] = json.dumps
        defaults = {name: question.get("default") for name, question in questions().items()}
        context = {**defaults, **_tables(), **answers}
        offered = yaml.safe_load(environment.from_string(offered).render(context))
    return [str(value) for value in (offered.values() if isinstance(offered, dict) else offered)]


def parse(assignments: Iterable[str]) -> Answers:
    """Read `key=value` pairs; values stay text, which Copier casts to the question's type."""
    answers: Answers = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise Misuse(f"--data {assignment!r} has no value; give key=value")
        if key not in questions():
            raise Misuse(f"--data names no question {key!r}; {nearest(key, questions())}")
        if questions()[key].get("multiselect") and not value.startswith("["):
            value = f"[{value}]"
        answers[key] = value
    check(answers)
    return answers


def _check_type(key: str, value: Any) -> None:
    # Copier's own message for these does not name the question.
    kind = questions()[key]["type"]
    if kind == "int" and not re.fullmatch(r"[+-]?\d+", str(value).strip()):
        raise Misuse(f"{key}: {value!r} is no whole number; give one such as 4")
    if kind == "bool" and str(value).strip().lower() not in BOOLEANS:
        raise Misuse(f"{key}: {value!r} is neither true nor false")


def check(answers: Mapping[str, Any]) -> None:
    """Refuse values that are none of the choices; what a validator says is left to Copier."""
    # The modality decides which tasks there are: a wrong one must be named first.
    for key in sorted(answers, key=list(questions()).index):
        value = answers[key]
        offered = choices(key, answers)
        if offered is None:
            _check_type(key, value)
            continue
        if not questions()[key].get("multiselect"):
            given = [value]
        elif isinstance(value, str):
            try:
                given = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise Misuse(f"{key}: {value!r} is not a list such as [{offered[0]}]") from error
        else:
            given = value
        for item in given:
            if str(item) not in offered:
                raise Misuse(f"{key}: {str(item)!r} is no choice; {nearest(str(item), offered)}")
