"""Every combination of the core answers renders into a sound project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer_space import (
    CORE,
    GATES,
    MODALITIES,
    Answers,
    Row,
    answers,
    combinations_of,
    covering_array,
    name,
)
from expected_files import expected_files
from project_checks import (
    BUNDLE_MODULES,
    NEEDED_UNSEEN,
    declared,
    leftover_jinja,
    module_of,
    parse_everything,
    portability_problems,
    third_party_imports,
)
from pytest_copie.plugin import Copie
from rendering import ROOT, files, render

pytestmark = pytest.mark.integration

PAIRWISE = covering_array(GATES, 2)

# One answer each that differs from the default, for all questions outside the core.
OTHERS: list[Answers] = [
    {"project_name": 'Übung "Eins"'},
    {"project_slug": "leaf-classifier"},
    {"package_name": "leaves"},
    {"description": "Sorts \"leaves\" & 'stones': 100 % {braces}"},
    {"author_name": "Ada Lovelace"},
    {"author_email": "ada@example.org"},
    {"author_name": "Ada Lovelace", "author_email": "ada@example.org"},
    {"license": "Apache-2.0"},
    {"license": "BSD-3-Clause"},
    {"license": "Proprietary"},
    {"compile_mode": "default", "compile_fullgraph": True},
    {"compile_mode": "default", "compile_dynamic": False},
    {"export_bundle": False},
    {"trackers": ["wandb"]},
    {"trackers": ["tensorboard"]},
    {"trackers": ["mlflow"]},
    {"trackers": ["wandb", "tensorboard", "mlflow"]},
    {"ci": "gitlab"},
    {"ci": "none"},
    {"template_updates": "renovate"},
    {"template_updates": "scheduled"},
    {"ci": "gitlab", "template_updates": "scheduled"},
    {"ci": "none", "template_updates": "renovate"},
    {"notebook": True},
]


# Libraries of networks, which `model` names in a project of any modality.
CATALOGUES = {"torchvision"}


def with_modality(chosen: Answers, modality: str) -> Answers:
    return {**chosen, "modality": modality}


def check(project: Path, chosen: Answers) -> None:
    """All cheap checks of a rendered project."""
    assert set(files(project)) == expected_files(chosen)
    parse_everything(project)
    assert leftover_jinja(project) == []
    assert portability_problems(project) == []
    _check_answers_arrived(project, chosen)
    _check_dependencies(project, chosen)
    _check_other_modalities(project, chosen.get("modality", "vision"))


def lint(project: Path) -> None:
    """Formatted, and without a finding, under the project's own rules."""
    for command in (["format", "--check"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _check_other_modalities(project: Path, modality: str) -> None:
    """A project names nothing that only another modality imports."""
    rows = {name: set(row["modules"]) for name, row in MODALITIES.items()}
    foreign = set().union(*rows.values()) - rows[modality] - CATALOGUES
    word = re.compile(r"\b(" + "|".join(sorted(foreign)) + r")\b", re.IGNORECASE)
    named = {
        path: found
        for path, content in files(project).items()
        if (found := word.findall(content.decode("utf-8")))
    }
    assert named == {}


def _check_answers_arrived(project: Path, chosen: Answers) -> None:
    config = yaml.safe_load((project / "config.yaml").read_text("utf-8"))
    pyproject = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    for key in ("task", "gradient_accumulation_steps", "export_bundle", "export_formats"):
        if key in chosen:
            assert config[key] == chosen[key]
    for key in ("compile_mode", "compile_fullgraph", "compile_dynamic", "trackers"):
        if key in chosen:
            assert config[key] == chosen[key]
    slug = chosen.get("project_slug")
    if slug:
        assert pyproject["project"]["name"] == slug
        assert slug in pyproject["project"]["scripts"]
    if chosen.get("description"):
        assert pyproject["project"]["description"] == chosen["description"]
        assert chosen["description"] in (project / "README.md").read_text("utf-8")


def _check_dependencies(project: Path, chosen: Answers) -> None:
    pyproject = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    package = chosen.get("package_name", "my_project")
    if "project_name" in chosen and "package_name" not in chosen:
        package = next(path.name for path in (project / "src").iterdir())
    groups = declared(pyproject)
    imported = third_party_imports(project / "src", {package} | BUNDLE_MODULES)

    everything = set().union(*groups.values())
    modules = {module_of(distribution) for distribution in everything}
    optional = {"wandb", "tensorboard", "mlflow", "filelock"}
    optional |= {"onnx", "onnx_ir", "onnxruntime", "onnxscript"}
    optional.add("pyarrow")  # a bundle reads Parquet where it is installed
    optional.add("opentelemetry")  # its server sends traces where it is
    # What an answer leaves out is imported where it is used only; all else must be declared.
    assert imported - modules - optional == set()
    unused = {
        distribution
        for distribution in groups["project"] - NEEDED_UNSEEN.keys()
        if module_of(distribution) not in imported
    }
    assert unused == set()

    formats = chosen.get("export_formats", ["onnx", "torchscript"])
    assert ("onnx" in groups["project"]) == ("onnx" in formats)
    trackers = set(chosen.get("trackers", []))
    assert trackers == {
        tracker
        for tracker, distribution in {
            "wandb": "wandb",
            "tensorboard": "tensorboard",
            "mlflow": "mlflow",
        }.items()
        if distribution in groups["project"]
    }


@pytest.mark.parametrize("row", PAIRWISE, ids=name)
def test_core_answers_pairwise(row: Row, template_folder: Path, tmp_path: Path) -> None:
    chosen = answers(row)
    check(render(template_folder, tmp_path / "p", chosen), chosen)


@pytest.mark.slow
@pytest.mark.parametrize("row", combinations_of(CORE), ids=name)
def test_core_answers_all(row: Row, template_folder: Path, tmp_path: Path) -> None:
    chosen = answers(row)
    check(render(template_folder, tmp_path / "p", chosen), chosen)


def _others() -> Iterator[Any]:
    """On every run each answer for one modality, by turns."""
    for number, chosen in enumerate(OTHERS):
        for place, modality in enumerate(MODALITIES):
            marks = [] if number % len(MODALITIES) == place else [pytest.mark.slow]
            yield pytest.param(chosen, modality, id=f"{chosen}-{modality}", marks=marks)


@pytest.mark.parametrize(("chosen", "modality"), list(_others()))
def test_other_answers(
    chosen: Answers, modality: str, template_folder: Path, tmp_path: Path
) -> None:
    chosen = with_modality(chosen, modality)
    project = render(template_folder, tmp_path / "p", chosen)
    if "project_name" in chosen or "project_slug" in chosen:
        # The names that follow from these are the template's to choose.
        package = next(path.name for path in (project / "src").iterdir())
        chosen = {**chosen, "package_name": package}
    check(project, chosen)


# Python files hang on these answers only (`test_projects.py` holds the template to that).
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("package", ["a", "my_project", "a_name_of_forty_letters_is_the_longest_x"])
def test_lint(package: str, modality: str, template_folder: Path, tmp_path: Path) -> None:
    lint(render(template_folder, tmp_path / "p", {"modality": modality, "package_name": package}))


@pytest.mark.parametrize("modality", MODALITIES)
def test_copie_renders_with_its_own_settings(
    copie: Copie, template_folder: Path, modality: str
) -> None:
    result = copie.copy({"modality": modality}, template_dir=template_folder)
    assert result.exit_code == 0, result.exception
    assert result.project_dir is not None
    assert set(files(result.project_dir)) == expected_files({"modality": modality})


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_readme_names_the_settings_that_a_run_keeps(
    modality: str, template_folder: Path, tmp_path: Path
) -> None:
    project = render(template_folder, tmp_path / "p", {"modality": modality})
    readme = (project / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^\| (.*) \| kept: another value is refused \|$", readme, re.MULTILINE)
    package = next(path.name for path in (project / "src").iterdir())
    code = f"from {package}.config import TrainingConfig as C; print(*C.kept_on_resume())"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted(told.stdout.split())


def test_two_places_give_the_same_bytes(template_folder: Path, tmp_path: Path) -> None:
    one = render(template_folder, tmp_path / "one")
    other = render(template_folder, tmp_path / "a folder" / "näher" / "other")
    assert files(one) == files(other)
    for content in files(one).values():
        assert str(tmp_path).encode() not in content


def test_executable_bits_survive(template_folder: Path, tmp_path: Path) -> None:
    project = render(template_folder, tmp_path / "p")
    executable = {
        path.relative_to(project).as_posix()
        for path in project.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o111
    }
    with_shebang = {path for path, content in files(project).items() if content.startswith(b"#!")}
    assert executable == with_shebang


BAD_ANSWERS: list[tuple[str, Any, str]] = [
    ("project_name", "  ", "Leaf Classifier"),
    ("project_name", "two\nlines", "Leaf Classifier"),
    ("project_name", "over\x1bwritten", "Leaf Classifier"),
    ("project_name", "x" * 101, "at most 100"),
    ("project_slug", "Has Spaces", "leaf-classifier"),
    ("project_slug", "ends-in-a-line\n", "leaf-classifier"),
    ("project_slug", "torch", "torch-training"),
    ("project_slug", "requests", "requests-training"),
    ("project_slug", "tests", "tests-training"),
    ("project_slug", "nul", "nul-training"),
    ("package_name", "2fast", "leaf_classifier"),
    ("package_name", "ends_in_a_line\n", "leaf_classifier"),
    ("package_name", "__init__", "leaf_classifier"),
    ("package_name", "_", "leaf_classifier"),
    ("package_name", "x" * 41, "at most 40"),
    ("package_name", "payloads", "payloads_training"),
    ("package_name", "com1", "com1_training"),
    ("package_name", "class", "class_training"),
    ("package_name", "json", "json_training"),
    ("package_name", "torch", "torch_training"),
    ("description", "two\nlines", "Sorts leaves"),
    ("description", "said\u2028so", "Sorts leaves"),
    ("description", "\u202egnp.exe", "Sorts leaves"),
    ("description", "x" * 513, "at most 512"),
    ("author_name", "two\nlines", "Ada Lovelace"),
    ("author_name", "half \ud83d", "Ada Lovelace"),
    ("author_name", "x" * 201, "at most 200"),
    ("author_email", "nobody", "ada@example.org"),
    ("author_email", "ada@example.org\n", "ada@example.org"),
    ("author_email", 'ada"@example.org', "ada@example.org"),
    ("author_email", "ada..l@example.org", "ada@example.org"),
    ("gradient_accumulation_steps", 0, "such as 4"),
    ("gradient_accumulation_steps", 10**7, "such as 4"),
    ("export_formats", [], "such as onnx"),
]


@pytest.mark.parametrize(("key", "value", "good"), BAD_ANSWERS)
def test_validators_show_the_value_and_a_good_one(
    key: str, value: Any, good: str, template_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=key) as refused:
        render(template_folder, tmp_path / "p", {key: value})
    assert good in str(refused.value)
    repeated = re.match(r"[ -~]*", str(value))  # up to what does not print
    if value != [] and repeated:
        assert repeated[0][:20].strip().replace('"', '\\"') in str(refused.value)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "p").exists()


def test_a_scheduled_job_needs_something_to_run_it(template_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose ci github or gitlab"):
        render(template_folder, tmp_path / "p", {"ci": "none", "template_updates": "scheduled"})
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("modality", MODALITIES)
def test_this_repository_can_run_every_project(
    modality: str, template_folder: Path, tmp_path: Path
) -> None:
    chosen = {"modality": modality, "trackers": ["wandb", "tensorboard", "mlflow"]}
    project = render(template_folder, tmp_path / "p", chosen)
    theirs = declared(tomllib.loads((project / "pyproject.toml").read_text("utf-8")))
    ours = declared(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")))
    needed = theirs["project"] | theirs["dev"] | theirs["serving"]
    assert needed - ours["dev"] - ours["project"] == set()
