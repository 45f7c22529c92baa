"""Plain `copier update`: what the template promises to everyone, with or without tp35."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer_space import MODALITIES, Answers
from history import NEWEST, PAST, PastVersion
from rendering import commit_all, files, git, render, started, update

from tp35 import answers_file

pytestmark = pytest.mark.integration

History = tuple[Path, list[PastVersion]]

# Answers as users of past versions have recorded them.
RECORDED = yaml.safe_load((Path(__file__).parent / "recorded_answers.yml").read_text("utf-8"))
SETS: dict[str, Answers] = {
    name: answers
    for name, answers in RECORDED.items()
    if answers.get("modality", "vision") in MODALITIES
}

# Answers at distance one from the default: each kind of change on every run ...
ONE_CHANGE: list[Answers] = [
    {"package_name": "leaves"},
    {"license": "Proprietary"},
    *[{"modality": modality} for modality in MODALITIES if modality != "vision"],
    {"export_formats": ["pytorch"]},
    {"ci": "none"},
]
# ... and those like another one in the slow set.
MORE_CHANGES: list[Answers] = [
    {"project_name": "Leaf Classifier"},
    {"project_slug": "leaf-classifier"},
    {"description": "Sorts leaves"},
    {"author_name": "Ada Lovelace"},
    {"author_email": "ada@example.org"},
    {"license": "Apache-2.0"},
    {"task": "vision_multilabel"},
    {"task": "vision_regression"},
    {"compile_mode": "auto"},
    {"compile_mode": "default"},
    {"gradient_accumulation_steps": 4},
    {"export_bundle": False},
    {"export_formats": ["onnx", "torchscript", "pytorch", "pt2"]},
    {"trackers": ["wandb"]},
    {"trackers": ["tensorboard", "mlflow"]},
    {"ci": "gitlab"},
    {"notebook": True},
]
SLOW_CHANGES = [pytest.param(change, marks=pytest.mark.slow) for change in MORE_CHANGES]


def recorded(project: Path) -> Answers:
    return answers_file.answers(answers_file.read(project))


def supported(history: History, version: int, answers: Answers) -> Path:
    """The history, or a skip where that version did not know these answers yet."""
    repository, versions = history
    tag, modality = versions[version].tag, answers.get("modality", "vision")
    if modality not in git("ls-tree", "-z", "--name-only", tag, "template/", cwd=repository):
        pytest.skip(f"{versions[version].tag} had no {modality}")
    return repository


def _from_every_version() -> Iterator[Any]:
    """Every set of answers with every past version; on every run, each of either at least once."""
    for number, name in enumerate(SETS):
        for version in range(PAST):
            marks = [] if version == number % PAST else [pytest.mark.slow]
            yield pytest.param(version, SETS[name], id=f"{version}-{name}", marks=marks)


@pytest.mark.parametrize(("version", "answers"), list(_from_every_version()))
def test_an_update_equals_a_fresh_rendering(
    history: History, version: int, answers: Answers, tmp_path: Path
) -> None:
    repository = supported(history, version, answers)
    tag = history[1][version].tag
    project = started(render(repository, tmp_path / "project", answers, ref=tag))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # copier would ask for trust with an error, too
        update(project)
    fresh = render(repository, tmp_path / "fresh", recorded(project), ref=NEWEST)
    assert files(project) == files(fresh)

    commit_all(project)
    update(project)
    assert git("status", "--porcelain", cwd=project) == ""


def test_past_versions_differ(history: History, tmp_path: Path) -> None:
    repository, versions = history
    trees = [
        files(render(repository, tmp_path / version.tag, ref=version.tag)) for version in versions
    ]
    trees.append(files(render(repository, tmp_path / "newest", ref=NEWEST)))
    for older, younger in pairwise(trees):
        changed = {
            path for path in older.keys() | younger.keys() if older.get(path) != younger.get(path)
        }
        assert changed - {answers_file.NAME}


@pytest.mark.parametrize("change", [*ONE_CHANGE, *SLOW_CHANGES], ids=str)
def test_changing_an_answer_and_back_equals_fresh_renderings(
    history: History, default_project: Path, change: Answers, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(default_project, project)
    update(project, change)
    given = recorded(project)
    assert {key: given[key] for key in change} == change
    fresh = render(history[0], tmp_path / "fresh", given, ref=NEWEST)
    assert files(project) == files(fresh)

    commit_all(project)
    update(project, recorded(default_project))
    assert files(project) == files(default_project)


def test_the_users_files_stay_as_they_are(history: History, tmp_path: Path) -> None:
    repository, versions = history
    project = started(render(repository, tmp_path / "project", ref=versions[-1].tag))
    (project / "notes.md").write_text("mine\n")
    (project / "src" / "my_project" / "mine.py").write_text("MINE = True\n")
    (project / "LICENSE").unlink(missing_ok=True)
    (project / "src" / "my_project" / "__main__.py").unlink()
    commit_all(project)
    update(project)
    assert (project / "notes.md").read_text() == "mine\n"
    assert (project / "src" / "my_project" / "mine.py").read_text() == "MINE = True\n"
    assert not (project / "src" / "my_project" / "__main__.py").exists()
