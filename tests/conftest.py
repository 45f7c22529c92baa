"""Fixtures that all tests share; nothing here reads the developer's own Git or Copier settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from history import PastVersion, build_history
from rendering import ROOT, copy_template, git, render

from tp35 import cli, template

GIT_SETTINGS = """\
[user]
name = Test
email = test@example.org
[init]
defaultBranch = main
[protocol "file"]
allow = always
"""


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "copier.yml").write_text("{}\n")
    (folder / "gitconfig").write_text(GIT_SETTINGS)
    # A test started from a Git hook must not write into the repository of the hook.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    kept |= {
        "COPIER_SETTINGS_PATH": str(folder / "copier.yml"),
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
    }
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(kept)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def template_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree's template as a plain folder, as the wheel carries it."""
    return copy_template(tmp_path_factory.mktemp("template") / "tp35")


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PastVersion]]:
    """A repository with past releases and the working tree as its newest; do not change it."""
    return build_history(tmp_path_factory.mktemp("history") / "tp35")


@pytest.fixture
def repository(history: tuple[Path, list[PastVersion]], tmp_path: Path) -> Path:
    """A copy of that repository for tests that change the template."""
    copied = tmp_path / "template" / "tp35"
    shutil.copytree(history[0], copied)
    return copied


@pytest.fixture
def project(repository: Path, tmp_path: Path) -> Path:
    """The default vision project, rendered from the newest release and committed."""
    folder = render(repository, tmp_path / "project", ref="HEAD")
    git("init", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-m", "start", cwd=folder)
    return folder


@dataclass(frozen=True)
class Ran:
    """What the command did."""

    code: int
    out: str
    err: str


Tp35 = Callable[..., Ran]


@pytest.fixture
def tp35(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tp35:
    """Run the command `tp35` in this process."""

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tp35", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def from_folder(monkeypatch: pytest.MonkeyPatch, template_folder: Path) -> Path:
    """Let `tp35` use the plain folder as a wheel does: no Git there."""
    monkeypatch.setattr(template, "root", lambda: template_folder)
    return template_folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built from its sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--quiet", "--out-dir", out, ROOT], check=True)
    return next(out.glob("*.whl"))
