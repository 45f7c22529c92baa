"""What a new project records of its template: a version, a place that others reach, no secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Ran, Tp35
from rendering import ROOT, commit_all, files, git

from tp35 import answers_file
from tp35.origin import WHERE_CREDENTIALS_BELONG

pytestmark = pytest.mark.unit

ADDRESS = "https://git.example.org/tp35.git"
SECRET = "s3cret"  # noqa: S105  (of nobody)
SECRET_ADDRESS = f"https://ada:{SECRET}@git.example.org/tp35.git"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of this template's questions with little to render, and two versions."""
    folder = tmp_path_factory.mktemp("small") / "tp35"
    recorded = "{{_copier_conf.answers_file}}.jinja"
    for path in [
        ROOT / "copier.yml",
        ROOT / "template" / recorded,
        *(ROOT / "template").glob("*/_parts/facts.yml"),
    ]:
        copied = folder / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)
    git("init", cwd=folder)
    for version in ("v1.0.0", "v2.0.0"):
        (folder / "template" / "VERSION").write_text(version, "utf-8")
        commit_all(folder, version)
        git("tag", version, cwd=folder)
    return folder


@pytest.fixture
def clone(small: Path, tmp_path: Path) -> Path:
    """A clone of it whose origin is at an address with a password."""
    folder = tmp_path / "clone"
    git("clone", str(small), str(folder), cwd=tmp_path)
    git("config", "remote.origin.url", SECRET_ADDRESS, cwd=folder)
    return folder


@pytest.fixture
def plain(small: Path, tmp_path: Path) -> Path:
    """A folder with the template and without its versions."""
    return shutil.copytree(small, tmp_path / "plain", ignore=shutil.ignore_patterns(".git"))


def new(tp35: Tp35, project: Path, *arguments: str | Path) -> Ran:
    return tp35("new", project, "--defaults", "--skip-hooks", *arguments)


def new_process(project: Path, *arguments: str | Path, **variables: str) -> Ran:
    """The same in a process of its own: what Copier runs sees the environment of its import."""
    command = [sys.executable, "-m", "tp35", "new", str(project), "--defaults", "--skip-hooks"]
    done = subprocess.run(
        [*command, *arguments], env=os.environ | variables, capture_output=True, text=True
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def refused(ran: Ran, *said: str) -> bool:
    return ran.code == 2 and ran.err.count("\n") == 1 and all(part in ran.err for part in said)


# --- versions -----------------------------------------------------------------------------------


def test_the_version_asked_for_is_taken(small: Path, tp35: Tp35, tmp_path: Path) -> None:
    assert new(tp35, tmp_path / "p", "--template", small, "--ref", "v1.0.0").code == 0
    assert (tmp_path / "p" / "VERSION").read_text("utf-8") == "v1.0.0"
    assert answers_file.read(tmp_path / "p")["_commit"] == "v1.0.0"


def test_a_plain_folder_has_no_versions(plain: Path, tp35: Tp35, tmp_path: Path) -> None:
    ran = new(tp35, tmp_path / "p", "--template", plain, "--ref", "v1.0.0")
    assert refused(ran, "--ref v1.0.0", f"{plain} is no Git repository", "--template URL")
    assert not (tmp_path / "p").exists()
    ran = new(tp35, tmp_path / "p", "--template", plain)
    assert ran.code == 0
    assert f"No version of the template is recorded: {plain} is no Git repository" in ran.out


def test_a_wheel_has_one_version(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    ran = new(tp35, tmp_path / "p", "--ref", "v1.0.0")
    assert refused(ran, "carries one version", "--template URL")
    ran = new(tp35, tmp_path / "p")
    assert ran.code == 0
    assert "does not know the address of its template" in ran.out


@pytest.mark.parametrize("option", ["--ref", "--template"])
def test_an_empty_option_is_refused(option: str, tp35: Tp35, tmp_path: Path) -> None:
    assert refused(new(tp35, tmp_path / "p", option, ""), f"{option} is empty")


def test_without_git(small: Path, tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path)}
    given = ("--template", small)
    ran = new_process(tmp_path / "p", *given, "--ref", "v1.0.0", **nowhere)
    assert refused(ran, "git is not installed")
    ran = new_process(tmp_path / "p", *given, **nowhere)
    assert ran.code == 0
    assert "No version of the template is recorded: git is not installed" in ran.out


def test_a_repository_of_somebody_else(small: Path, tmp_path: Path) -> None:
    somebody = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    remedy = f"git config --global --add safe.directory {small}"
    given = ("--template", small)
    ran = new_process(tmp_path / "p", *given, "--ref", "v1.0.0", **somebody)
    assert refused(ran, remedy)
    ran = new_process(tmp_path / "p", *given, **somebody)
    assert ran.code == 0
    assert remedy in ran.out
    assert "_commit" not in answers_file.read(tmp_path / "p")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_what_helps_with_a_repository_of_somebody_else(small: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(small, tmp_path / "theirs")
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, 12345, 12345)
    variables = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    given = ("--template", theirs, "--ref", "v1.0.0")
    ran = new_process(tmp_path / "p", *given, **variables)
    assert refused(ran, f"safe.directory {theirs}, and the same for {theirs}/.git")
    for trusted in (theirs, theirs / ".git"):
        trust = ["git", "config", "--global", "--add", "safe.directory", str(trusted)]
        subprocess.run(trust, check=True, env=os.environ | variables)
    ran = new_process(tmp_path / "p", *given, **variables)
    assert ran.code == 0, ran.err
    assert answers_file.read(tmp_path / "p")["_commit"] == "v1.0.0"


def test_in_a_hook_of_another_repository(small: Path, clone: Path, tmp_path: Path) -> None:
    before = git("status", "--porcelain", "--branch", cwd=clone), files(clone)
    set_by_git = {
        "GIT_DIR": str(clone / ".git"),
        "GIT_INDEX_FILE": str(clone / ".git" / "index"),
        "GIT_WORK_TREE": str(clone),
        "GIT_PREFIX": "template/",
    }
    ran = new_process(tmp_path / "p", "--template", small, "--ref", "v1.0.0", **set_by_git)
    assert ran.code == 0, ran.err
    recorded = answers_file.read(tmp_path / "p")
    assert (recorded["_src_path"], recorded["_commit"]) == (str(small), "v1.0.0")
    assert (git("status", "--porcelain", "--branch", cwd=clone), files(clone)) == before


# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed", ["templates/tp35", "~/templates/tp35", "./templates/../templates/tp35"]
)
def test_a_path_is_recorded_from_the_root(
    typed: str, small: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(small, tmp_path / "templates" / "tp35")
    ran = new(tp35, tmp_path / "p", "--template", typed)
    assert ran.code == 0, ran.err
    recorded = Path(answers_file.read(tmp_path / "p")["_src_path"])
    assert recorded.is_absolute()
    assert recorded.resolve() == tmp_path / "templates" / "tp35"
    assert "Others need its URL to update the project: tp35 update --template URL\n" in ran.out


@pytest.mark.parametrize("ref", [["--ref", "HEAD"], ["--ref", "v1.0.0"], []], ids=str)
def test_a_clone_records_where_it_came_from(
    ref: list[str], clone: Path, tp35: Tp35, tmp_path: Path
) -> None:
    ran = new(tp35, tmp_path / "p", "--template", clone, *ref)
    assert ran.code == 0, ran.err
    assert answers_file.read(tmp_path / "p")["_src_path"] == ADDRESS
    assert "Others need" not in ran.out
    assert SECRET not in ran.out + ran.err + str(files(tmp_path / "p"))


def test_a_commit_that_is_nowhere_else(clone: Path, tp35: Tp35, tmp_path: Path) -> None:
    commit_all(clone)
    ran = new(tp35, tmp_path / "p", "--template", clone, "--ref", "HEAD")
    recorded = answers_file.read(tmp_path / "p")
    assert recorded["_src_path"] == str(clone)
    assert f"tp35 update --template {ADDRESS}, once {recorded['_commit']} is pushed" in ran.out
    assert SECRET not in ran.out + ran.err


def test_a_dirty_clone_records_the_commit_below(clone: Path, tp35: Tp35, tmp_path: Path) -> None:
    (clone / "template" / "VERSION").write_text("v3", "utf-8")
    assert new(tp35, tmp_path / "p", "--template", clone, "--ref", "HEAD").code == 0
    assert (tmp_path / "p" / "VERSION").read_text("utf-8") == "v3"
    recorded = answers_file.read(tmp_path / "p")
    assert (recorded["_src_path"], recorded["_commit"]) == (ADDRESS, "v2.0.0")


def test_an_origin_on_this_machine_is_no_place_for_others(
    clone: Path, small: Path, tp35: Tp35, tmp_path: Path
) -> None:
    git("config", "remote.origin.url", str(small), cwd=clone)
    ran = new(tp35, tmp_path / "p", "--template", clone)
    assert answers_file.read(tmp_path / "p")["_src_path"] == str(clone)
    assert "tp35 update --template URL\n" in ran.out


def test_a_bare_repository(small: Path, tp35: Tp35, tmp_path: Path) -> None:
    git("clone", "--bare", str(small), str(tmp_path / "bare.git"), cwd=tmp_path)
    ran = new(tp35, tmp_path / "p", "--template", tmp_path / "bare.git", "--ref", "v1.0.0")
    assert ran.code == 0, ran.err
    assert answers_file.read(tmp_path / "p")["_commit"] == "v1.0.0"


# --- secrets ------------------------------------------------------------------------------------


def test_a_password_is_used_and_not_recorded(small: Path, tmp_path: Path) -> None:
    # Git finds the template at the address with the password, and nowhere else.
    ran = new_process(
        tmp_path / "p",
        *("--template", SECRET_ADDRESS, "--ref", "v1.0.0"),
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.{small.as_uri()}.insteadOf",
        GIT_CONFIG_VALUE_0=SECRET_ADDRESS,
        COPIER_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert ran.code == 0, ran.err
    recorded = answers_file.read(tmp_path / "p")
    assert (recorded["_src_path"], recorded["_commit"]) == (ADDRESS, "v1.0.0")
    assert WHERE_CREDENTIALS_BELONG in ran.out
    assert SECRET not in ran.out + ran.err + str(files(tmp_path / "p"))


@pytest.mark.parametrize(
    "address",
    [
        f"https://ada:{SECRET}@localhost:1/tp35.git",
        f"https://{SECRET}@localhost:1/tp35.git",
        f"git+https://localhost:1/tp35.git?private_token={SECRET}",
        f"ssh://git:{SECRET}@localhost:1/tp35.git",
        f"https://ada:{SECRET}@localhost:1/not-git",
    ],
)
def test_no_error_repeats_a_password(address: str, tmp_path: Path) -> None:
    variables = {"COPIER_CACHE_DIR": str(tmp_path / "cache"), "GIT_SSH_COMMAND": "false"}
    ran = new_process(tmp_path / "p", "--template", address, **variables)
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert SECRET not in ran.out + ran.err
