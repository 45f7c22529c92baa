"""`tp35 status` and `tp35 diff`: drift that is seen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Tp35
from rendering import commit_all, files, git, render, update
from small_template import FILES, MODEL, TASK, release, small_project, small_template, write

from tp35 import answers_file

pytestmark = pytest.mark.unit

LINES = FILES[TASK]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return small_template(tmp_path / "template")


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return small_project(template, tmp_path / "project")


def status(tp35: Tp35, project: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    ran = tp35("status", project, "--json", *arguments)
    return ran.code, json.loads(ran.out)


def differences(found: dict[str, Any]) -> dict[str, str]:
    return {drift["path"]: drift["difference"] for drift in found["files"]}


def test_a_fresh_project_is_as_it_was_rendered(project: Path, tp35: Tp35) -> None:
    code, found = status(tp35, project, "--exit-code")
    assert (code, found["files"], found["version"], found["newest"]) == (0, [], "v1.0.0", "v1.0.0")
    assert tp35("diff", project).out == ""


def test_edits_are_seen_and_nothing_to_do(project: Path, template: Path, tp35: Tp35) -> None:
    write(project, {"src/small/task.py": "mine = 1\n" + LINES, "README.md": None, "own.md": "mine"})
    code, found = status(tp35, project)
    assert code == 0
    assert differences(found) == {"README.md": "deleted", "src/small/task.py": "edited"}
    release(template, "v2.0.0", {"own.md": "theirs\n"})
    code, found = status(tp35, project)
    assert (code, found["newest"]) == (0, "v2.0.0")
    assert differences(found)["own.md"] == "in the way"
    assert status(tp35, project, "--exit-code")[0] == 3
    out = tp35("status", project).out
    assert "v2.0.0 is out" in out
    assert "edited" in out


def test_an_update_that_was_merged_by_half_is_seen(
    project: Path, template: Path, tp35: Tp35
) -> None:
    release(template, "v2.0.0", {TASK: LINES + "new = 1\n", MODEL: FILES[MODEL] + "new = 1\n"})
    before = (project / "src/small/task.py").read_text()
    assert tp35("update", project).code == 0
    # whoever merges takes "ours", and nothing is left that looks like a conflict
    write(project, {"src/small/task.py": before})
    code, found = status(tp35, project)
    assert code == 1
    assert differences(found) == {"src/small/task.py": "not merged"}
    assert "v1.0.0" in found["files"][0]["note"]


def test_committed_conflicts_and_leftovers_are_seen(
    project: Path, template: Path, tp35: Tp35
) -> None:
    write(project, {"src/small/task.py": LINES.replace("5 = 5", "5 = 'mine'")})
    release(template, "v2.0.0", {TASK: LINES.replace("5 = 5", "5 = 'theirs'")})
    assert tp35("update", project).code == 1
    write(
        project, {"README.md.rej": "rejected\n", "notes": "<<<<<<< a\nb\n=======\nc\n>>>>>>> d\n"}
    )
    code, found = status(tp35, project)
    assert code == 1
    assert differences(found) == {
        "src/small/task.py": "conflict",
        "README.md.rej": "beside",
        "notes": "conflict",
    }
    assert {drift["path"]: drift["line"] for drift in found["files"]}["src/small/task.py"] == 6


def test_answers_edited_by_hand_are_seen_many_commits_later(project: Path, tp35: Tp35) -> None:
    text = (project / answers_file.NAME).read_text()
    write(project, {answers_file.NAME: text.replace("license: MIT", "license: BSD-3-Clause")})
    for number in range(5):
        write(project, {"notes": f"{number}\n"})
    write(
        project,
        {answers_file.NAME: (project / answers_file.NAME).read_text() + "# a note of mine\n"},
    )
    code, found = status(tp35, project)
    assert code == 1
    assert found["answers_edited"] == {"license": {"files": "MIT", "recorded": "BSD-3-Clause"}}
    refused = tp35("update", project)
    assert refused.code == 1
    assert "tp35 update --data license=BSD-3-Clause" in refused.err
    # the one remedy: the files follow, and both agree from then on
    assert tp35("update", project, "--data", "license=BSD-3-Clause").code == 0
    assert (project / "LICENSE").read_text() == "License: BSD-3-Clause\n"
    assert "# a note of mine" in (project / answers_file.NAME).read_text()
    commit_all(project)
    assert status(tp35, project) == (0, found | {"answers_edited": {}, "files": []})


def test_without_a_network_it_says_what_it_could_not_ask(
    project: Path, template: Path, tp35: Tp35
) -> None:
    template.rename(template.with_name("gone"))
    code, found = status(tp35, project)
    assert (code, found["newest"], found["version"]) == (0, None, "v1.0.0")
    assert "could not compare" in found["remarks"][-1]
    assert status(tp35, project, "--exit-code")[0] == 4
    write(project, {"notes": "<<<<<<< a\nb\n=======\nc\n>>>>>>> d\n"})
    assert status(tp35, project, "--exit-code")[0] == 1


# --- after plain Copier -------------------------------------------------------------------------


@pytest.fixture
def crossed(project: Path, template: Path) -> Path:
    """Plain `copier update` over a moved and a removed file that the user had edited."""
    write(
        project,
        {"src/small/task.py": LINES + "mine = 'task'\n", "plain": "plain\nmine = 'plain'\n"},
    )
    git("tag", "before", cwd=project)
    moved = "src/{{ package_name }}/contract.py"
    texts = {TASK: None, "plain": None, moved: LINES.replace("5 = 5", "5 = 'theirs'")}
    release(template, "v2.0.0", texts, moves={TASK: moved})
    update(project)
    commit_all(project)
    return project


def test_edits_that_plain_copier_dropped_are_named(crossed: Path, tp35: Tp35) -> None:
    here = b"".join(files(crossed).values())
    assert b"mine = 'task'" not in here  # or there would be nothing to see
    code, found = status(tp35, crossed, "--since", "before")
    assert code == 1
    lost = {loss["path"]: loss["what"] for loss in found["lost"]}
    assert set(lost) == {"src/small/task.py", "plain"}
    assert "src/small/contract.py" in lost["src/small/task.py"]
    assert "dropped the file" in lost["plain"]
    out = tp35("status", crossed, "--since", "before").out
    assert "lost        src/small/task.py" in out


def test_an_update_after_plain_copier_brings_moved_edits_along(crossed: Path, tp35: Tp35) -> None:
    ran = tp35("update", crossed)
    assert ran.code == 0, ran.err
    text = (crossed / "src/small/contract.py").read_text()
    assert text.endswith("mine = 'task'\n")
    assert "'theirs'" in text
    assert "which an earlier update dropped" in ran.out
    commit_all(crossed)
    assert tp35("update", crossed).out.endswith("up to date\n")


def test_nothing_is_lost_after_our_update(project: Path, template: Path, tp35: Tp35) -> None:
    write(project, {"src/small/task.py": LINES + "mine = 1\n", "plain": None})
    git("tag", "before", cwd=project)
    moved = "src/{{ package_name }}/contract.py"
    release(template, "v2.0.0", {TASK: None, moved: LINES, "plain": "new\n"}, moves={TASK: moved})
    assert tp35("update", project).code == 0
    commit_all(project)
    code, found = status(tp35, project, "--since", "before")
    assert (code, found["lost"]) == (0, [])


def test_deletions_that_came_back_and_edits_put_beside_are_named(project: Path, tp35: Tp35) -> None:
    write(project, {"src/small/task.py": "mine = 1\n" + LINES, "plain": None})
    git("tag", "before", cwd=project)
    write(project, {"src/small/task.py": LINES, "src/small/task.py.rej": "mine = 1\n"})
    write(project, {"plain": "plain\n"})
    _, found = status(tp35, project, "--since", "before")
    lost = {loss["path"]: loss["what"] for loss in found["lost"]}
    assert lost == {
        "plain": "you had deleted it, and it is back",
        "src/small/task.py": "1 line is put beside, into src/small/task.py.rej",
    }


@pytest.mark.parametrize("ref", ["nowhere", "--all"])
def test_since_a_commit_that_is_not_there(ref: str, project: Path, tp35: Tp35) -> None:
    ran = tp35("status", project, f"--since={ref}")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert ref in ran.err


# --- diff ---------------------------------------------------------------------------------------


def test_a_patch_makes_the_project_out_of_its_rendering(
    project: Path, template: Path, tmp_path: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"src/small/task.py": "mine = 1\n" + LINES, "README.md": None})
    (project / "plain").chmod(0o755)
    (project / "LICENSE").write_bytes(b"\0binary")
    commit_all(project)
    monkeypatch.chdir(project)
    patch = tp35("diff").out
    fresh = render(template, tmp_path / "fresh", ref="v1.0.0")
    subprocess.run(["git", "apply", "-"], cwd=fresh, input=patch.encode(), check=True)
    assert files(fresh) == files(project)
    assert (fresh / "plain").stat().st_mode & 0o100


def test_a_patch_of_some_paths_and_against_the_newest(
    project: Path, template: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"src/small/task.py": "mine = 1\n" + LINES, "README.md": "mine\n"})
    release(template, "v2.0.0", {TASK: LINES + "theirs = 1\n"})
    monkeypatch.chdir(project / "src")
    out = tp35("diff", "small").out
    assert "+mine = 1" in out
    assert "README" not in out
    assert "-theirs = 1" in tp35("diff", "small/task.py", "--new").out
    assert tp35("diff", project.parent).code == 2
    monkeypatch.chdir(project.parent)
    assert tp35("diff").code == 1
