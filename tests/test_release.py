"""What a release must not forget."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from answer_space import MODALITIES
from packaging.version import Version
from rendering import ROOT, git, render

from tp35 import moves

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
    rows = moves.table(hooks)
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
    (source / "spec.py").rename(source / "contract.py")
    (source / "plots.py").unlink()
    git("add", "-A", cwd=repository)
    git("commit", "-m", "move", cwd=repository)
    missing = unexplained(repository, "v1.0.0", repository / "hooks", tmp_path / "one")
    assert missing == ["src/my_project/plots.py", "src/my_project/spec.py"]
    rows = [
        {"from": "src/{{ package_name }}/spec.py", "to": "src/{{ package_name }}/contract.py"},
        {"from": "src/{{ package_name }}/plots.py", "to": None},
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
