"""What others leave in YAML files that tp35 reads: one line each, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Tp35

from tp35 import answers_file, questions
from tp35.problems import Misuse, Problem

pytestmark = pytest.mark.unit

BROKEN: dict[str, tuple[bytes, str]] = {
    "latin-1": ("description: größer\n".encode("latin-1"), "is no text in UTF-8"),
    "utf-16": ("project_name: x\n".encode("utf-16"), "is no text in UTF-8"),
    "zero": (b"a: \x00\n", "is not YAML"),
    "half a list": (b"a: [\n", "is not YAML (line 2)"),
    "tab": (b"a:\n\tb: 1\n", "is not YAML (line 2)"),
    "conflict": (b"<<<<<<< mine\na: 1\n=======\na: 2\n>>>>>>> theirs\n", "is not YAML"),
    "two documents": (b"a: 1\n---\nb: 2\n", "is not YAML"),
    "deep": (b"a: " + b"[" * 5000, "is not YAML"),
    "no date": (b"a: 2020-13-45\n", "is not YAML"),
    "python": (b"a: !!python/object:os.system {}\n", "is not YAML (line 1)"),
    "unknown anchor": (b"a: *b\n", "is not YAML (line 1)"),
    "empty": (b"", "holds no keys with values"),
    "list": (b"- a\n", "holds no keys with values"),
    "text": (b"answers\n", "holds no keys with values"),
    "null key": (b"null: 1\n", "has the key None"),
    "number key": (b"1: a\n", "has the key 1"),
    "list key": (b"? [a, b]\n: c\n", "is not YAML (line 1)"),
    "date": (b"description: 2020-01-01\n", "is read as a date; put it between quotes"),
    "bytes": (b"a: !!binary aGk=\n", "holds what is neither text, number nor list"),
    "set": (b"a: !!set {b}\n", "holds what is neither text, number nor list"),
    "holds itself": (b"a: &a [*a]\n", "holds what is neither text, number nor list"),
    "listed origin": (b"_src_path: [a]\n", "_src_path is no text"),
    "empty version": (b"_commit:\n", "_commit is no text"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answers_file_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    content, said = BROKEN[name]
    (tmp_path / answers_file.NAME).write_bytes(content)
    with pytest.raises(Problem) as refused:
        answers_file.read(tmp_path)
    message = refused.value.message
    assert said in message
    assert str(tmp_path / answers_file.NAME) in message
    assert message.isprintable()


def test_what_yaml_allows_besides_is_read(tmp_path: Path) -> None:
    text = "a: &b [x, y]\nc: *b\n'1': no\n_commit: 1234567\n_src_path: /t\n"
    (tmp_path / answers_file.NAME).write_text(text, "utf-8")
    assert answers_file.read(tmp_path) == {
        "a": ["x", "y"],
        "c": ["x", "y"],
        "1": False,
        "_commit": "1234567",
        "_src_path": "/t",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project_name", None),
        ("project_name", 12),
        ("description", ["a", "b"]),
        ("description", {"a": 1}),
        ("author_name", True),
        ("license", None),
        ("modality", ["vision"]),
        ("export_formats", None),
        ("export_formats", 3),
        ("export_formats", {"onnx": 1}),
        ("export_formats", [["onnx"]]),
        ("trackers", "wandb: 1"),
        ("gradient_accumulation_steps", 4.5),
        ("gradient_accumulation_steps", True),
        ("gradient_accumulation_steps", None),
        ("notebook", [1]),
    ],
)
def test_an_answer_of_another_type_is_told_in_one_line(key: str, value: object) -> None:
    with pytest.raises(Misuse) as refused:
        questions.check({key: value})
    assert refused.value.message.startswith(f"{key}: ")
    assert refused.value.message.isprintable()


SETTINGS: dict[str, tuple[bytes, str]] = {
    "not YAML": (b"defaults: [", "is not YAML (line 1)"),
    "binary": (b"\xff\xfe\x00", "is no text in UTF-8"),
    "empty": (b"", "holds no keys with values"),
    "list": (b"- a\n", "holds no keys with values"),
    "types": (b"defaults: 3\n", "has `defaults` that are no answers"),
    "keys": (b"defaults: {1: x}\n", "has `defaults` that are no answers"),
    "trust": (b"trust: all\n", "has a `trust` that is no list"),
    "python": (b"defaults: !!python/object:os.x {}\n", "is not YAML"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_broken_settings_of_copier_are_told_in_one_line(
    name: str, from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, said = SETTINGS[name]
    path = tmp_path / "settings.yml"
    path.write_bytes(content)
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(path))
    ran = tp35("new", tmp_path / "p", "--defaults")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert said in ran.err
    assert str(path) in ran.err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", ["missing.yml", "."])
def test_settings_that_are_no_file(
    name: str, from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(tmp_path / name))
    ran = tp35("new", tmp_path / "p", "--defaults")
    assert ran.code == 1
    assert "which is no file" in ran.err


def test_settings_answer_questions(
    from_folder: Path, tp35: Tp35, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.yml"
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(path))
    path.write_text("defaults: {author_name: Ada}\ntrust: [https://git.example.org/]\n", "utf-8")
    assert tp35("new", tmp_path / "p", "--defaults").code == 0
    assert answers_file.read(tmp_path / "p")["author_name"] == "Ada"
    path.write_text("defaults: {package_name: class}\n", "utf-8")
    ran = tp35("new", tmp_path / "q", "--defaults")
    assert (ran.code, "package_name" in ran.err, ran.err.count("\n")) == (2, True, 1)
