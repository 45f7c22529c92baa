"""The template's Jinja: every question used, every name known, every branch taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer_space import MODALITIES, Answers
from jinja2 import Environment, meta
from rendering import ROOT, render
from test_rendering import OTHERS

pytestmark = pytest.mark.unit

TEMPLATE = ROOT / "template"
# What Copier defines besides the answers.
BUILT_IN = {"_copier_answers", "_copier_conf"}


def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    return loaded


def environment() -> Environment:
    made = Environment(keep_trailing_newline=True)
    for filter_name in ("to_json", "to_nice_yaml", "regex_replace", "regex_search", "quote"):
        made.filters[filter_name] = str
    return made


def sources() -> dict[str, str]:
    """Every piece of Jinja outside copier.yml: file names, `.jinja` files and what they include."""
    found = {}
    for path in sorted(TEMPLATE.rglob("*")):
        relative = path.relative_to(TEMPLATE).as_posix()
        found[f"name of {relative}"] = relative
        if path.suffix == ".jinja" or path.parent.name == "_parts":
            found[relative] = path.read_text("utf-8")
    return found


def names_in(source: str) -> set[str]:
    return meta.find_undeclared_variables(environment().parse(source))


def test_every_name_is_a_question() -> None:
    known = BUILT_IN | {key for key in configuration() if not key.startswith("_")}
    unknown = {place: names_in(source) - known for place, source in sources().items()}
    assert {place: names for place, names in unknown.items() if names} == {}


def test_every_question_is_used() -> None:
    settings = configuration()
    rendered = set().union(*(names_in(source) for source in sources().values()))
    excludes = set().union(*(names_in(line) for line in settings["_exclude"]))
    message = names_in(settings["_message_after_copy"])
    computed = set().union(
        *(
            names_in(question["default"])
            for key, question in settings.items()
            if not key.startswith("_") and question.get("when") is False
        )
    )
    asked = {
        key
        for key, question in settings.items()
        if not key.startswith("_") and question.get("when") is not False
    }
    assert asked - rendered - excludes - message - computed == set()


def test_excludes_hold_for_answers_without_the_question() -> None:
    for line in configuration()["_exclude"]:
        for used in names_in(line):
            assert re.search(rf"\({used} \| default\(", line), line


def test_the_template_needs_no_trust() -> None:
    assert not {"_tasks", "_jinja_extensions", "_migrations"} & configuration().keys()


def test_package_code_carries_no_jinja() -> None:
    carrying = [
        path.relative_to(TEMPLATE).as_posix()
        for path in TEMPLATE.rglob("*.jinja")
        if "/src/" in f"/{path.relative_to(TEMPLATE).as_posix()}"
    ]
    assert carrying == []


def conditions() -> list[tuple[str, str]]:
    """Every condition of the template, with its place."""
    found = []
    for place, source in sources().items():
        statements = re.findall(r"\{%-?\s*(?:el)?if\s+(.*?)\s*-?%\}", source)
        expressions = re.findall(r"\{\{[^{}]*?\bif\s+(.*?)\s+else\b", source)
        found += [(place, condition) for condition in statements + expressions]
    return found


@pytest.fixture(scope="module")
def answer_sets(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    """The full answers, computed ones included, of every set that the rendering tests use."""
    import copier

    out = tmp_path_factory.mktemp("answers")
    sets = []
    tasks: list[Answers] = [
        {"modality": modality, "task": task}
        for modality, row in MODALITIES.items()
        for task in row["tasks"]
    ]
    formats: list[Answers] = [
        {"export_formats": [one]} for one in ("onnx", "torchscript", "pytorch", "pt2")
    ]
    modes: list[Answers] = [{"compile_mode": "auto"}, {"gradient_accumulation_steps": 4}]
    for number, chosen in enumerate([{}, *tasks, *formats, *modes, *OTHERS]):
        worker = copier.run_copy(
            str(template_folder), out / str(number), data=chosen, defaults=True, quiet=True
        )
        # a template in Git has a commit, and one in a folder none
        commit = "0a1b2c3d" if number else None
        sets.append({**worker.answers.combined, "_copier_conf": {"vcs_ref_hash": commit}})
    return sets


def test_every_arm_is_taken(answer_sets: list[Answers]) -> None:
    never = []
    for place, condition in conditions():
        test = environment().compile_expression(condition, undefined_to_none=False)
        taken = {bool(test(**chosen)) for chosen in answer_sets}
        if taken != {True, False}:
            never.append(f"{place}: {condition} is only ever {taken}")
    assert never == []


def test_rendering_leaves_no_undefined_name(template_folder: Path, tmp_path: Path) -> None:
    assert configuration()["_envops"]["undefined"] == "jinja2.StrictUndefined"
    assert (render(template_folder, tmp_path / "p") / "pyproject.toml").is_file()
