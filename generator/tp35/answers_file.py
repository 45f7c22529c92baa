"""`.copier-answers.yml`: what a project was made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tp35.problems import Problem
from tp35.questions import Answers

NAME = ".copier-answers.yml"


def read(project: Path) -> dict[str, Any]:
    """Everything in the answers file, Copier's own keys included."""
    path = project / NAME
    if not path.is_file():
        raise Problem(missing(project))
    return parse(path.read_text(encoding="utf-8"), str(path))


def missing(project: Path) -> str:
    """What to say of a folder without one."""
    return f"{project} has no {NAME}: it is no project of this template"


def parse(text: str, name: str) -> dict[str, Any]:
    """The content of an answers file."""
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Problem(f"{name} is not YAML; restore it from Git") from error
    if not isinstance(loaded, dict):
        raise Problem(f"{name} holds no answers; restore it from Git")
    return loaded


def answers(recorded: dict[str, Any]) -> Answers:
    """The user's answers alone."""
    return {key: value for key, value in recorded.items() if not key.startswith("_")}


def with_origin(text: str, location: str, ref: str) -> str:
    """The answers file's text with another origin, else byte for byte as Copier wrote it."""
    origin = yaml.safe_dump({"_commit": ref, "_src_path": location}, width=10_000)
    without_commit = re.sub(r"(?m)^_commit:.*\n", "", text)
    # A long value is folded onto indented lines.
    return re.sub(r"(?m)^_src_path:.*\n(?:[ ].*\n)*", lambda _: origin, without_commit, count=1)
