"""Finds what v3.4 code and configuration files call differently since 3.5."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tp35 import template
from tp35.project_files import source_files
from tp35.trees import read_tree

FINE_TUNING = frozenset({"test_fine_tuning", "fine_tune"})
ARGUMENT = "gradient_accumulation_steps"


@dataclass(frozen=True)
class Use:
    """One deprecated use and what to write instead."""

    path: str
    line: int
    what: str
    instead: str


@cache
def _configuration() -> tuple[dict[str, str], frozenset[str]]:
    """The renamed and the present fields, read from the template's own `config.py`."""
    source = template.root() / "template" / "src" / "{{package_name}}" / "config.py"
    renamed: dict[str, str] = {}
    fields: set[str] = set()
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RENAMED":
            renamed = ast.literal_eval(node.value)
        if isinstance(node, ast.ClassDef) and node.name == "TrainingConfig":
            fields = {
                ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)
            }
    return renamed, frozenset(fields)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Every call below a node but those under `pytest.warns`, which wants the warning."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and any(
            ast.unparse(item.context_expr).startswith("pytest.warns(") for item in child.items
        ):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)


def _in_code(path: str, source: str) -> Iterator[Use]:
    renamed, _ = _configuration()
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Not ours to judge: the file may be for another Python, or a cell may hold shell commands.
        return
    for call in _calls(tree):
        called = ast.unparse(call.func).rsplit(".", 1)[-1]
        for keyword in call.keywords:
            if called in FINE_TUNING and keyword.arg == ARGUMENT:
                value = ast.unparse(keyword.value)
                yield Use(
                    path,
                    keyword.value.lineno,
                    f"{ARGUMENT} passed to {called}()",
                    f"TrainingConfig({ARGUMENT}={value})",
                )
            if called == "TrainingConfig" and keyword.arg in renamed:
                yield Use(
                    path,
                    keyword.value.lineno,
                    f"TrainingConfig({keyword.arg}=...)",
                    f"TrainingConfig({renamed[keyword.arg]}=...)",
                )


def _line_of(text: str, part: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), 1) if part in line), 1)


def _in_notebook(path: str, text: str) -> Iterator[Use]:
    try:
        cells: list[dict[str, Any]] = json.loads(text).get("cells", [])
    except (json.JSONDecodeError, AttributeError):
        return
    for cell in cells:
        if cell.get("cell_type") != "code":
            continue
        source = "".join(cell.get("source", []))
        code = "\n".join(
            "" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()
        )
        for use in _in_code(path, code):
            # The line in the file, which is what an editor or a search shows.
            written = json.dumps(code.splitlines()[use.line - 1])[1:-1]
            yield Use(path, _line_of(text, written), use.what, use.instead)


def _in_configuration(path: str, text: str) -> Iterator[Use]:
    renamed, fields = _configuration()
    try:
        loaded = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError):
        return
    # Other tools have a `lr` as well: a training configuration has several of our names.
    if not isinstance(loaded, dict) or len(loaded.keys() & (fields | renamed.keys())) < 2:
        return
    for old, now in renamed.items():
        if old in loaded:
            yield Use(path, _line_of(text, old), f"the field {old}", now)


SCANNERS = {
    ".py": _in_code,
    ".ipynb": _in_notebook,
    ".json": _in_configuration,
    ".yaml": _in_configuration,
    ".yml": _in_configuration,
}


def deprecated_uses(project: Path) -> list[Use]:
    """Every deprecated use in a project's code, notebooks and configuration files."""
    paths = [path for path in source_files(project) if Path(path).suffix in SCANNERS]
    return [
        use
        for path, entry in read_tree(project, paths).items()
        if entry.text is not None
        for use in SCANNERS[Path(path).suffix](path, entry.text)
    ]
