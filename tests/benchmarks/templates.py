"""What Copier takes to render the template and to update from it, and `tp35 update` beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from .harness import (
    ROOT,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    seconds,
    temporary_folder,
    versions,
)

COPIER = [sys.executable, "-m", "copier"]
TP35 = [sys.executable, "-m", "tp35"]
TEMPLATE_PARTS = ("copier.yml", "hooks", "template")
PLAIN, OURS, EMPTY = "copier, tp35's template", "tp35 update", "copier, empty files"

MORE = (
    "Copier renders three times for an update. When profiled, 36 % of what tp35's template takes "
    "beyond the empty one were names of files that the answers leave out, 27 % files that hold "
    "Jinja, 16 % questions; the rest was git, with files that are not empty."
)

SOURCES = "template/src"
PACKAGE = ROOT / SOURCES / "{{package_name}}"

# have one more line in the second version
CHANGED = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))[::10]


@benchmark("Rendering and updating", minutes=4)
def templates(scale: Scale) -> Iterator[Row]:
    """tp35's template and one of as many empty files, which Copier renders by the same names."""
    with temporary_folder() as folder:
        ours = _ours(folder / "ours")
        rendered = _copy(ours, folder / "listed", "v1.0.0")
        empty = _empty(folder / "empty", rendered)
        if _files(rendered) != _files(_copy(empty, folder / "listed-empty", "v1.0.0")):
            raise RuntimeError("the template of empty files renders other files")
        yield _copying(ours, empty, folder, scale)
        yield _updating(ours, empty, folder, scale)


def _copying(ours: Path, empty: Path, folder: Path, scale: Scale) -> Row:
    def copying(template: Path) -> float:
        destination = folder / "copied"
        spent = seconds(lambda: _copy(template, destination, "v2.0.0"))
        shutil.rmtree(destination)
        return spent

    ways = {PLAIN: lambda: copying(ours), EMPTY: lambda: copying(empty)}
    values = interleave(ways, scale)
    version = versions("copier")
    return Row(
        "`copier copy`",
        "s",
        [Way(name, version, values[name]) for name in ways],
        [Target(PLAIN, EMPTY, most=1.5)],
    )


def _updating(ours: Path, empty: Path, folder: Path, scale: Scale) -> Row:
    templates = {PLAIN: ours, OURS: ours, EMPTY: empty}
    projects = {
        name: _started(_copy(template, folder / f"project-{number}", "v1.0.0"))
        for number, (name, template) in enumerate(templates.items())
    }
    plain = [*COPIER, "update", "--defaults", "--quiet"]
    commands = {PLAIN: plain, OURS: [*TP35, "update", "--quiet"], EMPTY: plain}

    def updating(name: str) -> float:
        _git("reset", "--hard", "--quiet", cwd=projects[name])
        _git("clean", "-fdq", cwd=projects[name])
        return seconds(lambda: _run(commands[name], projects[name]))

    for name in commands:
        updating(name)
    _check_updated(projects)
    values = interleave({name: partial(updating, name) for name in commands}, scale)
    version = versions("copier")
    return Row(
        f"updating to a version that changes {len(CHANGED)} files",
        "s",
        [
            Way(OURS, f"ours, {version}", values[OURS]),
            Way(PLAIN, version, values[PLAIN]),
            Way(EMPTY, version, values[EMPTY]),
        ],
        [Target(PLAIN, EMPTY, most=1.5), Target(OURS, PLAIN, most=1.3)],
        MORE,
    )


def _check_updated(projects: Mapping[str, Path]) -> None:
    """All have the new version, and both ways to it end alike."""
    if _contents(projects[OURS]) != _contents(projects[PLAIN]):
        raise RuntimeError("tp35 update and copier update end with different projects")
    for name, project in projects.items():
        status = _git("status", "--porcelain", cwd=project).splitlines()
        changed = [line for line in status if line.endswith(".py")]
        if len(changed) != len(CHANGED):
            raise RuntimeError(f"{name}: {len(changed)} files changed, not {len(CHANGED)}")


# --- templates -----------------------------------------------------------------------------------


def _ours(folder: Path) -> Path:
    """The template of this clone in two versions."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for part in TEMPLATE_PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return _two_versions(folder, folder / SOURCES / "{{package_name}}")


def _empty(folder: Path, rendered: Path) -> Path:
    """A template of files without content, but for the answers, which an update needs."""
    for name in _files(rendered):
        path = folder / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    answers = folder / "template" / ".copier-answers.yml"
    answers.rename(answers.with_name("[[ _copier_conf.answers_file ]].jinja")).write_text(
        "[[ _copier_answers|to_nice_yaml ]]"
    )
    delimiters = "variable_start_string: '[['\n  variable_end_string: ']]'\n"
    settings = f"_subdirectory: template\n_envops:\n  {delimiters}"
    (folder / "copier.yml").write_text(settings)
    [package] = (folder / SOURCES).iterdir()
    return _two_versions(folder, package)


def _two_versions(template: Path, package: Path) -> Path:
    """Make a repository of a folder; v2.0.0 has one more line in some files of the package."""
    _started(template)
    _git("tag", "v1.0.0", cwd=template)
    for name in CHANGED:
        with (package / name).open("a", encoding="utf-8") as file:
            file.write("# changed\n")
    _git("commit", "--quiet", "--all", "--message", "change", cwd=template)
    _git("tag", "v2.0.0", cwd=template)
    return template


# --- commands ------------------------------------------------------------------------------------


def _copy(template: Path, destination: Path, version: str) -> Path:
    command = ["copy", "--defaults", "--quiet", "--vcs-ref", version]
    _run([*COPIER, *command, str(template), str(destination)], template)
    return destination


def _started(folder: Path) -> Path:
    _git("init", "--quiet", cwd=folder)
    _git("add", "--all", cwd=folder)
    _git("commit", "--quiet", "--message", "start", cwd=folder)
    return folder


def _git(*arguments: str, cwd: Path) -> str:
    author = ["-c", "user.name=tp35", "-c", "user.email=tp35@example.com"]
    return _run(["git", *author, *arguments], cwd)


def _run(command: Sequence[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "generator")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    return done.stdout


def _files(folder: Path) -> list[str]:
    """Every file's path, Git's own left out."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] != ".git")


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in _files(folder)}
