"""How one file is merged, and how many are written as one change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import files

from tp35 import replacement
from tp35.conflicts import clash_lines
from tp35.merge import Sides, merge, three_way
from tp35.problems import Problem
from tp35.replacement import Change, replace_files
from tp35.trees import Entry

pytestmark = pytest.mark.unit


def entry(text: str) -> Entry:
    return Entry(text.encode())


def merged(path: str, base: str, mine: str, theirs: str, configuration: str = "") -> Entry:
    joined = three_way(path, entry(base), entry(mine), entry(theirs), entry(configuration))
    assert joined is not None
    return joined


# --- dependencies -------------------------------------------------------------------------------

PYPROJECT = """\
[project]
name = "x"
dependencies = [
  "numpy>=2", # arrays
  "torch>=2.10",
]

[dependency-groups]
dev = [
  { include-group = "docs" },
  "pytest",
]
"""


def test_dependencies_that_both_sides_add_are_a_union() -> None:
    mine = PYPROJECT.replace('  "torch', '  "mine>=1", # why I need it\n  "torch').replace(
        '"pytest",\n', '"pytest",\n  "mine-dev"\n'
    )
    theirs = PYPROJECT.replace('  "torch', '  "theirs>=3", # why they do\n  "torch').replace(
        '"pytest",\n', '"pytest",\n  "theirs-dev",\n'
    )
    assert (
        merged("pyproject.toml", PYPROJECT, mine, theirs).text
        == """\
[project]
name = "x"
dependencies = [
  "numpy>=2", # arrays
  "mine>=1", # why I need it
  "theirs>=3", # why they do
  "torch>=2.10",
]

[dependency-groups]
dev = [
  { include-group = "docs" },
  "pytest",
  "mine-dev",
  "theirs-dev",
]
"""
    )


def test_a_dependency_that_the_user_removed_stays_removed() -> None:
    mine = PYPROJECT.replace('  "torch>=2.10",\n', '  "jax",\n')
    theirs = PYPROJECT.replace('  "torch>=2.10",\n', '  "torch>=2.10",\n  "new",\n')
    text = merged("pyproject.toml", PYPROJECT, mine, theirs).text or ""
    assert ("torch" in text, "jax" in text, '"new"' in text) == (False, True, True)
    assert "<<<" not in text


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [('"torch>=2.11"', '"torch>=2.12"'), ('"Torch[x]>=2.10"', '"torch>=2.12"')],
)
def test_one_dependency_in_two_ways_is_a_conflict(mine: str, theirs: str) -> None:
    sides = [PYPROJECT.replace('"torch>=2.10"', other) for other in (mine, theirs)]
    assert clash_lines(merged("pyproject.toml", PYPROJECT, *sides))


def test_what_is_no_toml_is_merged_as_text() -> None:
    assert clash_lines(merged("pyproject.toml", "a = 1\n", "a = [\n", "a = 3\n"))


# --- formatting ---------------------------------------------------------------------------------

CODE = """\
def train(model, data, epochs, rate, device, callbacks):
    first = [transform(sample, strength=0.5, order="random") for sample in data if sample.good]
    second = combine(first, data, epochs, rate, device, callbacks, "another text that is long")
    return second
"""


def formatted(code: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--isolated", *arguments, "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "configuration"),
    [
        (["--line-length=60"], "[tool.ruff]\nline-length = 60\n"),
        (["--line-length=79"], ""),  # given on the command line, and nowhere written down
        (
            ["--config=format.quote-style='single'", "--config=format.indent-style='tab'"],
            "[tool.ruff.format]\nquote-style = 'single'\nindent-style = 'tab'\n",
        ),
    ],
    ids=["configured", "79", "style"],
)
def test_code_formatted_otherwise_conflicts_nowhere(
    arguments: list[str], configuration: str
) -> None:
    mine = formatted(CODE, *arguments).replace("return second", "return second, 'mine'")
    theirs = CODE.replace("strength=0.5", "strength=0.75")
    joined = merged("src/x.py", CODE, mine, theirs, configuration)
    assert clash_lines(joined) == 0
    expected = formatted(theirs, *arguments).replace("return second", "return second, 'mine'")
    assert joined.text == expected


def test_a_clash_in_formatted_code_is_no_more_than_that() -> None:
    mine = formatted(CODE, "--line-length=60").replace("0.5", "0.1")
    theirs = CODE.replace("strength=0.5", "strength=0.75").replace("another text", "a text")
    joined = merged("src/x.py", CODE, mine, theirs, "[tool.ruff]\nline-length = 60\n")
    assert 0 < clash_lines(joined) <= 8
    assert "a text that is long" in (joined.text or "")


# --- lines and modes ----------------------------------------------------------------------------


def test_lines_end_as_the_users_do() -> None:
    base, theirs = "a\nb\nc\nd\ne\n", "a\nb\nc\nd\ntheirs\n"
    mine = "mine\nb\nc\nd\ne\n".replace("\n", "\r\n")
    joined = merged("x", base, mine, theirs)
    assert joined.content == b"mine\r\nb\r\nc\r\nd\r\ntheirs\r\n"
    sides = Sides(
        {"x": entry(base), ".copier-answers.yml": entry("a: 1\n")},
        {"x": Entry(base.replace("\n", "\r\n").encode()), ".copier-answers.yml": entry("a: 1\n")},
        {"x": entry(theirs), ".copier-answers.yml": entry("a: 1\n")},
    )
    assert merge(sides, Path("nowhere")).tree["x"].content == theirs.replace("\n", "\r\n").encode()


def test_what_is_kept_beside_has_a_free_name(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"\0mine")
    (tmp_path / "logo.png.new").write_text("a file of mine")
    answers = {".copier-answers.yml": entry("a: 1\n")}
    sides = Sides(
        {"logo.png": Entry(b"\0old"), **answers},
        {"logo.png": Entry(b"\0mine"), "logo.png.new": entry("a file of mine"), **answers},
        {"logo.png": Entry(b"\0new"), **answers},
    )
    found = merge(sides, tmp_path)
    assert found.tree["logo.png"].content == b"\0mine"
    assert found.tree["logo.png.new"].content == b"a file of mine"
    assert found.tree["logo.png.new.1"].content == b"\0new"
    assert list(found.left) == ["logo.png.new.1"]


# --- writing ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "one").write_text("one")
    (folder / "two").write_text("two")
    return folder


CHANGES = {
    "deep/er/one": Change(entry("one"), None),
    "two": Change(entry("two"), entry("TWO")),
    "new/three": Change(None, entry("three")),
    "deep/er": Change(None, entry("a file where a folder was")),
}
AFTER = {"two": b"TWO", "new/three": b"three", "deep/er": b"a file where a folder was"}


def test_many_files_are_replaced_as_one(folder: Path) -> None:
    replace_files(folder, CHANGES)
    assert files(folder) == AFTER
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "new", "two"]


def test_a_failure_at_the_very_end_undoes_everything(folder: Path) -> None:
    before = files(folder)

    def fails() -> None:
        raise Problem("Git is locked")

    with pytest.raises(Problem, match="Git is locked"):
        replace_files(folder, CHANGES, fails)
    assert files(folder) == before
    assert not (folder / "new").exists()


def test_a_kill_after_everything_was_done_but_the_last_note_undoes_that_too(
    folder: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    index.write_text("old")
    program = f"""
import os, pathlib, signal
from tp35.replacement import Change, replace_files
from tp35.trees import Entry
index = pathlib.Path({str(index)!r})
def finish():
    index.write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
replace_files(
    pathlib.Path({str(folder)!r}), {{"two": Change(Entry(b"two"), Entry(b"TWO"))}}, finish, index
)
"""
    before = files(folder)
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert (files(folder) != before, index.read_text()) == (True, "new")
    assert replacement.restore(folder)
    assert (files(folder), index.read_text()) == (before, "old")


@pytest.mark.parametrize("step", range(9))
def test_what_a_killed_process_left_is_put_right_by_the_next(step: int, folder: Path) -> None:
    program = f"""
import os, pathlib, signal
from tp35.replacement import Change, replace_files
from tp35.trees import Entry
real, count = pathlib.Path.rename, 0
def rename(self, target):
    global count
    if count == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return real(self, target)
pathlib.Path.rename = rename
replace_files(pathlib.Path({str(folder)!r}), {{
    "deep/er/one": Change(Entry(b"one"), None),
    "two": Change(Entry(b"two"), Entry(b"TWO")),
    "new/three": Change(None, Entry(b"three")),
    "deep/er": Change(None, Entry(b"a file where a folder was")),
}})
"""
    before = files(folder)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True).returncode
    assert ended in {0, -9}
    replacement.restore(folder)
    assert files(folder) == (AFTER if ended == 0 else before)
    assert not (folder / replacement.FOLDER).exists()


def test_two_updates_at_once(folder: Path) -> None:
    before = files(folder)

    def meanwhile() -> None:
        with pytest.raises(Problem, match="another update is writing"):
            replace_files(folder, {"two": Change(entry("two"), entry("other"))})

    replace_files(folder, CHANGES, meanwhile)
    assert files(folder) != before
    with pytest.raises(Problem, match="two was changed meanwhile"):
        replace_files(folder, {"two": Change(entry("two"), entry("other"))})
    assert files(folder) == AFTER


def _a_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "new").symlink_to(folder / "elsewhere")


def _a_file(folder: Path) -> None:
    (folder / "new").write_text("mine")


def _a_folder(folder: Path) -> None:
    (folder / "new" / "three").mkdir(parents=True)
    (folder / "new" / "three" / "mine").write_text("mine")


@pytest.mark.parametrize("in_the_way", [_a_link, _a_file, _a_folder])
def test_what_can_be_foreseen_is_refused_before_anything_is_written(
    in_the_way: Callable[[Path], None], folder: Path
) -> None:
    in_the_way(folder)
    before = files(folder)
    with pytest.raises(Problem, match="new"):
        replace_files(folder, CHANGES)
    assert files(folder) == before
