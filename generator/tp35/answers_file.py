"""The answers file, `.copier-answers.yml`: what a project was made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tp35.problems import Problem
from tp35.questions import Answers
from tp35.yaml_files import parse_mapping, read_text

NAME = ".copier-answers.yml"
REMEDY = "restore it from Git"
# Before the commit that a version was when the project was rendered from it: tags can move.
ORIGIN_COMMENT = "# Commit of the template: "


def read(project: Path, name: str = NAME) -> dict[str, Any]:
    """Everything in the answers file, Copier's own keys included.

    Raises:
        Problem: There is none, or it cannot be read; the message says what to do.
    """
    path = project / name
    if not path.is_file():
        raise Problem(missing(project, name))
    return parse(read_text(path, REMEDY), str(path))


def missing(project: Path, name: str = NAME) -> str:
    """What to say of a folder without one."""
    return f"{project} has no {name}: it is no project of this template"


def parse(text: str, name: str) -> dict[str, Any]:
    """The content of an answers file.

    Raises:
        Problem: It is none.
    """
    loaded = parse_mapping(text, name, REMEDY)
    origin = {key: loaded[key] for key in ("_commit", "_src_path") if key in loaded}
    for key, value in origin.items():
        if not isinstance(value, (str, int, float)):
            raise Problem(f"{name}: {key} is no text but {value!r}; {REMEDY}")
    # A commit whose digits happen to be decimal is a number to YAML.
    return loaded | {key: str(value) for key, value in origin.items()}


def answers(recorded: Mapping[str, Any]) -> Answers:
    """The user's answers alone."""
    return {key: value for key, value in recorded.items() if not key.startswith("_")}


def recorded_commit(text: str) -> str | None:
    """The commit that the recorded version was; None where nobody wrote it down."""
    found = re.search(rf"(?m)^{re.escape(ORIGIN_COMMENT)}([0-9a-f]{{40,64}})\s*$", text)
    return found[1] if found else None


def with_origin(text: str, location: str, ref: str, commit: str | None = None) -> str:
    """The answers file's text with another origin, else byte for byte as Copier wrote it."""
    origin = yaml.safe_dump({"_commit": ref, "_src_path": location}, width=10_000)
    bare = re.sub(rf"(?m)^(_commit:|{re.escape(ORIGIN_COMMENT)}).*\n", "", text)
    said = f"{ORIGIN_COMMENT}{commit}\n{origin}" if commit else origin
    # A long value is folded onto indented lines.
    return re.sub(r"(?m)^_src_path:.*\n(?:[ ].*\n)*", lambda _: said, bare, count=1)
