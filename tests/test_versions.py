"""Which version an update goes from and to, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Tp35
from rendering import commit_all, files, git, started, update
from small_template import FILES, TASK, release, small_project, small_template, write

from tp35 import answers_file, hooks, template, versions
from tp35.problems import Problem
from tp35.project import Project
from tp35.template import Source
from tp35.update import prepare

pytestmark = pytest.mark.unit

LINES = FILES[TASK]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return small_template(tmp_path / "template")


@pytest.fixture
def project(repository: Path, tmp_path: Path) -> Path:
    return small_project(repository, tmp_path / "project")


def updated(tp35: Tp35, project: Path, *arguments: str) -> dict[str, Any]:
    ran = tp35("update", project, "--json", *arguments)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


@pytest.mark.parametrize(
    ("tags", "current", "newest"),
    [
        (["v1.0.0", "v1.10.0", "v1.9.0", "junk"], "v1.0.0", "v1.10.0"),
        (["v1.0.0", "v2.0.0rc1"], "v1.0.0", "v1.0.0"),
        (["v1.0.0", "v2.0.0rc1", "v2.0.0rc2"], "v2.0.0rc1", "v2.0.0rc2"),
        (["v2.0.0", "v2.0.0rc2"], "v2.0.0rc1", "v2.0.0"),
        (["v1.0.0"], "abc1234", "v1.0.0"),
        ([], "v1.0.0", None),
    ],
)
def test_pre_releases_are_for_who_is_on_one(
    tags: list[str], current: str, newest: str | None
) -> None:
    assert versions.newest(tags, current) == newest


def test_a_pre_release_is_taken_when_asked_for(repository: Path, project: Path, tp35: Tp35) -> None:
    release(repository, "v2.0.0rc1", {TASK: LINES + "new = 1\n"})
    assert updated(tp35, project)["version_to"] == "v1.0.0"
    assert updated(tp35, project, "--ref", "v2.0.0rc1")["version_to"] == "v2.0.0rc1"
    commit_all(project)
    release(repository, "v2.0.0rc2", {TASK: LINES + "new = 2\n"})
    assert updated(tp35, project)["version_to"] == "v2.0.0rc2"


def test_a_project_past_the_newest_release_stays(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (repository / "template" / "plain").write_text("later\n")
    commit_all(repository)
    assert updated(tp35, project, "--ref", "HEAD")["version_to"].startswith("v1.0.0-1-g")
    commit_all(project)
    found = updated(tp35, project)
    assert found["version_to"] == found["version_from"]
    assert "past v1.0.0" in found["remarks"][0]
    refused = tp35("update", project, "--ref", "v1.0.0")
    assert (refused.code, "Downgrades are not supported" in refused.err) == (1, True)


def test_a_deleted_tag_is_told_and_does_no_harm(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    write(project, {"src/small/task.py": "mine = 1\n" + LINES})
    release(repository, "v2.0.0", {TASK: LINES + "new = 1\n"})
    git("tag", "--delete", "v1.0.0", cwd=repository)
    found = updated(tp35, project)
    assert "v1.0.0 was deleted" in found["remarks"][0]
    text = (project / "src/small/task.py").read_text()
    assert text == "mine = 1\n" + LINES + "new = 1\n"


def test_a_moved_tag_is_told_and_the_merge_starts_from_what_it_was(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (repository / "template" / "plain").write_text("moved\n")
    commit_all(repository)
    git("tag", "--force", "v1.0.0", cwd=repository)
    assert "was moved" in tp35("status", project).out
    assert "was moved" in updated(tp35, project)["remarks"][0]
    assert (project / "plain").read_text() == "moved\n"


def test_a_version_that_nobody_has_any_more_is_one_line(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    text = (project / answers_file.NAME).read_text()
    gone = answers_file.with_origin(text, str(repository), "v0.9.0")
    write(project, {answers_file.NAME: gone})
    ran = tp35("update", project)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "has no v0.9.0 any more" in ran.err
    ran = tp35("update", project, "--ref", "v7")
    assert "has no v0.9.0" in ran.err


def test_the_changelog_between_two_versions_is_shown(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## [1.0.0]\n\n- first\n")
    release(repository, "v1.0.1", {})
    assert "- first" in tp35("update", project, "--dry-run").out
    assert tp35("update", project).code == 0
    commit_all(project)
    (repository / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [2.0.0] - 2026-01-02\n\n- second\n\n"
        "## [1.5.0]\n\n- middle\n\n## [1.0.0]\n\n- first\n"
    )
    release(repository, "v2.0.0", {"plain": "new\n"})
    out = tp35("update", project, "--dry-run").out
    assert "- second" in out
    assert "- middle" in out
    assert "- first" not in out
    assert "- later" not in out
    assert updated(tp35, project)["changelog"].startswith("## [2.0.0]")
    commit_all(project)
    assert updated(tp35, project)["changelog"] == ""


def test_answers_that_are_dropped_or_refused_are_told(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    questions = (repository / "copier.yml").read_text()
    (repository / "copier.yml").write_text(
        questions.replace("project_name: {type: str, default: Small}", "").replace(
            "license: {type: str, default: MIT}",
            "license: {type: str, default: BSD, choices: [BSD, Proprietary]}\n"
            "extra: {type: int, default: 3}",
        )
    )
    release(repository, "v2.0.0", {"README.md": "# Small\n"})
    before = files(project)
    refused = tp35("update", project)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "tp35 update --data license=BSD" in refused.err
    assert files(project) == before
    found = updated(tp35, project, "--data", "license=Proprietary")
    assert found["answers"] == {
        "license": {"from": "MIT", "to": "Proprietary", "why": ""},
        "project_name": {"from": "Small", "to": None, "why": "asked no longer"},
        "extra": {"from": None, "to": 3, "why": "a new question"},
    }


# --- migrations ---------------------------------------------------------------------------------


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hooks of this installation that note which of them ran."""
    folder = tmp_path / "hooks" / "after_update"
    folder.mkdir(parents=True)
    for version in ("1.0.0", "1.5.0", "2.0.0", "3.0.0"):
        note = f"open('migrated', 'a').write('{version}\\n')"
        (folder / f"{version}-note.py").write_text(note)
    monkeypatch.setattr(hooks, "folder", lambda: tmp_path / "hooks")
    return folder


def migrated(project: Path) -> list[str]:
    return (project / "migrated").read_text().split()


def test_migrations_run_even_if_plain_copier_crossed_the_version(
    repository: Path, project: Path, migrations: Path, tp35: Tp35
) -> None:
    release(repository, "v2.0.0", {"plain": "new\n"})
    update(project)
    commit_all(project)
    assert updated(tp35, project)["version_from"] == "v2.0.0"
    assert migrated(project) == ["1.5.0", "2.0.0"]


def test_migrations_run_in_a_shallow_clone_that_does_not_know_what_was_crossed(
    repository: Path, project: Path, migrations: Path, tmp_path: Path, tp35: Tp35
) -> None:
    release(repository, "v2.0.0", {"plain": "new\n"})
    update(project)
    commit_all(project)
    shallow = tmp_path / "shallow"
    git("clone", "-q", "--depth=1", f"file://{project}", str(shallow), cwd=tmp_path)
    updated(tp35, shallow)
    assert migrated(shallow) == ["1.0.0", "1.5.0", "2.0.0"]


def test_a_template_whose_migrations_are_newer_than_this_tp35_is_refused(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (repository / "hooks" / "after_update").mkdir(parents=True)
    script = repository / "hooks" / "after_update" / "2.0.0-from-the-template.py"
    script.write_text("open('run-from-a-fetched-template', 'w')")
    release(repository, "v2.0.0", {"plain": "new\n"})
    before = files(project)
    ran = tp35("update", project)
    assert (ran.code, "needs a newer tp35" in ran.err) == (1, True)
    assert files(project) == before


def test_a_table_of_moves_of_another_form_needs_a_newer_tp35(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (repository / "hooks").mkdir()
    (repository / "hooks" / "moves.yml").write_text("version: 7\nrows: []\n")
    release(repository, "v2.0.0", {"plain": "new\n"})
    assert "take a newer one" in tp35("update", project).err


def test_an_older_tp35_is_told(
    repository: Path, project: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "version", lambda: "1.0.0")
    release(repository, "v2.0.0", {"plain": "new\n"})
    assert "older than the template's v2.0.0" in updated(tp35, project)["remarks"][0]


# --- where the template is ----------------------------------------------------------------------


def test_a_token_is_never_recorded(repository: Path, project: Path, tp35: Tp35) -> None:
    address = "https://user:s3cret@example.org/small.git"
    git("config", "--global", f"url.file://{repository}.insteadOf", address, cwd=project)
    release(repository, "v2.0.0", {"plain": "new\n"})
    ran = tp35("update", project, "--template", address)
    assert ran.code == 0, ran.err
    assert "s3cret" not in ran.out + ran.err
    assert "s3cret" not in (project / answers_file.NAME).read_text()
    assert answers_file.read(project)["_src_path"] == "https://example.org/small.git"


def test_a_relative_path_is_made_absolute(
    repository: Path, project: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(repository, "v2.0.0", {"plain": "new\n"})
    monkeypatch.chdir(repository.parent)
    updated(tp35, project, "--template", "template")
    assert answers_file.read(project)["_src_path"] == str(repository)


def test_two_templates_over_one_repository(
    repository: Path, project: Path, tmp_path: Path, tp35: Tp35
) -> None:
    other = small_template(tmp_path / "other")
    for path in ("LICENSE.jinja", "README.md.jinja", "plain", "src"):
        git("rm", "-rq", f"template/{path}", cwd=other)
    release(other, "v1.1.0", {"ops/deploy.sh": "one\n"})
    import copier

    copier.run_copy(
        str(other), project, answers_file=".ops.yml", defaults=True, quiet=True, vcs_ref="v1.1.0"
    )
    commit_all(project)
    release(other, "v1.2.0", {"ops/deploy.sh": "two\n"})
    release(repository, "v2.0.0", {"plain": "new\n"})
    found = updated(tp35, project, "--answers-file", ".ops.yml")
    assert found["version_to"] == "v1.2.0"
    assert (project / "ops/deploy.sh").read_text() == "two\n"
    assert (project / "plain").read_text() == "plain\n"
    commit_all(project)
    assert updated(tp35, project)["version_to"] == "v2.0.0"
    assert json.loads(tp35("status", project, "--json").out)["files"] == []
    assert tp35("doctor", project, "--answers-file", "nowhere.yml").code == 1


def test_what_was_written_while_the_update_was_worked_out_is_not_written_over(
    repository: Path, project: Path
) -> None:
    release(repository, "v2.0.0", {TASK: LINES + "new = 1\n"})
    plan = prepare(
        project, {}, Source("", None), allow_dirty=False, hooks_folder=project / "no hooks"
    )
    write(project, {"src/small/task.py": "saved in an editor\n"})
    before = files(project)
    with pytest.raises(Problem, match="was changed meanwhile"):
        plan.apply()
    assert files(project) == before


def test_data_that_git_tracks_are_not_read(
    repository: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "weights.bin").write_bytes(b"\0" * 70_000)
    (project / "table.csv").write_text("1,2\n" * 300_000)
    (project / "notes.txt").write_text("mine\n")
    (project / "new.bin").write_bytes(b"\0" * 70_000)
    commit_all(project)
    release(repository, "v2.0.0", {"new.bin": "theirs\n"})
    plan = prepare(
        project, {}, Source("", None), allow_dirty=False, hooks_folder=project / "no hooks"
    )
    opened = Project.open(project).tree({}, {"new.bin"})
    assert opened.keys() >= {"notes.txt", "new.bin"}
    assert not opened.keys() & {"weights.bin", "table.csv"}
    assert {path for path, _ in plan.left()} == {"new.bin.new"}
    plan.apply()
    assert (project / "weights.bin").stat().st_size == 70_000


# --- several projects ---------------------------------------------------------------------------


@pytest.fixture
def fleet(repository: Path, tmp_path: Path) -> Path:
    """Four projects: one merges, one clashes, one has work in it, one is new already."""
    folder = tmp_path / "fleet"
    for name in ("clashes", "dirty", "merges"):
        small_project(repository, folder / name)
    write(folder / "clashes", {"src/small/task.py": LINES.replace("5 = 5", "5 = 'mine'")})
    (folder / "dirty" / "plain").write_text("not committed\n")
    (folder / "no project").mkdir()
    release(repository, "v2.0.0", {TASK: LINES.replace("5 = 5", "5 = 'theirs'")})
    small_project(repository, folder / "newest", "v2.0.0")
    return folder


def test_many_are_updated_and_one_that_fails_stops_no_other(fleet: Path, tp35: Tp35) -> None:
    ran = tp35("update", "--all", fleet, "--json")
    assert ran.code == 1
    found = {Path(row["project"]).name: row for row in json.loads(ran.out)["projects"]}
    assert {name: row["state"] for name, row in found.items()} == {
        "clashes": "to resolve",
        "dirty": "failed",
        "merges": "updated",
        "newest": "up to date",
    }
    assert "uncommitted changes" in found["dirty"]["failure"]
    assert "'theirs'" in (fleet / "merges" / "src/small/task.py").read_text()


def test_many_from_a_list(fleet: Path, tmp_path: Path, tp35: Tp35) -> None:
    (tmp_path / "projects.txt").write_text("# ours\nfleet/merges\n\nfleet/newest\n")
    ran = tp35("update", "--all", tmp_path / "projects.txt", "--dry-run")
    assert ran.code == 0, ran.err
    assert [line.split()[0] for line in ran.out.splitlines()] == ["updated", "up"]
    assert git("status", "--porcelain", cwd=fleet / "merges") == ""
    assert tp35("update", fleet / "merges", fleet / "newest").code == 2
    assert tp35("update", "--all", fleet / "no project").code == 2


def test_the_repository_of_a_stranger_is_one_line(
    project: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    ran = tp35("update", project)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "git config --global --add safe.directory" in ran.err


def test_a_project_that_a_repository_around_it_ignores_is_one_line(
    repository: Path, tmp_path: Path, tp35: Tp35
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / ".gitignore").write_text("/ignored/\n")
    started(outer)
    from rendering import render

    inner = render(repository, outer / "ignored" / "project", ref="v1.0.0")
    for command in ("update", "status"):
        ran = tp35(command, inner)
        assert (ran.code, "ignored by the repository" in ran.err) == (1, True), ran.err
