"""Templates with projects to update: the toy, and the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

from .stage import ROOT
from .toy import (
    CLASHING_EDITS,
    IGNORED,
    NEW,
    OLD,
    OLD_FILES,
    QUIET_EDITS,
    File,
    Subject,
    build_template,
    commit_all,
    git,
    render,
    write,
)

PARTS = ("CHANGELOG.md", "copier.yml", "hooks", "template")


def started(project: Path) -> Path:
    """Make a rendered project a repository with one commit."""
    git("init", "--quiet", "--template=", cwd=project)
    (project / ".git/info").mkdir()
    commit_all(project, "start")
    return project


def _edited(source: Path, project: Path, edits: dict[str, File | None]) -> Path:
    shutil.copytree(source, project)
    write(project, edits)
    commit_all(project, "my work")
    return project


def toy_subject(folder: Path) -> Subject:
    """The toy template and its two projects."""
    template = build_template(folder / "template")
    fresh = render(template, folder / "fresh")
    started(fresh)
    rendered = {
        path.relative_to(fresh).as_posix()
        for path in fresh.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(fresh).parts
    }
    assert rendered == {*OLD_FILES, ".copier-answers.yml"}
    quiet = _edited(fresh, folder / "quiet", dict(QUIET_EDITS))
    clashing = _edited(fresh, folder / "clashing", dict(CLASHING_EDITS))
    for project in (quiet, clashing):
        write(project, IGNORED)
    return Subject(template, quiet, clashing)


def _append(path: Path, line: str) -> None:
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")


def real_template(folder: Path) -> Path:
    """This working tree's template, as the old version of a repository."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".*_cache")
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    git("init", "--quiet", cwd=folder)
    commit_all(folder, OLD)
    git("tag", OLD, cwd=folder)
    return folder


def real_subject(folder: Path) -> Subject:
    """This repository's template, and projects of its default answers."""
    template = real_template(folder / "template")
    package = template / "template" / "src" / "{{package_name}}"
    for name in ("config.py", "errors.py", "__main__.py"):
        _append(package / name, "# theirs")
    (package / "fresh.py").write_text("FRESH = True\n")
    commit_all(template, NEW)
    git("tag", NEW, cwd=template)

    fresh = started(render(template, folder / "fresh"))
    projects = []
    for name, edited in (("quiet", "train.py"), ("clashing", "config.py")):
        project = folder / name
        shutil.copytree(fresh, project)
        own = project / "src" / "my_project"
        _append(own / "cli.py", "# mine")
        if name == "clashing":
            _append(own / edited, "# mine")
        (own / "own.py").write_text("OWN = True\n")
        commit_all(project, "my work")
        projects.append(project)
    return Subject(template, *projects)
