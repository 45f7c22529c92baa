"""The template's questions, and answers given on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import yaml

from tp35 import template
from tp35.problems import Misuse, nearest

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

Answers = dict[str, Any]
SHOWN = 60  # characters of a bad value
BOOLEANS = frozenset(["y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0"])


@dataclass(frozen=True)
class _Configuration:
    """`copier.yml`: what is asked, by key in the order of asking, and the tables beside it."""

    questions: dict[str, dict[str, Any]]
    tables: dict[str, Any]


def _is_jinja(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


@cache
def _configuration(root: Path) -> _Configuration:
    loaded = yaml.safe_load((root / "copier.yml").read_text(encoding="utf-8"))
    keys = {key: value for key, value in loaded.items() if not key.startswith("_")}
    hidden = {key: value for key, value in keys.items() if value.get("when") is False}
    return _Configuration(
        questions={key: value for key, value in keys.items() if key not in hidden},
        # A hidden default that is Jinja is computed from the answers, and is Copier's business.
        tables={
            key: yaml.safe_load(value["default"])
            for key, value in hidden.items()
            if value["type"] == "yaml" and not _is_jinja(value["default"])
        },
    )


def questions() -> dict[str, dict[str, Any]]:
    """What a user can be asked, by key, in the order of asking."""
    return _configuration(template.root()).questions


def table(name: str) -> Any:
    """A constant of `copier.yml` that questions read, such as the tasks of each modality."""
    return _configuration(template.root()).tables[name]


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2.sandbox import SandboxedEnvironment

    # Copier's own set of filters.
    return SandboxedEnvironment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"])


def _evaluate(expression: str, answers: Mapping[str, Any]) -> Any:
    """Render Jinja as Copier does: questions without an answer count with their default."""
    from jinja2.meta import find_undeclared_variables

    names = find_undeclared_variables(_environment().parse(expression))
    context = {name: _value(name, answers) for name in names}
    return yaml.safe_load(_environment().from_string(expression).render(context))


def _value(name: str, answers: Mapping[str, Any]) -> Any:
    if name in answers:
        return answers[name]
    if name not in questions():
        return table(name)
    default = questions()[name].get("default")
    return _evaluate(default, answers) if _is_jinja(default) else default


def choices(key: str, answers: Mapping[str, Any]) -> list[str] | None:
    """The values a question accepts under the other answers; None where any value goes."""
    offered = questions()[key].get("choices")
    if offered is None:
        return None
    if isinstance(offered, str):
        offered = _evaluate(offered, answers)
    return [str(value) for value in (offered.values() if isinstance(offered, dict) else offered)]


def parse(assignments: Iterable[str]) -> Answers:
    """Read `key=value` pairs; values stay text, which Copier casts to the question's type."""
    answers: Answers = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise Misuse(f"--data {_shown(assignment)} has no value; give key=value")
        if key not in questions():
            raise Misuse(f"--data names no question {_shown(key)}; {nearest(key, questions())}")
        if questions()[key].get("multiselect") and not value.startswith("["):
            value = f"[{value}]"
        answers[key] = value
    check(answers)
    return answers


def _shown(value: object) -> str:
    """A bad value as messages repeat it."""
    whole = repr(value)
    return whole if len(whole) <= SHOWN else f"{whole[:SHOWN]}..."


def _check_type(key: str, value: Any) -> None:
    # Copier's own message for these does not name the question.
    kind = questions()[key]["type"]
    # Python reads numbers of thousands of digits from no text.
    if kind == "int" and not re.fullmatch(r"[+-]?[0-9]{1,18}", str(value).strip()):
        raise Misuse(f"{key}: {_shown(value)} is no whole number of few digits; give one such as 4")
    if kind == "str" and not isinstance(value, str):
        raise Misuse(f"{key}: {_shown(value)} is no text; put it between quotes")
    if kind == "bool" and str(value).strip().lower() not in BOOLEANS:
        raise Misuse(f"{key}: {_shown(value)} is neither true nor false")


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
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                raise Misuse(
                    f"{key}: {_shown(value)} is not a list such as [{offered[0]}]"
                ) from error
        else:
            given = value
        if not isinstance(given, list):
            raise Misuse(f"{key}: {_shown(value)} is not a list such as [{offered[0]}]")
        for item in given:
            if str(item) not in offered:
                raise Misuse(
                    f"{key}: {_shown(str(item))} is no choice; {nearest(str(item), offered)}"
                )
