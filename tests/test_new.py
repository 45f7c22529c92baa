"""`tp35 new`: the same project as plain Copier's, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from conftest import Tp35
from rendering import ROOT, TEMPLATE_PARTS, commit_all, files, git, render, started, update

from tp35 import answers_file, modalities, new, questions, template
from tp35.presets import Preset, presets
from tp35.problems import Misuse, Problem
from tp35.template import Source

pytestmark = pytest.mark.unit

ORIGIN = ("_commit", "_src_path")


def without_origin(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = dict(files(project))
    recorded = yaml.safe_load(found[answers_file.NAME])
    found[answers_file.NAME] = {k: v for k, v in recorded.items() if k not in ORIGIN}
    return found


def test_equals_copier(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    data = ["--data", "project_name=Leaf Classifier", "--data", "export_formats=onnx,pt2"]
    ran = tp35("new", tmp_path / "ours", "--defaults", *data)
    assert ran.code == 0, ran.err
    answers = {"project_name": "Leaf Classifier", "export_formats": ["onnx", "pt2"]}
    theirs = render(from_folder, tmp_path / "theirs", answers)
    assert without_origin(tmp_path / "ours") == without_origin(theirs)
    ours_text = (tmp_path / "ours" / answers_file.NAME).read_text("utf-8")
    theirs_text = (theirs / answers_file.NAME).read_text("utf-8")
    assert [line for line in ours_text.splitlines() if not line.startswith(ORIGIN)] == [
        line for line in theirs_text.splitlines() if not line.startswith(ORIGIN)
    ]


def test_says_what_to_do_next(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    ran = tp35("new", folder, "--defaults", "--preset", "vision-tiny")
    assert f"cd '{folder}'" in ran.out
    assert "uv run my-project train" in ran.out
    assert "others need" not in ran.out.lower()  # a wheel's project names no path of this machine


def test_quietly(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    ran = tp35("new", tmp_path / "p", "--defaults", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "is not empty" in tp35("new", tmp_path / "p", "--defaults", "--quiet").err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["upd"], ["update"]),
        (["new", "p", "--preset", "lm"], ["lm-tiny"]),
        (
            ["new", "p", "--data", "compile_"],
            ["compile_mode=", "compile_fullgraph=", "compile_dynamic="],
        ),
    ],
    ids=str,
)
def test_a_shell_completes(
    typed: list[str], offered: list[str], monkeypatch: pytest.MonkeyPatch, tp35: Tp35
) -> None:
    monkeypatch.setenv("_TP35_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["tp35", *typed]))
    monkeypatch.setenv("COMP_CWORD", str(len(typed)))
    assert tp35().out.splitlines() == [f"plain,{answer}" for answer in offered]


def test_from_a_git_template_equals_copier(history: Any, tmp_path: Path, tp35: Tp35) -> None:
    repository, _ = history
    ran = tp35("new", tmp_path / "ours", "--defaults", "--template", repository, "--ref", "HEAD")
    assert ran.code == 0, ran.err
    assert f"{repository}. Others need its URL" in ran.out
    assert files(tmp_path / "ours") == files(render(repository, tmp_path / "theirs", ref="HEAD"))


@pytest.mark.parametrize("preset", presets())
def test_presets_render(preset: str, from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    answers = presets()[preset].answers
    assert tp35("new", tmp_path / "p", "--defaults", "--preset", preset).code == 0
    recorded = answers_file.read(tmp_path / "p")
    assert {key: recorded[key] for key in answers} == answers


def test_data_wins_over_the_preset(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    arguments = ["--preset", "vision-production", "-d", "gradient_accumulation_steps=2"]
    assert tp35("new", tmp_path / "p", "--defaults", *arguments).code == 0
    assert answers_file.read(tmp_path / "p")["gradient_accumulation_steps"] == 2


def test_presets_are_listed(tp35: Tp35) -> None:
    out = tp35("presets").out
    assert all(name in out for name in presets())


def test_preset_names_are_unique() -> None:
    rows = [modalities.part(name, "presets.yml") for name in modalities.names()]
    assert len(presets()) == sum(map(len, rows))


TOY_TEMPLATE = """
modalities:
  type: yaml
  when: false
  default: |
    sound: {title: Sounds, tasks: [tagging, transcription]}
    table: {title: Tables, tasks: [scoring]}
parts:
  type: yaml
  when: false
  default: "{% include 'nowhere.yml' %}"
modality:
  type: str
  choices: >-
    {% set offered = {} -%}
    {% for name, row in modalities.items() -%}
    {% set _ = offered.update({row.title: name}) -%}
    {% endfor -%}
    {{ offered | to_json }}
  default: "{{ modalities | first }}"
task:
  type: str
  choices: "{{ modalities[modality].tasks | to_json }}"
"""


@pytest.fixture
def toy_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template whose modalities the generator has never heard of."""
    folder = tmp_path / "toy"
    for name, row in {
        "sound": "tagged: {summary: names sounds, answers: {task: tagging}}",
        "table": "scored: {summary: scores rows, answers: {task: scoring, ci: none}}",
    }.items():
        parts = folder / "template" / f"{{{{overlay.{name}}}}}" / "_parts"
        parts.mkdir(parents=True)
        (parts / "presets.yml").write_text(row)
    (folder / "copier.yml").write_text(TOY_TEMPLATE)
    monkeypatch.setattr(template, "root", lambda: folder)
    return folder


def test_choices_come_from_the_table_of_modalities(toy_template: Path) -> None:
    assert questions.choices("modality", {}) == ["sound", "table"]
    assert questions.choices("task", {}) == ["tagging", "transcription"]
    assert questions.choices("task", {"modality": "table"}) == ["scoring"]
    with pytest.raises(Misuse, match="did you mean 'table'"):
        questions.check({"task": "scoring", "modality": "tabel"})


def test_presets_come_from_the_folders_of_modalities(toy_template: Path) -> None:
    assert presets() == {
        "tagged": Preset("names sounds", {"modality": "sound", "task": "tagging"}),
        "scored": Preset("scores rows", {"modality": "table", "task": "scoring", "ci": "none"}),
    }


MISUSES = [
    (["-d", "packge_name=x"], "did you mean 'package_name'?"),
    (["-d", "package_name"], "give key=value"),
    (["-d", "package_name=class"], 'package_name: "class" is a Python keyword'),
    (["-d", "export_formats=onx"], "did you mean 'onnx'?"),
    (["-d", "export_formats=[onnx"], "is not a list such as [onnx]"),
    (["-d", "export_formats=[]"], "No format is chosen"),
    (["-d", "gradient_accumulation_steps=four"], "gradient_accumulation_steps: 'four'"),
    (["-d", "gradient_accumulation_steps=0"], "give 1 or more"),
    (["-d", "notebook=maybe"], "notebook: 'maybe'"),
    (["-d", "task=vision_regresion"], "did you mean 'vision_regression'?"),
    (["-d", "modality=vison"], "did you mean 'vision'?"),
    (["-d", "compile_mode=reduce_overhead"], "did you mean 'reduce-overhead'?"),
    (["--preset", "vision-tny"], "did you mean 'vision-tiny'?"),
    (["--defualts"], "--defaults"),
]


@pytest.mark.parametrize(("arguments", "hint"), MISUSES, ids=str)
def test_misuse_is_one_line_with_the_nearest_match(
    arguments: list[str], hint: str, from_folder: Path, tp35: Tp35, tmp_path: Path
) -> None:
    ran = tp35("new", tmp_path / "p", "--defaults", *arguments)
    assert ran.code == 2
    assert hint in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_unknown_command(tp35: Tp35) -> None:
    ran = tp35("udpate")
    assert (ran.code, "did you mean 'update'?" in ran.err) == (2, True)


def test_template_that_is_not_there(tp35: Tp35, tmp_path: Path) -> None:
    ran = tp35("new", tmp_path / "p", "--defaults", "--template", tmp_path / "nowhere")
    assert ran.code == 1
    assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_version_that_is_not_there(history: Any, tp35: Tp35, tmp_path: Path) -> None:
    ran = tp35("new", tmp_path / "p", "--defaults", "--template", history[0], "--ref", "v9.9.9")
    assert ran.code == 1
    assert "v9.9.9" in ran.err


# --- where it may write -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "with space", "größe-日本", "deep/er/still"])
def test_destination_names(name: str, from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    assert tp35("new", tmp_path / name, "--defaults").code == 0
    assert (tmp_path / name / "pyproject.toml").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name.partition("/")[0]]


def test_empty_folder_and_fresh_repository(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "repository").mkdir()
    git("init", cwd=tmp_path / "repository")
    for name in ("empty", "repository"):
        assert tp35("new", tmp_path / name, "--defaults").code == 0
        assert (tmp_path / name / ".gitignore").is_file()
        assert not [path for path in (tmp_path / name).iterdir() if path.name.startswith(".tp35")]
    assert (tmp_path / "repository" / ".git" / "HEAD").is_file()


def test_current_folder(
    from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tp35("new", ".", "--defaults").code == 0
    assert (tmp_path / "pyproject.toml").is_file()


def test_refuses_what_exists(from_folder: Path, tp35: Tp35, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for name, hint in [
        ("full", "mine.txt"),
        ("file", "is a file"),
        ("file/below", "is a file"),
        ("link", "broken link"),
    ]:
        ran = tp35("new", tmp_path / name, "--defaults")
        assert (ran.code, hint in ran.err) == (2, True), ran
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_no_permission(from_folder: Path, tp35: Tp35) -> None:
    ran = tp35("new", "/proc/tp35", "--defaults")
    assert ran.code == 1
    assert "cannot write" in ran.err


def test_interrupt_midway_leaves_nothing(
    from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copier.run_copy

    def interrupted(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(copier, "run_copy", interrupted)
    ran = tp35("new", tmp_path / "p", "--defaults")
    assert ran.code == 130
    assert list(tmp_path.iterdir()) == []


def test_interrupt_while_moving_into_place_moves_back(
    from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    real, moved = Path.rename, list[Path]()

    def interrupted(self: Path, target: Path) -> Path:
        if len(moved) == 3:
            moved.append(self)
            raise KeyboardInterrupt
        moved.append(self)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    assert tp35("new", tmp_path / "p", "--defaults").code == 130
    assert list((tmp_path / "p").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_interrupt_at_a_question(from_folder: Path, tmp_path: Path) -> None:
    import pty

    keyboard, screen = pty.openpty()
    program = f"""
import pathlib, sys
from tp35 import cli, template
template.root = lambda: pathlib.Path({str(from_folder)!r})
sys.argv = ["tp35", "new", {str(tmp_path / "p")!r}]
cli.main()
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdin=screen, stdout=screen, stderr=screen
    )
    os.close(screen)
    shown = b""
    while b"called?" not in shown:
        shown += os.read(keyboard, 1024)
    os.write(keyboard, b"\x03")
    try:
        while chunk := os.read(keyboard, 1024):
            shown += chunk
    except OSError:  # the other side closed the terminal
        pass
    os.close(keyboard)
    assert running.wait(timeout=60) == 130
    assert b"Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_asking_without_a_terminal_says_so(from_folder: Path, tmp_path: Path) -> None:
    program = f"""
import pathlib, sys
from tp35 import cli, template
template.root = lambda: pathlib.Path({str(from_folder)!r})
sys.argv = ["tp35", "new", {str(tmp_path / "p")!r}]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "--defaults" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- hooks --------------------------------------------------------------------------------------


def test_hooks_run_around_it(from_folder: Path, tmp_path: Path) -> None:
    for stage in ("before_new", "after_new"):
        (tmp_path / "hooks" / stage).mkdir(parents=True)
        log = tmp_path / "log"
        (tmp_path / "hooks" / stage / "10-note.py").write_text(
            f"import os; open({str(log)!r}, 'a').write('{stage} ' + str(os.listdir()) + '\\n')"
        )
    new.create(tmp_path / "p", {}, defaults=True, hooks_folder=tmp_path / "hooks")
    before, after = (tmp_path / "log").read_text().splitlines()
    assert before.startswith("before_new")
    assert "pyproject.toml" not in before
    assert "pyproject.toml" in after


def test_a_failing_hook_leaves_nothing(from_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hooks" / "after_new").mkdir(parents=True)
    (tmp_path / "hooks" / "after_new" / "no.py").write_text("raise SystemExit('not today')")
    with pytest.raises(Problem, match=r"after_new/no\.py: not today"):
        new.create(tmp_path / "p", {}, defaults=True, hooks_folder=tmp_path / "hooks")
    assert [path.name for path in tmp_path.iterdir()] == ["hooks"]


# --- where it comes from ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "ref"),
    [
        ("3.5.0", "v3.5.0"),
        ("3.5.1.dev2+gabc1234", "abc1234"),
        ("0.1.dev4+g1a2b3c4.d20250101", "1a2b3c4"),
    ],
)
def test_a_wheel_records_the_version_it_was_built_from(installed: str, ref: str) -> None:
    assert template.version_as_ref(installed) == ref


def test_origin_is_rewritten_and_nothing_else() -> None:
    text = "# head\n_commit: old\n_src_path: a very\n    long path\nb: 1\na: ''\n"
    assert answers_file.with_origin(text, "/new/place", "v1") == (
        "# head\n_commit: v1\n_src_path: /new/place\nb: 1\na: ''\n"
    )


def test_a_dirty_clone_records_a_commit_that_exists(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "root", lambda: repository)
    (repository / "template" / "EXTRA").write_text("extra\n")
    new.create(tmp_path / "p", {}, defaults=True, source=Source(str(repository), "HEAD"))
    recorded = answers_file.read(tmp_path / "p")
    assert (tmp_path / "p" / "EXTRA").is_file()
    assert git("rev-parse", recorded["_commit"], cwd=repository)


def test_bad_destination_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misuse):
        new.create(tmp_path / "file", {}, defaults=True)


def test_wheel_works_without_git_and_is_updated_from_git(
    wheel: Path, repository: Path, tmp_path: Path, tp35: Tp35
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = archive.namelist()
    carried = [name for name in names if name.startswith("tp35/_template/")]
    sources = [
        f"tp35/_template/{path.relative_to(ROOT).as_posix()}"
        for part in TEMPLATE_PARTS
        for path in [ROOT / part, *(ROOT / part).rglob("*")]
        if path.is_file() and not {"__pycache__", ".ruff_cache", ".mypy_cache"} & set(path.parts)
    ]
    assert sorted(carried) == sorted(sources)

    # Another environment with the wheel in front, and a PATH on which nothing is but Python.
    venv.create(tmp_path / "bare", with_pip=False)
    libraries = [path for path in sys.path if "site-packages" in path]
    packages = os.pathsep.join([str(tmp_path / "site"), *libraries])
    program = f"""
import sys
sys.argv = ["tp35", "new", {str(tmp_path / "p")!r}, "--defaults"]
from tp35.cli import main
main()
"""
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-c", program],
        env={"PYTHONPATH": packages, "PATH": str(tmp_path / "bare" / "bin"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert without_origin(tmp_path / "p") == without_origin(
        render(repository, tmp_path / "theirs", ref="HEAD")
    )

    # Where there is no release yet, the wheel names a commit of this repository.
    recorded = answers_file.read(tmp_path / "p")
    assert recorded["_commit"]
    text = (tmp_path / "p" / answers_file.NAME).read_text("utf-8")
    (tmp_path / "p" / answers_file.NAME).write_text(
        answers_file.with_origin(text, str(recorded["_src_path"]), "v1.0.0"), "utf-8"
    )
    started(tmp_path / "p")
    (repository / "template" / "NEWS").write_text("news\n")
    commit_all(repository)
    git("tag", "v2.0.0", cwd=repository)
    ran = tp35("update", tmp_path / "p", "--template", repository)
    assert ran.code == 0, ran.err
    assert (tmp_path / "p" / "NEWS").is_file()
    commit_all(tmp_path / "p")
    update(tmp_path / "p")  # from now on plain Copier finds the template by itself
    assert git("status", "--porcelain", cwd=tmp_path / "p") == ""
