"""Fixtures that all tests share; nothing here reads the developer's own Git or Copier settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import copier
import coverage
import pytest
from copier_once import do_nothing_twice
from history import NEWEST, PastVersion, build_history
from rendering import ROOT, commit_all, copy_template, render, started

from tp35 import answers_file, cli, template

GIT_SETTINGS = """\
[user]
name = Test
email = test@example.org
[init]
defaultBranch = main
[protocol "file"]
allow = always
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shard 2/4`: the second of four parts of whatever else is chosen."""
    parser.addoption("--shard", default="1/1", metavar="I/N", help="run part I of N")


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no worker is left alone with one at the end."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("timeout") is None,
            item.path.name != "test_projects.py",
        )
    )
    shard = config.getoption("shard")
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard)
    if not found or int(found[1]) > int(found[2]):
        raise pytest.UsageError(f"--shard {shard} is no part of a whole; give one such as 2/4")
    part, parts = int(found[1]), int(found[2])
    left_out = [item for number, item in enumerate(items) if number % parts != part - 1]
    items[:] = items[part - 1 :: parts]
    config.hook.pytest_deselected(items=left_out)


@contextmanager
def unmeasured() -> Iterator[None]:
    """Without coverage."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()


@pytest.fixture(scope="session", autouse=True)
def _copier_is_not_measured() -> Iterator[None]:
    """Tracing makes it slower by half, and it renders some hundred projects here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copier, "run_copy", unmeasured()(copier.run_copy))
        patch.setattr(copier, "run_recopy", unmeasured()(copier.run_recopy))
        patch.setattr(copier, "run_update", unmeasured()(copier.run_update))
        yield


@pytest.fixture(scope="session", autouse=True)
def _copier_does_nothing_twice() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        do_nothing_twice(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "copier.yml").write_text("{}\n")
    (folder / "gitconfig").write_text(GIT_SETTINGS)
    # A test started from a Git hook must not write into the repository of the hook.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # some images set it, and each of hundreds of processes would compile all of torch's Python anew
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
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


@pytest.fixture(scope="session")
def default_project(
    history: tuple[Path, list[PastVersion]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The default project, rendered from the newest release and committed; do not change it."""
    folder = tmp_path_factory.mktemp("default") / "project"
    return started(render(history[0], folder, ref=NEWEST))


@pytest.fixture
def project(
    history: tuple[Path, list[PastVersion]], default_project: Path, repository: Path, tmp_path: Path
) -> Path:
    """A copy of the default project whose template is this test's own repository."""
    folder = tmp_path / "project"
    shutil.copytree(default_project, folder)
    answers = folder / answers_file.NAME
    text = answers.read_text("utf-8")
    answers.write_text(text.replace(str(history[0]), str(repository)), "utf-8")
    commit_all(folder)
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
