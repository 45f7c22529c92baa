"""`tp35 update`: equal to Copier's where nothing is at stake, and never losing an edit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from conftest import Tp35
from history import NEWEST, PastVersion, build_two_versions, commit_before
from rendering import ROOT, commit_all, files, git, render, started, update

from tp35 import answers_file, moves, trees
from tp35 import update as updating
from tp35.conflicts import marker_lines
from tp35.problems import Problem
from tp35.replacement import Change, replace_files
from tp35.template import Source
from tp35.trees import Entry, read_tree
from tp35.update_plan import Fate, Plan

pytestmark = pytest.mark.integration

History = tuple[Path, list[PastVersion]]
PACKAGE = Path("src") / "my_project"
SOURCE = Path("template") / "src" / "{{package_name}}"


def prepare(project: Path, hooks: Path | None = None, **answers: Any) -> Plan:
    return updating.prepare(
        project,
        answers,
        Source("", None),
        allow_dirty=False,
        hooks_folder=hooks or project / "no hooks",
    )


def release(repository: Path, tag: str = "v2.0.0") -> None:
    commit_all(repository)
    git("tag", tag, cwd=repository)


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")


def prepend(path: Path, line: str) -> None:
    path.write_text(line + "\n" + path.read_text("utf-8"), "utf-8")


def fates(plan: Plan) -> dict[str, Fate]:
    return {outcome.path: outcome.fate for outcome in plan.outcomes}


# --- equal to Copier's --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, *(pytest.param(v, marks=pytest.mark.slow) for v in (1, 2))])
def test_equals_copier_without_edits(
    history: History, version: int, tmp_path: Path, tp35: Tp35
) -> None:
    repository, versions = history
    tag = versions[version].tag
    ours = started(render(repository, tmp_path / "ours", ref=tag))
    theirs = started(render(repository, tmp_path / "theirs", ref=tag))
    ran = tp35("update", ours, "--data", "gradient_accumulation_steps=4")
    assert ran.code == 0, ran.err
    update(theirs, {"gradient_accumulation_steps": 4})
    assert files(ours) == files(theirs)


def test_equals_copier_with_edits_that_merge(
    repository: Path, project: Path, tmp_path: Path
) -> None:
    append(project / PACKAGE / "errors.py", "# mine")
    commit_all(project)
    git("clone", "-q", str(project), str(tmp_path / "theirs"), cwd=tmp_path)
    prepend(repository / SOURCE / "errors.py", "# theirs")
    release(repository)
    prepare(project).apply()
    update(tmp_path / "theirs")
    assert files(project) == files(tmp_path / "theirs")
    merged = (project / PACKAGE / "errors.py").read_text()
    assert merged.startswith("# theirs")
    assert merged.endswith("# mine\n")


# --- the table ----------------------------------------------------------------------------------


@pytest.fixture
def eventful(repository: Path, project: Path) -> Path:
    """A project whose next update does everything an update can do to a file."""
    append(project / PACKAGE / "errors.py", "# mine, merges")
    append(project / PACKAGE / "config.py", "# mine, conflicts")
    append(project / PACKAGE / "report.py", "# mine, in a file that is removed")
    append(project / PACKAGE / "task_base.py", "# mine, in a file that moves")
    (project / "notes.md").write_text("my own file\n")
    commit_all(project)
    prepend(repository / SOURCE / "errors.py", "# theirs")
    append(repository / SOURCE / "config.py", "# theirs")
    append(repository / SOURCE / "__main__.py", "# theirs")
    (repository / SOURCE / "report.py").unlink()
    (repository / SOURCE / "architecture.py").unlink()
    (repository / SOURCE / "task_base.py").rename(repository / SOURCE / "contract.py")
    (repository / SOURCE / "fresh.py").write_text("FRESH = True\n")
    release(repository)
    return project


def write_moves(repository: Path, *rows: tuple[str, str]) -> None:
    """Let the template know which of the package's files became which."""
    place = "src/{{{{ package_name }}}}/{}"
    table = [{"from": place.format(old), "to": place.format(new)} for old, new in rows]
    (repository / "hooks" / "moves.yml").write_text(yaml.safe_dump({"2.0.0": table}))


@pytest.fixture
def moving(repository: Path) -> None:
    """A template that knows where `task_base.py` goes."""
    write_moves(repository, ("task_base.py", "contract.py"))


def test_every_file_is_classified(moving: None, eventful: Path) -> None:
    found = fates(prepare(eventful))
    expected = {
        "errors.py": Fate.MERGED,
        "config.py": Fate.CONFLICT,
        "__main__.py": Fate.UPDATED,
        "report.py": Fate.KEPT,
        "architecture.py": Fate.REMOVED,
        "task_base.py": Fate.REMOVED,
        "contract.py": Fate.MERGED,
        "fresh.py": Fate.NEW,
        "cli.py": Fate.UNCHANGED,
    }
    assert {name: found[(PACKAGE / name).as_posix()] for name in expected} == expected
    assert "notes.md" not in found


def test_dry_run_prints_the_table_and_changes_nothing(eventful: Path, tp35: Tp35) -> None:
    before, status = files(eventful), git("status", "--porcelain", cwd=eventful)
    ran = tp35("update", eventful, "--dry-run", "--diff")
    assert ran.code == 1
    for word in ("unchanged", "updated", "merged", "conflict", "edits kept", "new", "removed"):
        assert word in ran.out
    assert "+FRESH = True" in ran.out
    assert files(eventful) == before
    assert git("status", "--porcelain", cwd=eventful) == status
    assert git("stash", "list", cwd=eventful) == ""


def test_dry_run_takes_uncommitted_work_into_account(eventful: Path, tp35: Tp35) -> None:
    append(eventful / PACKAGE / "__main__.py", "# not committed")
    (eventful / PACKAGE / "fresh.py").write_text("# mine, not even added\n")
    before = files(eventful)
    ran = tp35("update", eventful, "--dry-run")
    assert files(eventful) == before
    lines = {line.split()[-1]: line for line in ran.out.splitlines() if line.strip()}
    assert lines["src/my_project/__main__.py"].startswith("conflict")
    assert lines["src/my_project/fresh.py"].startswith("conflict")


# --- a real run ---------------------------------------------------------------------------------


def test_conflicts_exit_with_1_and_are_listed(eventful: Path, tp35: Tp35) -> None:
    ran = tp35("update", eventful, "--quiet")
    assert (ran.code, ran.out) == (1, "")
    conflicted = eventful / PACKAGE / "config.py"
    line = conflicted.read_text().splitlines().index("<<<<<<< before updating") + 1
    assert f"src/my_project/config.py:{line}: conflict" in ran.err
    assert "# mine, conflicts" in conflicted.read_text()
    # Git knows too, so that nobody commits it by accident.
    assert git("diff", "--name-only", "--diff-filter=U", cwd=eventful).split() == [
        "src/my_project/config.py"
    ]
    assert tp35("update", eventful).code == 1
    assert "uncommitted" in tp35("update", eventful).err


def test_edits_in_removed_and_moved_files_are_kept(moving: None, eventful: Path) -> None:
    plan = prepare(eventful)
    plan.apply()
    package = eventful / PACKAGE
    assert (package / "report.py").read_text().endswith("# mine, in a file that is removed\n")
    assert not (package / "architecture.py").exists()
    assert not (package / "task_base.py").exists()
    assert (package / "contract.py").read_text().endswith("# mine, in a file that moves\n")
    notes = {outcome.path: outcome.note for outcome in plan.outcomes}
    assert "no longer has this file" in notes["src/my_project/report.py"]
    assert "carried over to src/my_project/contract.py" in notes["src/my_project/task_base.py"]


def test_a_move_that_no_row_knows_keeps_the_edited_file(eventful: Path, tp35: Tp35) -> None:
    ran = tp35("update", eventful)
    assert "# mine, in a file that moves" in (eventful / PACKAGE / "task_base.py").read_text()
    assert (eventful / PACKAGE / "contract.py").is_file()
    assert "edits kept" in ran.out


def test_a_moved_file_conflicts_visibly(repository: Path, project: Path, moving: None) -> None:
    append(project / PACKAGE / "task_base.py", "# mine")
    commit_all(project)
    (repository / SOURCE / "task_base.py").rename(repository / SOURCE / "contract.py")
    append(repository / SOURCE / "contract.py", "# theirs")
    release(repository)
    plan = prepare(project)
    assert fates(plan)["src/my_project/contract.py"] is Fate.CONFLICT
    plan.apply()
    text = (project / PACKAGE / "contract.py").read_text()
    assert "# mine" in text
    assert "# theirs" in text
    assert "<<<<<<< before updating" in text


def test_renaming_the_package_carries_edits_along(project: Path) -> None:
    append(project / PACKAGE / "errors.py", "# mine")
    (project / PACKAGE / "own.py").write_text("OWN = True\n")
    commit_all(project)
    prepare(project, package_name="leaves").apply()
    assert (project / "src" / "leaves" / "errors.py").read_text().endswith("# mine\n")
    assert not (project / PACKAGE / "errors.py").exists()
    assert (project / PACKAGE / "own.py").read_text() == "OWN = True\n"


def test_a_moved_file_the_user_deleted_stays_deleted(
    repository: Path, project: Path, moving: None
) -> None:
    (project / PACKAGE / "task_base.py").unlink()
    commit_all(project)
    (repository / SOURCE / "task_base.py").rename(repository / SOURCE / "contract.py")
    release(repository)
    prepare(project).apply()
    assert not (project / PACKAGE / "contract.py").exists()


def merge_into_contract(repository: Path) -> None:
    """Make two files of the package one, which the template knows."""
    write_moves(repository, ("errors.py", "contract.py"), ("task_base.py", "contract.py"))
    (repository / SOURCE / "task_base.py").rename(repository / SOURCE / "contract.py")
    (repository / SOURCE / "errors.py").unlink()
    release(repository)


def test_edits_of_two_files_that_became_one_are_both_kept(repository: Path, project: Path) -> None:
    append(project / PACKAGE / "errors.py", "# mine, in errors")
    append(project / PACKAGE / "task_base.py", "# mine, in spec")
    commit_all(project)
    merge_into_contract(repository)
    prepare(project).apply()
    everything = "\n".join(path.read_text("utf-8") for path in (project / PACKAGE).glob("*.py"))
    assert "# mine, in errors" in everything
    assert "# mine, in spec" in everything


def test_deleting_one_of_two_files_that_became_one_keeps_edits_of_the_other(
    repository: Path, project: Path
) -> None:
    append(project / PACKAGE / "errors.py", "# mine, in errors")
    (project / PACKAGE / "task_base.py").unlink()
    commit_all(project)
    merge_into_contract(repository)
    prepare(project).apply()
    assert "# mine, in errors" in (project / PACKAGE / "contract.py").read_text("utf-8")


def test_a_file_of_the_user_where_another_moves_to_is_kept(
    repository: Path, project: Path, moving: None
) -> None:
    append(project / PACKAGE / "task_base.py", "# mine, in spec")
    (project / PACKAGE / "contract.py").write_text("# mine, my own contract\n")
    commit_all(project)
    (repository / SOURCE / "task_base.py").rename(repository / SOURCE / "contract.py")
    release(repository)
    prepare(project).apply()
    everything = "\n".join(path.read_text("utf-8") for path in _markable(project))
    assert "# mine, in spec" in everything
    assert "# mine, my own contract" in everything


def _markable(project: Path) -> Iterator[Path]:
    for path in sorted(project.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(project).parts:
            yield path


def _edited_places() -> Iterator[Any]:
    """From two versions, with four answers, a line at either end; two of these on every run."""
    changes: list[dict[str, Any]] = [
        {},
        {"package_name": "leaves"},
        {"ci": "none"},
        {"license": "Proprietary"},
    ]
    on_every_run = [(0, {"package_name": "leaves"}, "head"), (2, {}, "tail")]
    for row in product([0, 2], changes, ["head", "tail"]):
        yield pytest.param(*row, marks=[] if row in on_every_run else [pytest.mark.slow])


@pytest.mark.parametrize(("version", "answers", "place"), list(_edited_places()), ids=str)
def test_a_line_in_every_file_is_never_lost(
    history: History, version: int, answers: dict[str, Any], place: str, tmp_path: Path
) -> None:
    repository, versions = history
    project = started(render(repository, tmp_path / "project", ref=versions[version].tag))
    marks = {}
    for number, path in enumerate(_markable(project)):
        mark = f"# my line number {number}"
        (append if place == "tail" else prepend)(path, mark)
        marks[mark] = path.relative_to(project).as_posix()
    commit_all(project)
    plan = prepare(project, **answers)
    plan.apply()
    kept = "\n".join(path.read_text("utf-8") for path in _markable(project))
    assert [path for mark, path in marks.items() if f"{mark}\n" not in kept + "\n"] == []
    # No line was kept by leaving a conflict that nobody is told about.
    visible = {path for path, _ in plan.left()}
    for path in _markable(project):
        if marker_lines(Entry(path.read_bytes())):
            assert path.relative_to(project).as_posix() in visible


# A file that moved when every file got the name it keeps.
MOVED_FILE = "template/src/{{package_name}}/spec.py"


@pytest.fixture(scope="module")
def moved_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose two versions lie before and after the moves of 3.5."""
    commit = commit_before(MOVED_FILE)
    if commit is None:
        pytest.skip("this clone does not hold the commits from before the files moved")
    return build_two_versions(tmp_path_factory.mktemp("moved") / "tp35", commit)


@pytest.mark.parametrize("modality", ["vision", pytest.param("text", marks=pytest.mark.slow)])
def test_edits_survive_the_real_moves(
    modality: str, moved_template: Path, tmp_path: Path, tp35: Tp35
) -> None:
    project = render(moved_template, tmp_path / "project", {"modality": modality}, ref="v3.4.99")
    rows = {
        old.replace(moves.PACKAGE, "my_project"): new and new.replace(moves.PACKAGE, "my_project")
        for old, new in moves.parse((ROOT / moves.FILE).read_text("utf-8")).items()
    }
    moved = [path for path in rows if (project / path).is_file()]
    stayed = ["README.md", "config.yaml", "src/my_project/cli.py", "src/my_project/errors.py"]
    started(project)
    for number, path in enumerate([*moved, *stayed]):
        append(project / path, f"# my line number {number}")
    commit_all(project)
    ran = tp35("update", project)
    assert ran.code in (0, 1), ran.err
    texts = {path: text.decode("utf-8") for path, text in files(project).items()}
    assert len(moved) >= 14
    for number, path in enumerate([*moved, *stayed]):
        mark = f"# my line number {number}\n"
        places = {place for place, text in texts.items() if mark in text + "\n"}
        target = rows.get(path, path)
        assert places & {path, target}, path
        # carried over where the successor was free; else left in place, and the table says so
        assert target in places or path in ran.out


def test_an_edit_is_carried_to_a_name_that_another_file_had(
    moved_template: Path, tmp_path: Path, tp35: Tp35
) -> None:
    project = started(render(moved_template, tmp_path / "project", ref="v3.4.99"))
    training = project / "src" / "my_project" / "training"
    assert (training / "objectives.py").is_file()
    append(training / "tasks.py", "# mine")
    commit_all(project)
    assert tp35("update", project).code == 0
    assert not (training / "tasks.py").exists()
    assert (training / "objectives.py").read_text().endswith("# mine\n")


def test_git_has_the_sides_of_a_conflict_in_a_file_that_moved(
    moved_template: Path, tmp_path: Path, tp35: Tp35
) -> None:
    """Also where another file had that name: the edit is in what Git offers as ours."""
    project = started(render(moved_template, tmp_path / "project", ref="v3.4.99"))
    training = project / "src" / "my_project" / "training"
    mine = "# mine\n" + (training / "tasks.py").read_text().partition("\n")[2]
    (training / "tasks.py").write_text(mine)
    commit_all(project)
    ran = tp35("update", project)
    assert ran.code == 1
    assert not (training / "tasks.py").exists()
    assert "# mine\n" in (training / "objectives.py").read_text()
    git("checkout", "--ours", "src/my_project/training/objectives.py", cwd=project)
    assert (training / "objectives.py").read_text() == mine


def test_files_added_and_deleted_by_the_user_stay_so(
    history: History, tmp_path: Path, tp35: Tp35
) -> None:
    repository, versions = history
    project = started(render(repository, tmp_path / "project", ref=versions[1].tag))
    (project / "notes.md").write_text("mine\n")
    (project / "tests" / "test_config.py").unlink()
    commit_all(project)
    assert tp35("update", project).code == 0
    assert (project / "notes.md").read_text() == "mine\n"
    assert not (project / "tests" / "test_config.py").exists()
    assert (project / "tests" / "test_task.py").exists()


def test_binary_and_executable_edits_survive(repository: Path, project: Path) -> None:
    (project / PACKAGE / "errors.py").chmod(0o755)
    (project / "LICENSE").write_bytes(b"\0binary\xff")
    (project / PACKAGE / "config.py").unlink()
    (project / PACKAGE / "config.py").symlink_to("errors.py")
    commit_all(project)
    append(repository / SOURCE / "errors.py", "# theirs")
    append(repository / "template" / "LICENSE.jinja", "theirs")
    release(repository)
    prepare(project).apply()
    assert (project / PACKAGE / "errors.py").stat().st_mode & 0o111
    assert (project / PACKAGE / "errors.py").read_text().endswith("# theirs\n")
    licenses = [path.read_bytes() for path in project.glob("LICENSE*")]
    assert b"\0binary\xff" in licenses
    assert (project / PACKAGE / "config.py").is_symlink()


def test_ignored_files_are_not_written_over(repository: Path, project: Path) -> None:
    append(project / ".gitignore", "local.yaml")
    (project / "local.yaml").write_text("mine: true\n")
    commit_all(project)
    (repository / "template" / "local.yaml").write_text("theirs: true\n")
    release(repository)
    plan = prepare(project)
    plan.apply()
    assert (project / "local.yaml").read_text() == "mine: true\n"
    assert (project / "local.yaml.new").read_text() == "theirs: true\n"


def test_comments_in_the_answers_file_are_kept(project: Path, tp35: Tp35) -> None:
    append(project / answers_file.NAME, "# why we chose this")
    commit_all(project)
    ran = tp35("update", project, "--data", "gradient_accumulation_steps=2")
    assert ran.code == 0, ran.err
    assert "# why we chose this" in (project / answers_file.NAME).read_text()
    assert answers_file.read(project)["gradient_accumulation_steps"] == 2


def test_a_project_inside_a_larger_repository(repository: Path, tmp_path: Path, tp35: Tp35) -> None:
    git("init", str(tmp_path / "mono"), cwd=tmp_path)
    (tmp_path / "mono" / "other.txt").write_text("other\n")
    project = render(repository, tmp_path / "mono" / "apps" / "p", ref="HEAD")
    append(project / PACKAGE / "config.py", "# mine")
    commit_all(tmp_path / "mono")
    append(repository / SOURCE / "config.py", "# theirs")
    (repository / "template" / "NEWS").write_text("news\n")
    release(repository)
    assert tp35("update", project).code == 1
    assert (project / "NEWS").is_file()
    changed = git("diff", "--name-only", "--diff-filter=U", cwd=tmp_path / "mono").split()
    assert changed == ["apps/p/src/my_project/config.py"]


# --- refusals and failures: the tree stays as it was --------------------------------------------


def test_refuses_a_dirty_tree(project: Path, tp35: Tp35) -> None:
    append(project / "README.md", "mine")
    ran = tp35("update", project)
    assert (ran.code, "uncommitted changes" in ran.err) == (1, True)


def test_refuses_what_is_no_project_or_not_in_git(
    history: History, tmp_path: Path, tp35: Tp35
) -> None:
    assert "no project of this template" in tp35("update", tmp_path).err
    render(history[0], tmp_path / "p", ref="HEAD")
    ran = tp35("update", tmp_path / "p")
    assert (ran.code, "git init" in ran.err) == (1, True)


def test_refuses_to_revert_answers_edited_by_hand(project: Path, tp35: Tp35) -> None:
    path = project / answers_file.NAME
    edited = path.read_text().replace(
        "gradient_accumulation_steps: 1", "gradient_accumulation_steps: 4"
    )
    path.write_text(edited)
    commit_all(project)
    ran = tp35("update", project)
    assert ran.code == 1
    assert "edited by hand" in ran.err
    assert "tp35 update --data gradient_accumulation_steps=4" in ran.err


def test_an_answer_that_an_update_changed_is_not_taken_for_an_edit(
    project: Path, tp35: Tp35
) -> None:
    assert tp35("update", project, "--data", "gradient_accumulation_steps=4").code == 0
    append(project / "config.yaml", "# mine")
    commit_all(project)
    assert tp35("update", project).code == 0


def test_bad_answers_are_refused_in_one_line(project: Path, tp35: Tp35) -> None:
    before = files(project)
    for argument, hint in [
        ("export_formats=onx", "did you mean 'onnx'?"),
        ("package_name=class", "is a Python keyword"),
        ("nonsense=1", "names no question"),
    ]:
        ran = tp35("update", project, "--data", argument)
        assert (ran.code, hint in ran.err) == (2, True), ran.err
        assert len(ran.err.strip().splitlines()) == 1
    assert files(project) == before


def test_downgrades_are_refused(project: Path, tp35: Tp35) -> None:
    ran = tp35("update", project, "--ref", "v0.1.0")
    assert (ran.code, "Downgrades are not supported" in ran.err) == (1, True)


def test_a_template_that_moved_away(repository: Path, project: Path, tp35: Tp35) -> None:
    repository.rename(repository.parent / "elsewhere")
    ran = tp35("update", project)
    assert ran.code == 1
    assert len(ran.err.strip().splitlines()) == 1
    ran = tp35("update", project, "--template", repository.parent / "elsewhere")
    assert ran.code == 0, ran.err
    assert answers_file.read(project)["_src_path"] == str(repository.parent / "elsewhere")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=["interrupt", "disk full"])
def test_a_failure_midway_leaves_the_tree_as_it_was(
    eventful: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before = files(eventful)
    plan, real, written = prepare(eventful), trees.write_entry, list[Path]()

    def failing(path: Path, entry: Entry) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half")
            raise error(28, "No space left on device")
        real(path, entry)

    monkeypatch.setattr("tp35.replacement.write_entry", failing)
    with pytest.raises((error, Problem)):
        plan.apply()
    assert files(eventful) == before
    assert git("status", "--porcelain", cwd=eventful) == ""


def test_an_interrupt_while_copier_runs_changes_nothing(
    eventful: Path, tp35: Tp35, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(eventful)

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copier, "run_recopy", interrupted)
    assert tp35("update", eventful).code == 130
    assert files(eventful) == before


# --- hooks --------------------------------------------------------------------------------------


def hook(folder: Path, stage: str, name: str, code: str) -> None:
    (folder / stage).mkdir(parents=True, exist_ok=True)
    (folder / stage / name).write_text(code)


def test_migrations_run_for_the_versions_that_are_crossed(
    repository: Path, project: Path, tmp_path: Path
) -> None:
    release(repository, "v2.0.0")
    note = "import os; open('migrated', 'a').write('{} ' + os.environ['TP35_TO'] + '\\n')"
    for version in ("1.0.0", "1.5.0", "2.0.0", "3.0.0"):
        hook(tmp_path / "hooks", "after_update", f"{version}-note.py", note.format(version))
    prepare(project, tmp_path / "hooks").apply()
    assert (project / "migrated").read_text() == "1.5.0 v2.0.0\n2.0.0 v2.0.0\n"


def test_a_migration_before_the_update_is_part_of_it(
    repository: Path, project: Path, tmp_path: Path
) -> None:
    release(repository)
    code = "from pathlib import Path; Path('notes').write_text('migrated\\n')"
    hook(tmp_path / "hooks", "before_update", "write.py", code)
    prepare(project, tmp_path / "hooks").apply()
    assert (project / "notes").read_text() == "migrated\n"


def test_a_failing_hook_changes_nothing(project: Path, tmp_path: Path) -> None:
    hook(tmp_path / "hooks", "after_update", "no.py", "raise SystemExit('not today')")
    before = files(project)
    with pytest.raises(Problem, match="not today"):
        prepare(project, tmp_path / "hooks", gradient_accumulation_steps=4)
    assert files(project) == before


def test_conflicts_left_from_an_earlier_update_stop_the_next(project: Path, tp35: Tp35) -> None:
    append(project / "README.md", "<<<<<<< mine\na\n=======\nb\n>>>>>>> theirs")
    commit_all(project)
    ran = tp35("update", project)
    assert ran.code == 1
    assert "README.md" in ran.err
    assert tp35("update", project, "--skip-hooks").code == 0


def test_a_merge_that_no_longer_parses_is_reported(
    repository: Path, project: Path, tp35: Tp35
) -> None:
    (project / PACKAGE / "errors.py").write_text("def broken(:\n")
    commit_all(project)
    (repository / SOURCE / "errors.py").write_text("")
    append(repository / "template" / "config.yaml.jinja", "# theirs")
    release(repository)
    prepend(project / "config.yaml", "bad: [")
    commit_all(project)
    assert "config.yaml does not parse" in tp35("update", project).err


# --- one user's story ---------------------------------------------------------------------------


def test_ten_edits_three_answers_two_versions_one_conflict(
    history: History, tmp_path: Path, tp35: Tp35, repository: Path
) -> None:
    project = started(render(repository, tmp_path / "project", ref="v0.2.0"))
    edited = [path for path in _markable(project) if path.suffix == ".py"][:9]
    for number, path in enumerate(edited):
        append(path, f"# edit {number}")
    config = project / PACKAGE / "config.py"
    prepend(config, '"""Mine, at the very top."""')
    commit_all(project)
    prepend(repository / SOURCE / "config.py", '"""Theirs, at the very top."""')
    release(repository, "v1.1.0")
    arguments = ["license=Apache-2.0", "gradient_accumulation_steps=4", "ci=gitlab"]
    ran = tp35("update", project, *(part for item in arguments for part in ("--data", item)))
    assert ran.code == 1
    assert "src/my_project/config.py:1: conflict" in ran.err
    everything = "\n".join(path.read_text("utf-8") for path in _markable(project))
    for number in range(9):
        assert f"# edit {number}" in everything
    assert "Mine, at the very top" in everything
    answers = answers_file.read(project)
    assert answers["_commit"] == "v1.1.0"
    assert (answers["license"], answers["ci"]) == ("Apache-2.0", "gitlab")
    assert (project / ".gitlab-ci.yml").is_file()


def test_the_command_as_a_process(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tp35", "update", project, "--dry-run"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "up to date" in done.stdout or "unchanged" in done.stdout) == (0, True)


def test_trees_read_back_what_was_written(tmp_path: Path) -> None:
    wanted = {
        "a/run.sh": Entry(b"#!/bin/sh\n", executable=True),
        "a/text": Entry(b"text\n"),
        "link": Entry(b"a/text", link=True),
    }
    replace_files(tmp_path, {path: Change(None, entry) for path, entry in wanted.items()})
    assert read_tree(tmp_path) == wanted
    removed = {path: Change(wanted[path], None) for path in ("a/run.sh", "a/text")}
    replace_files(tmp_path, removed)
    assert list(read_tree(tmp_path)) == ["link"]
    assert not (tmp_path / "a").exists()


def test_the_newest_release_is_the_working_tree(
    history: History, template_folder: Path, tmp_path: Path
) -> None:
    ours = files(render(template_folder, tmp_path / "folder"))
    theirs = files(render(history[0], tmp_path / "git", ref=NEWEST))
    assert {k: v for k, v in ours.items() if k != answers_file.NAME} == {
        k: v for k, v in theirs.items() if k != answers_file.NAME
    }
