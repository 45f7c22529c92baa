"""`tp35 doctor`: every fault has its line and its remedy."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
from conftest import Tp35
from history import NEWEST, PastVersion
from rendering import commit_all, git, started

from tp35 import answers_file, doctor, environment, template
from tp35.doctor import diagnose
from tp35.findings import Finding, Level

pytestmark = pytest.mark.unit


def found(project: Path, subject: str) -> list[Finding]:
    return [finding for finding in diagnose(project) if finding.subject == subject]


def bad(project: Path) -> list[Finding]:
    return [finding for finding in diagnose(project) if finding.level is not Level.GOOD]


def fake_environment(project: Path, facts: dict[str, object] | None) -> None:
    """An interpreter for the project that reports these facts, or that does not run."""
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shown = "exit 1" if facts is None else f"echo '{json.dumps(facts)}'"
    python.write_text(f"#!/bin/sh\n{shown}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


HEALTHY: dict[str, object] = {
    "python": [3, 12, 1],
    "torch": "2.10.0",
    "torchvision": "0.25.0",
    "lightning": "2.6.6",
    "cuda": True,
    "gpu": "A GPU",
}


def test_a_healthy_project(project: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "DISK_GB", 0)
    fake_environment(project, HEALTHY)
    ran = tp35("doctor", project)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    told = tp35("doctor", project, "--verbose")
    assert told.code == 0
    lines = told.out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert "ok       GPU: A GPU" in lines
    assert any("v1.0.0 is the newest" in line for line in lines)


@pytest.mark.parametrize("modality", ["vision", pytest.param("text", marks=pytest.mark.slow)])
def test_a_pristine_project(
    modality: str,
    tp35: Tp35,
    history: tuple[Path, list[PastVersion]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `tp35 new` leaves it, without an environment yet: nothing to say."""
    monkeypatch.setattr(environment, "DISK_GB", 0)
    template_ = ("--template", history[0], "--ref", NEWEST)
    chosen = ("--defaults", "--data", f"modality={modality}")
    assert tp35("new", tmp_path / "p", *template_, *chosen).code == 0
    started(tmp_path / "p")
    ran = tp35("doctor", tmp_path / "p")
    assert (ran.code, ran.out, ran.err) == (0, "", ""), ran.out


def test_what_is_no_project(tp35: Tp35, tmp_path: Path) -> None:
    """One line and its remedy; of conflicts and environments there nothing is said."""
    (tmp_path / "theirs.py").write_text("<<<<<<< a\nb\n=======\nc\n>>>>>>> d\n")
    ran = tp35("doctor", tmp_path)
    line, remedy = ran.out.splitlines()
    assert ran.code == 1
    assert line.endswith("it is no project of this template")
    assert "tp35 new" in remedy
    assert "git" not in remedy


def test_a_large_folder_that_is_no_project(
    tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home is not read through; a folder of few files is, for what v3.4 called differently."""
    (tmp_path / "config.json").write_text('{"lr": 1, "batch_size": 2}')
    assert "config.json:1: the field lr" in tp35("doctor", tmp_path).out
    (tmp_path / ".venv").mkdir()
    for number in range(3):
        (tmp_path / ".venv" / f"{number}.py").touch()
    monkeypatch.setattr(doctor, "FILES_TO_SEARCH", 1)
    assert "config.json:1" in tp35("doctor", tmp_path).out
    (tmp_path / "more.txt").touch()
    ran = tp35("doctor", tmp_path)
    assert ran.code == 1
    assert "config.json:1" not in ran.out
    assert "not searched for, among more than 1 files" in ran.out


def test_before_the_first_commit(project: Path) -> None:
    shutil.rmtree(project / ".git")
    (finding,) = found(project, "git")
    assert finding.level is Level.WARNING
    assert "git commit" in finding.remedy


def test_every_fault_comes_with_a_remedy(project: Path) -> None:
    (project / answers_file.NAME).unlink()
    (project / "README.md").write_text("<<<<<<< a\nb\n=======\nc\n>>>>>>> d\n")
    faults = bad(project)
    assert [finding.subject for finding in faults] == ["conflict", "answers"]
    assert all(finding.remedy for finding in faults)


def test_conflict_markers(project: Path) -> None:
    (project / "new file.txt").write_text("x\n<<<<<<< a\nb\n=======\nc\n>>>>>>> d\n")
    (project / "heading.md").write_text("Title\n=======\n")
    assert [finding.state for finding in found(project, "conflict")] == ["new file.txt:2"]


@pytest.mark.parametrize(
    "content", [None, "a: [", "just text\n"], ids=["missing", "no YAML", "text"]
)
def test_answers_file_that_cannot_be_read(project: Path, content: str | None) -> None:
    path = project / answers_file.NAME
    path.unlink()
    if content is not None:
        path.write_text(content)
    (finding,) = found(project, "answers")
    assert finding.level is Level.PROBLEM
    assert finding.remedy == "git checkout HEAD -- .copier-answers.yml"


def test_answers_edited_by_hand(project: Path) -> None:
    path = project / answers_file.NAME
    path.write_text(path.read_text().replace("compile_mode: none", "compile_mode: auto"))
    for _ in ("not committed", "committed"):
        states = [finding.state for finding in found(project, "answers")]
        assert any("compile_mode was edited by hand: none -> auto" in state for state in states)
        commit_all(project)


def test_answers_that_are_no_longer_accepted(project: Path) -> None:
    path = project / answers_file.NAME
    text = path.read_text().replace("license: MIT", "license: WTFPL")
    text = text.replace("package_name: my_project", "package_name: class")
    path.write_text(text.replace("- torchscript", "- torchscrpt") + "framework: keras\n")
    states = "\n".join(finding.state for finding in found(project, "answers"))
    assert "license: 'WTFPL' is no choice" in states
    assert "did you mean 'torchscript'?" in states
    assert "framework is asked no longer" in states
    assert 'package_name: "class" is a Python keyword' in states


def test_a_modality_that_is_unknown_is_said_once(project: Path) -> None:
    path = project / answers_file.NAME
    path.write_text(path.read_text().replace("modality: vision", "modality: visoin"))
    states = [finding.state for finding in found(project, "answers")]
    assert sum("modality: 'visoin' is no choice" in state for state in states) == 1


def test_a_template_that_moved(repository: Path, project: Path) -> None:
    repository.rename(repository.parent / "elsewhere")
    (finding,) = found(project, "template")
    assert finding.level is Level.PROBLEM
    assert "--template" in finding.remedy


def test_a_version_behind(repository: Path, project: Path) -> None:
    git("tag", "v1.2.0", cwd=repository)
    git("tag", "not-a-version", cwd=repository)
    (finding,) = found(project, "version")
    assert (finding.level, "v1.2.0 is out" in finding.state) == (Level.WARNING, True)


def test_a_project_without_a_recorded_version(project: Path) -> None:
    path = project / answers_file.NAME
    path.write_text(
        "".join(
            line
            for line in path.read_text().splitlines(keepends=True)
            if not line.startswith("_commit")
        )
    )
    (finding,) = found(project, "template")
    assert "names no version" in finding.state


@pytest.mark.parametrize(
    ("facts", "subject", "words"),
    [
        ({"python": [3, 9, 0]}, "Python", "3.9.0 is too old"),
        ({"torch": None}, "torch", "not installed"),
        ({"torch_error": "libcudart.so"}, "torch", "cannot be imported"),
        ({"torchvision_error": "operator torchvision::nms does not exist"}, "torchvision", "nms"),
        ({"lightning": "2.6.3"}, "lightning", "malicious"),
        ({"gpu": None}, "GPU", "none"),
        (None, "environment", "does not run"),
    ],
    ids=str,
)
def test_environment(
    project: Path, facts: dict[str, object] | None, subject: str, words: str
) -> None:
    fake_environment(project, None if facts is None else HEALTHY | facts)
    assert words in found(project, subject)[0].state


def test_the_probe_runs_in_a_real_interpreter(tmp_path: Path) -> None:
    probed = environment._probe(Path(sys.executable))
    assert probed is not None
    assert probed["python"] == list(sys.version_info[:3])
    assert probed["torch"]
    assert "torchvision_error" not in probed


def test_tools_that_are_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(environment, "DISK_GB", 10**9)
    faults = {
        finding.subject
        for finding in environment.check_environment(project)
        if finding.level is Level.WARNING
    }
    assert faults == {"uv", "git", "compiler", "disk"}


def test_no_folder(tp35: Tp35, tmp_path: Path) -> None:
    ran = tp35("doctor", tmp_path / "nowhere")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_nothing_is_written(project: Path, from_folder: Path) -> None:
    before = sorted(project.rglob("*"))
    list(diagnose(project))
    assert sorted(project.rglob("*")) == before
    assert git("status", "--porcelain", cwd=project) == ""
    assert template.root() == from_folder
