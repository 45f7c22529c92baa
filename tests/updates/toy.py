"""A small template with two versions, and projects of it whose update is known by heart.

The files are written out here, and so is what an update must make of them: nothing is taken from
what Copier or tp35 render.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ANSWERS_FILE = ".copier-answers.yml"
OLD, NEW = "v1.0.0", "v2.0.0"
PACKAGE = "toy"

COPIER = """\
_subdirectory: template
_envops:
  keep_trailing_newline: true
project_name: {type: str, help: "What is its name?", default: Toy}
package_name: {type: str, help: "What is it called in code?", default: toy}
"""
ANSWERS = """\
# Written by Copier; change answers with `tp35 update --data key=value`.
{{ _copier_answers | to_nice_yaml -}}
"""
MOVES = """\
"2.0.0":
  - from: "src/{{ package_name }}/training/old_name.py"
    to: "src/{{ package_name }}/training/new_name.py"
  - { from: "src/{{ package_name }}/legacy.py", to: null }
"""
HISTORY = """\
# Changelog

## [2.0.0]

- Newer.

## [1.0.0]

- The first.
"""


@dataclass(frozen=True)
class File:
    """A file of a template or a project."""

    content: bytes
    executable: bool = False

    def with_text(self, old: str, new: str) -> File:
        """The file with one piece of its text replaced."""
        assert self.content.count(old.encode()) == 1
        return replace(self, content=self.content.replace(old.encode(), new.encode()))

    def before(self, text: str) -> File:
        """The file with text in front."""
        return replace(self, content=text.encode() + self.content)

    def then(self, text: str) -> File:
        """The file with text at its end."""
        return replace(self, content=self.content + text.encode())


Files = dict[str, File]


def lines(name: str, count: int) -> File:
    """A text whose every line is unlike every other."""
    return File("".join(f"{name}_{number} = {number}\n" for number in range(count)).encode())


def _old_version() -> Files:
    return {
        ".gitignore": File(b"*.log\n/runs/\n/ignored/\n"),
        "LICENSE": File(b"Do as you like.\n"),
        "README.md": File(b"# Toy\n\nA toy.\n\n## Use\n\nRun it.\n\n## Thanks\n\nTo all.\n"),
        "config.yaml": lines("setting", 12),
        "docs/guide.md": File("# Guide\n\nGrüße, wie üblich.\n".encode()),
        "logo.png": File(bytes(range(256)) + b"\r\n\n\0old"),
        "run.sh": File(b"#!/bin/sh\nexec python -m toy\n", executable=True),
        "src/toy/__init__.py": File(b""),
        "src/toy/cli.py": lines("cli", 20),
        "src/toy/config.py": lines("config", 20),
        "src/toy/legacy.py": lines("legacy", 10),
        "src/toy/model.py": lines("model", 20),
        "src/toy/training/loop.py": lines("loop", 20),
        "src/toy/training/old_name.py": lines("moving", 20),
        "tests/test_toy.py": lines("test", 10),
        "tools/check.sh": File(b"#!/bin/sh\nexit 0\n"),
    }


def _new_version() -> Files:
    files = _old_version()
    del files["src/toy/legacy.py"]
    moved = files.pop("src/toy/training/old_name.py")
    return files | {
        "README.md": files["README.md"].with_text("A toy.", "A better toy."),
        "config.yaml": files["config.yaml"].then("added = 1\n"),
        "docs/new/page.md": File(b"# Page\n"),
        "logo.png": File(bytes(range(256)) + b"\r\n\n\0new"),
        "src/toy/cli.py": files["src/toy/cli.py"].with_text("cli_5 = 5\n", ""),
        "src/toy/config.py": files["src/toy/config.py"].with_text("_3 = 3\n", "_3 = 'theirs'\n"),
        "src/toy/fresh.py": lines("fresh", 5),
        "src/toy/model.py": files["src/toy/model.py"].then("model_new = 'theirs'\n"),
        "src/toy/training/loop.py": files["src/toy/training/loop.py"].before("begin = 0\n"),
        "src/toy/training/new_name.py": moved.with_text("moving_2 = 2", "moving_2 = 'theirs'"),
        "tools/check.sh": replace(files["tools/check.sh"], executable=True),
    }


OLD_FILES, NEW_FILES = _old_version(), _new_version()
CLASHING = "src/toy/config.py"
# The user's edits that merge, and those that do not: as files that are there, or gone (None).
QUIET_EDITS: Mapping[str, File | None] = {
    "LICENSE": None,
    "README.md": OLD_FILES["README.md"].then("\nMine.\n"),
    "notes-ü.md": File(b"my own\n"),
    "run.sh": OLD_FILES["run.sh"].then("# mine\n"),
    "src/toy/model.py": OLD_FILES["src/toy/model.py"].before("mine = 'model'\n"),
    "src/toy/own.py": File(b"OWN = True\n"),
    "src/toy/training/old_name.py": OLD_FILES["src/toy/training/old_name.py"].then("mine = 1\n"),
}
CLASHING_EDITS: Mapping[str, File | None] = {
    **QUIET_EDITS,
    CLASHING: OLD_FILES[CLASHING].with_text("_3 = 3\n", "_3 = 'mine'\n"),
    "src/toy/legacy.py": OLD_FILES["src/toy/legacy.py"].then("mine = 'legacy'\n"),
}
# What Git ignores in the project.
IGNORED = {"runs/1/metrics.csv": File(b"1,2\n"), "last.log": File(b"log\n")}
# What an update makes of the edits that merge.
UPDATED: Files = {
    **{path: file for path, file in NEW_FILES.items() if path != "LICENSE"},
    "README.md": NEW_FILES["README.md"].then("\nMine.\n"),
    "notes-ü.md": File(b"my own\n"),
    "run.sh": NEW_FILES["run.sh"].then("# mine\n"),
    "src/toy/model.py": NEW_FILES["src/toy/model.py"].before("mine = 'model'\n"),
    "src/toy/own.py": File(b"OWN = True\n"),
    "src/toy/training/new_name.py": NEW_FILES["src/toy/training/new_name.py"].then("mine = 1\n"),
}

GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}
_ALLOWING = (
    "-c",
    "protocol.file.allow=always",
    "-c",
    "safe.directory=*",
    "-c",
    "init.defaultBranch=main",
)


class GitFailed(AssertionError):  # noqa: N818 (no bug)
    """Git said no; the message says what."""


def git(*arguments: str | Path, cwd: Path, stdin: bytes | None = None) -> str:
    """Run Git under no settings but those of the repository."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", *_ALLOWING, *arguments],
        cwd=cwd,
        env=kept | GIT_ENVIRONMENT,
        input=stdin,
        capture_output=True,
    )
    if done.returncode:
        raise GitFailed(f"git {arguments} in {cwd}: {done.stderr.decode()}")
    return done.stdout.decode(errors="surrogateescape")


def write(folder: Path, files: Mapping[str, File | None]) -> None:
    """Write files, and remove those that are None."""
    for name, file in files.items():
        path = folder / name
        if file is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def commit_all(folder: Path, message: str = "change") -> None:
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--allow-empty", "-m", message, cwd=folder)


def as_template(files: Mapping[str, File]) -> Files:
    """Files of a project as those of the template that renders them."""
    return {
        "template/" + path.replace(f"src/{PACKAGE}/", "src/{{package_name}}/"): file
        for path, file in files.items()
    }


def old_template(folder: Path, files: Mapping[str, File]) -> Path:
    """A repository with the old version as a tag."""
    folder.mkdir(parents=True)
    git("init", "--quiet", cwd=folder)
    (folder / "copier.yml").write_text(COPIER)
    (folder / "hooks").mkdir()
    (folder / "hooks" / "moves.yml").write_text(MOVES)
    (folder / "CHANGELOG.md").write_text(HISTORY)
    answers = {"template/{{_copier_conf.answers_file}}.jinja": File(ANSWERS.encode())}
    write(folder, as_template(files) | answers)
    commit_all(folder, OLD)
    git("tag", OLD, cwd=folder)
    return folder


def build_template(folder: Path) -> Path:
    """A repository with both versions as tags."""
    old_template(folder, OLD_FILES)
    write(folder, differences(as_template(OLD_FILES), as_template(NEW_FILES)))
    commit_all(folder, NEW)
    git("tag", NEW, cwd=folder)
    return folder


def differences(one: Mapping[str, File], other: Mapping[str, File]) -> dict[str, File | None]:
    """What to write to make the one the other."""
    return {
        path: other.get(path)
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
    }


def render(template: Path, project: Path, ref: str = OLD, **answers: str) -> Path:
    """Plain `copier copy` of a version, in a process that knows no settings of anyone."""
    command = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", "--vcs-ref", ref]
    data = [f"--data={key}={value}" for key, value in answers.items()]
    done = subprocess.run(
        [*command, *data, str(template), str(project)],
        env=os.environ | GIT_ENVIRONMENT,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return project


@dataclass(frozen=True)
class Subject:
    """A template, and two projects of its old version: one whose update clashes, and one not."""

    template: Path
    quiet: Path
    clashing: Path
