"""The oldest Copier that the template names is the oldest that works with it."""

from __future__ import annotations

import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from answer_space import MODALITIES
from packaging.requirements import Requirement
from packaging.version import Version
from rendering import ROOT, commit_all, files, git, render, started, update

OLDEST = str(yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))["_min_copier_version"])
TOO_OLD = "9.14.3"
INSTALLED = metadata.version("copier")


@pytest.mark.unit
def test_the_template_and_the_command_ask_for_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [needed] = [
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "copier"
    ]
    assert str(needed.specifier) == f">={OLDEST}"
    assert Version(TOO_OLD) < Version(OLDEST) <= Version(INSTALLED)


def copier(version: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run that Copier, in an environment of its own."""
    isolated = ["uv", "run", "--quiet", "--isolated", "--no-project", "--with"]
    return subprocess.run(
        [*isolated, f"copier=={version}", "copier", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def _reachable(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = copier(OLDEST, "--version", cwd=tmp_path_factory.mktemp("copier"))
    if done.returncode:
        pytest.skip(f"uv cannot get copier {OLDEST} here: {done.stderr[-200:]}")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.usefixtures("_reachable")
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_oldest_renders_and_updates_as_the_newest(
    modality: str, repository: Path, tmp_path: Path
) -> None:
    answers = {"modality": modality, "description": "größer: \"a\" {{ b }} 'c' # d"}
    data = [part for key, value in answers.items() for part in ("--data", f"{key}={value}")]
    given = ("copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", *data, str(repository))
    done = copier(OLDEST, *given, "old", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    old, new = tmp_path / "old", render(repository, tmp_path / "new", answers, ref="HEAD")
    assert files(old) == files(new)

    for project in (old, new):
        config = (project / "config.yaml").read_text("utf-8")
        (project / "config.yaml").write_text(f"# mine\n{config}", "utf-8")
        started(project)
    (repository / "template" / "NEWS").write_text("news\n", "utf-8")
    readme = repository / "template" / "README.md.jinja"
    readme.write_text(f"{readme.read_text('utf-8')}\nMore.\n", "utf-8")
    commit_all(repository)
    git("tag", "v99.0.0", cwd=repository)
    done = copier(OLDEST, "update", "--quiet", "--defaults", cwd=old)
    assert done.returncode == 0, done.stderr
    update(new)
    assert files(old) == files(new)
    assert (old / "NEWS").is_file()
    assert (old / "config.yaml").read_text("utf-8").startswith("# mine\n")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.usefixtures("_reachable")
def test_one_that_is_too_old_is_told_so_in_one_line(repository: Path, tmp_path: Path) -> None:
    refusal = f"This template requires Copier version >= {OLDEST}"
    done = copier(TOO_OLD, "copy", "--defaults", str(repository), "p", cwd=tmp_path)
    assert done.returncode != 0
    assert refusal in done.stderr
    assert "Traceback" not in done.stderr
    project = started(render(repository, tmp_path / "made", ref="HEAD"))
    done = copier(TOO_OLD, "update", "--defaults", "--vcs-ref=HEAD", cwd=project)
    assert done.returncode != 0
    assert refusal in done.stderr
    assert "Traceback" not in done.stderr
