"""What may be answered: defaults are accepted, names collide with nothing, values stay."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from answer_space import MODALITIES, Answers
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project_checks import declared, third_party_imports
from rendering import ROOT, render

from tp35 import answers_file, questions

pytestmark = pytest.mark.unit

EVERYTHING: Answers = {
    "trackers": ["wandb", "tensorboard", "mlflow"],
    "export_formats": ["onnx", "torchscript", "pytorch", "pt2"],
    "notebook": True,
}


def reserved() -> dict[str, set[str]]:
    """The names that copier.yml keeps from projects, by their kind."""
    names = {kind: set(row.split()) for kind, row in questions.table("reserved_names").items()}
    modules = (set(row["modules"]) for row in MODALITIES.values())
    names["dependencies"] = names["dependencies"].union(*modules)
    return names


@pytest.fixture(scope="module")
def questions_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template that asks what this one asks, and renders the answers only."""
    folder = tmp_path_factory.mktemp("questions")
    shutil.copy2(ROOT / "copier.yml", folder)
    recorded = "{{_copier_conf.answers_file}}.jinja"
    for path in [ROOT / "template" / recorded, *(ROOT / "template").glob("*/_parts/facts.yml")]:
        copied = folder / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)
    return folder


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug", "package"),
    [
        ("Leaf Classifier", "leaf-classifier", "leaf_classifier"),
        ("Torch", "torch-training", "torch_training"),
        ("Tests", "tests-training", "tests_training"),
        ("con", "con-training", "con_training"),
        ("json", "json", "project_json"),
        ("3D Shapes", "3d-shapes", "project_3d_shapes"),
        ("日本", "project", "project"),
        ("--- # ---", "project", "project"),
        ("__init__", "init", "init"),
        ("x" * 100, "x" * 40, "x" * 40),
        ("7" * 100, "7" * 40, "project_" + "7" * 32),
        ("a " * 50, "-".join("a" * 20), "_".join("a" * 20)),
    ],
)
def test_a_name_yields_names_that_are_accepted(
    name: str, slug: str, package: str, questions_alone: Path, tmp_path: Path
) -> None:
    made = answers_file.read(render(questions_alone, tmp_path / "p", {"project_name": name}))
    assert (made["project_slug"], made["package_name"]) == (slug, package)
    again = {key: made[key] for key in ("project_name", "project_slug", "package_name")}
    render(questions_alone, tmp_path / "again", again)


def test_a_slug_of_any_length_yields_a_package(questions_alone: Path, tmp_path: Path) -> None:
    slug = "a" + "-2" * 29 + "b"
    made = answers_file.read(render(questions_alone, tmp_path / "p", {"project_slug": slug}))
    assert made["package_name"] == "a" + "_2" * 19


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_project_is_called_like_what_it_imports(
    modality: str, template_folder: Path, tmp_path: Path
) -> None:
    project = render(template_folder, tmp_path / "p", {"modality": modality, **EVERYTHING})
    names = reserved()
    imported = third_party_imports(project, {"my_project"})
    assert imported - names["dependencies"] - names["parts"] == set()
    folders = {path.name for path in project.iterdir() if path.is_dir()}
    folders = {name for name in folders if not name.startswith(".")}  # a module has no dot
    assert folders <= names["parts"]
    distributions = set().union(
        *declared(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))).values()
    )
    assert {name.replace("-", "_") for name in distributions} <= names["dependencies"]


def test_no_package_is_called_like_a_module_of_python() -> None:
    public = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert public <= reserved()["stdlib"]


def _installed_with(distributions: set[str]) -> Iterator[str]:
    """Those and what they bring, on this machine."""
    seen: set[str] = set()
    waiting = sorted(distributions)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        yield name
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)


@pytest.mark.slow  # says something of the newest dependencies rather than of the template
def test_no_project_is_called_like_what_its_dependencies_bring(
    template_folder: Path, tmp_path: Path
) -> None:
    known = reserved()["dependencies"]
    # nobody's project is called like one of these families
    families = re.compile(r"(nvidia|opentelemetry|googleapis|coreweave)_")
    for modality in MODALITIES:
        project = render(template_folder, tmp_path / modality, {"modality": modality, **EVERYTHING})
        groups = declared(tomllib.loads((project / "pyproject.toml").read_text("utf-8")))
        brought = set(_installed_with(set().union(*groups.values())))
        missing = {name.replace("-", "_") for name in brought} - known
        assert {name for name in missing if not families.match(name)} == set()


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({"gradient_accumulation_steps": " 4 "}, 4),
        ({"export_formats": "[pt2, onnx, onnx]"}, ["onnx", "pt2"]),
        ({"trackers": "[]"}, []),
        ({"notebook": "YES"}, True),
        ({"project_name": "12"}, "12"),
        ({"project_name": "null"}, "null"),
        ({"description": "yes"}, "yes"),
        ({"description": "{{ project_name }} {% raw %} #} {# ]]> \"\"\" '''"}, None),
        ({"description": "- a: [b, *c] # d"}, None),
        ({"description": " before and after "}, None),
        ({"description": "👩‍🔬 größer 日本 " * 30}, None),
        ({"author_name": 'Ada "\\" Lovelace, née B\'yron'}, None),
        ({"author_email": "a.b'c+{d}@müller-x.example"}, None),
    ],
    ids=str,
)
def test_an_answer_is_recorded_as_it_was_given(
    given: Answers, recorded: object, questions_alone: Path, tmp_path: Path
) -> None:
    [(key, value)] = given.items()
    made = answers_file.read(render(questions_alone, tmp_path / "p", given))
    assert made[key] == (value if recorded is None else recorded)
    assert type(made[key]) is type(yaml.safe_load(yaml.safe_dump(made[key])))
