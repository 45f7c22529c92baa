"""A modality is one folder and one row: a third one, of points, goes all the way.

The folder `toy_modality/` and the row below are all there is of it. It also holds
docs/adding-a-modality.md to what a modality really needs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from answer_space import overlay
from expected_files import expected_files
from project_checks import leftover_jinja, parse_everything
from reader import newest, package
from rendering import ROOT, UNMEASURED, copy_template, files, render
from test_projects import ask_bundle, run
from test_rendering import lint
from warm import WarmProcess

pytestmark = pytest.mark.integration

NAME = "points"
TOY = Path(__file__).parent / "toy_modality"
ROW = {"title": "Points", "tasks": ["points_classification"], "modules": ["pointlib"]}
ANSWERS = {"modality": NAME, "project_name": "Points Project"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with one more folder and one more row."""
    copied = copy_template(tmp_path_factory.mktemp("template") / "tp35")
    shutil.copytree(TOY, overlay(NAME, copied))
    configuration = (copied / "copier.yml").read_text("utf-8")
    first = next(line for line in configuration.splitlines() if line == "    vision:")
    row = "\n".join(f"    {line}" for line in yaml.safe_dump({NAME: ROW}).splitlines())
    (copied / "copier.yml").write_text(configuration.replace(first, f"{row}\n{first}", 1), "utf-8")
    return copied


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered, and not changed by any test but the one that trains."""
    return render(template, tmp_path_factory.mktemp("toy") / "p", ANSWERS)


@pytest.fixture(scope="module")
def process(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    log = tmp_path_factory.mktemp("warm") / "points.log"
    environment = {"OMP_NUM_THREADS": "1"} | UNMEASURED
    with WarmProcess(project / "src", package(project), log, environment) as running:
        yield running


def test_renders(template: Path, project: Path) -> None:
    assert set(files(project)) == expected_files(
        ANSWERS | {"package_name": package(project)}, template
    )
    parse_everything(project)
    assert leftover_jinja(project) == []
    assert yaml.safe_load((project / "config.yaml").read_text("utf-8"))["dimensions"] == 2
    readme = (project / "README.md").read_text("utf-8")
    assert "inference.py --input point.txt" in readme
    assert "points-project data check --data points" in readme


def test_the_others_stay_as_they_are(template: Path, template_folder: Path, tmp_path: Path) -> None:
    for modality in ("vision", "text"):
        answers = {"modality": modality}
        with_it = render(template, tmp_path / f"{modality}-with", answers)
        without = render(template_folder, tmp_path / f"{modality}-without", answers)
        changed = {
            path
            for path in files(with_it).keys() | files(without).keys()
            if files(with_it).get(path) != files(without).get(path)
        }
        assert changed <= {".copier-answers.yml"}  # which names the template's folder


def test_lint(project: Path) -> None:
    lint(project)


@pytest.mark.slow  # what is shared is judged in the other modalities' projects
def test_types(project: Path, tmp_path: Path) -> None:
    environment = {"MYPYPATH": str(project / "src")} | UNMEASURED
    run(project, "-m", "mypy", "--cache-dir", tmp_path / "mypy", env=environment)


def test_trains_exports_and_predicts(project: Path, process: WarmProcess) -> None:
    process.run(project, "train", "--epochs", "30", "--export_bundle", "true")
    [metrics] = (project / "runs").glob("*/metrics.csv")
    last = metrics.read_text("utf-8").splitlines()[-1].split(",")
    header = metrics.read_text("utf-8").splitlines()[0].split(",")
    assert float(last[header.index("val/accuracy")]) > 0.85
    assert (metrics.parent / "report.html").is_file()
    bundle = newest(project / "exports")
    for format_ in json.loads((bundle / "metadata.json").read_text("utf-8"))["artifacts"]:
        ask_bundle(project, bundle, process, "--format", format_)
    process.run_script(bundle / "inference.py", "--verify", cwd=project.parent)


def test_serves(project: Path, process: WarmProcess) -> None:
    """By the tests that all modalities share."""
    process.run_tests(project, "tests/test_server.py", "-k", "answers or refused or bad_item")


def test_its_other_tests(project: Path, process: WarmProcess) -> None:
    process.run_tests(project, "tests/test_task.py", "tests/test_config.py")


def test_the_guide_lists_the_folders_files() -> None:
    guide = (ROOT / "docs" / "adding-a-modality.md").read_text("utf-8")
    section = guide.partition("## The folder")[2].partition("###")[0]
    listed = {
        path.replace("NAME", NAME) for path in re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    }
    assert listed == set(files(TOY))
