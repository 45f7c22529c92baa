"""What a release must not forget."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer_space import MODALITIES
from packaging.version import Version
from rendering import ROOT, commit_all, git, render

from tp35 import moves

pytestmark = pytest.mark.unit

PACKAGE = "my_project"


def latest_tag(repository: Path) -> str | None:
    if not (repository / ".git").exists():
        return None
    tags = [tag for tag in git("tag", "--list", "v*", cwd=repository).split() if tag[1].isdigit()]
    return max(tags, key=Version, default=None)


def unexplained(repository: Path, tag: str, hooks: Path, out: Path) -> list[str]:
    """Rendered files of a tag that are gone, without a row in `moves.yml`."""
    gone = set()
    for modality in MODALITIES:
        answers = {"modality": modality, "notebook": True}
        trees = []
        for ref in (tag, "HEAD"):
            folder = render(repository, out / f"{modality}-{ref}", answers, ref=ref)
            trees.append(
                {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
            )
        gone |= trees[0] - trees[1]
    rows = moves.parse((hooks / "moves.yml").read_text("utf-8"))
    return sorted(
        path
        for path in gone
        if path.replace(f"src/{PACKAGE}/", "src/{{ package_name }}/") not in rows
    )


def test_every_file_that_moved_since_the_last_tag_has_a_row(tmp_path: Path) -> None:
    tag = latest_tag(ROOT)
    if tag is None:
        pytest.skip("there is no release yet")
    assert unexplained(ROOT, tag, ROOT / "hooks", tmp_path) == []


def test_a_move_without_a_row_would_be_noticed(repository: Path, tmp_path: Path) -> None:
    source = repository / "template" / "src" / "{{package_name}}"
    (source / "task_base.py").rename(source / "contract.py")
    (source / "architecture.py").unlink()
    git("add", "-A", cwd=repository)
    git("commit", "-m", "move", cwd=repository)
    missing = unexplained(repository, "v1.0.0", repository / "hooks", tmp_path / "one")
    assert missing == ["src/my_project/architecture.py", "src/my_project/task_base.py"]
    rows = [
        {"from": "src/{{ package_name }}/task_base.py", "to": "src/{{ package_name }}/contract.py"},
        {"from": "src/{{ package_name }}/architecture.py", "to": None},
    ]
    (tmp_path / "moves.yml").write_text(yaml.safe_dump({"1.1.0": rows}))
    assert unexplained(repository, "v1.0.0", tmp_path, tmp_path / "two") == []


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    releases = re.findall(r"(?m)^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text)
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    versions = [Version(version) for version, _ in releases[1:]]
    assert versions == sorted(versions, reverse=True)
    sections = set(re.findall(r"(?m)^### (.+)$", text))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    tag = latest_tag(ROOT)
    assert tag is None or Version(tag) in versions


def test_versions_come_from_git_and_survive_the_sdist(wheel: Path, tmp_path: Path) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["hatch"]["version"]["source"] == "vcs"
    sdist = next(wheel.parent.glob("*.tar.gz"))
    version = wheel.name.split("-")[1]
    assert sdist.name == f"tp35-{version}.tar.gz"
    # From the sdist alone, without any Git around it.
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path], check=True)
    unpacked = tmp_path / f"tp35-{version}"
    out = tmp_path / "again"
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", out, unpacked], check=True)
    assert [path.name for path in out.glob("*.whl")] == [wheel.name]


def test_ci_runs_what_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "uv run pytest" in readme
    assert script.rstrip().endswith("\nuv run pytest")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]


def _run_steps(job: dict[str, Any], folder: Path, tag: str) -> None:
    """Run what a job runs itself; what its actions do is done by whoever calls this."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = {**kept, "GITHUB_REF_NAME": tag, "UV_PYTHON": sys.executable}
    for step in job["steps"]:
        if command := step.get("run"):
            assert "${{" not in command
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_a_release_up_to_its_publishing(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    jobs = workflow["jobs"]
    assert list(jobs) == ["build", "test", "publish"]
    assert [jobs[name].get("needs") for name in jobs] == [None, "build", "test"]

    # a clone of the working tree, prepared as docs/releasing.md says
    checkout = tmp_path / "checkout"
    git("clone", "--quiet", str(ROOT), str(checkout), cwd=tmp_path)
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for path in listed.split("\0")[:-1]:
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).unlink(missing_ok=True)
        if (ROOT / path).exists():
            shutil.copy2(ROOT / path, checkout / path)
    tag = "v999.0.1"
    changelog = checkout / "CHANGELOG.md"
    heading = "## [Unreleased]\n\n## [999.0.1] - 2999-01-01\n"
    changelog.write_text(
        changelog.read_text("utf-8").replace("## [Unreleased]\n", heading), "utf-8"
    )
    commit_all(checkout, "Release 999.0.1")
    git("tag", tag, cwd=checkout)

    _run_steps(jobs["build"], checkout, tag)
    clean = tmp_path / "clean"
    shutil.copytree(checkout / "dist", clean / "dist")
    shutil.rmtree(checkout)
    _run_steps(jobs["test"], clean, tag)

    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert all("id-token" not in jobs[name]["permissions"] for name in ("build", "test"))
    assert publish["environment"]
    last = publish["steps"][-1]
    assert last["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert last["with"] == {"attestations": True}
