"""What must hold for every rendered project, whatever the answers."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

# `${{ ... }}` belongs to GitHub Actions, `{{{...}}}` to Renovate, `{{.Name}}` to Docker, `{{` alone
# to f-strings.
JINJA = re.compile(
    r"(?<![${])\{\{(?!(?:json )?\.)[^{}\n]*\}\}|\{%-?.*?%\}|\{#-?.*?-?#\}", re.DOTALL
)

WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')
WINDOWS_DEVICES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")

# Where the distribution and the module it brings differ.
MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "vl-convert-python": "vl_convert",
}

# Needed without being imported by name, and why.
NEEDED_UNSEEN = {
    "onnx": "torch.onnx.export(dynamo=True) imports it",
    "onnxscript": "torch.onnx.export(dynamo=True) imports it",
    "tensorboard": "torch.utils.tensorboard imports it",
}

# A bundle's scripts import what lies beside them by its bare name.
BUNDLE_MODULES = {"inference", "preprocessing", "runtime"}

PARSERS: dict[str, Any] = {
    ".py": ast.parse,
    ".json": json.loads,
    ".ipynb": json.loads,
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),  # Kubernetes keeps several in a file
    ".yml": lambda text: list(yaml.safe_load_all(text)),
}


def _imports(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"import_module", "importlib.import_module", "find_spec"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value).partition(".")[0])
    return found


def third_party_imports(folder: Path, own: set[str]) -> set[str]:
    """Every module imported anywhere under a folder that is neither Python's nor the project's."""
    import sys

    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found |= _imports(path.read_text("utf-8"))
    return found - set(sys.stdlib_module_names) - own


def declared(pyproject: dict[str, Any]) -> dict[str, set[str]]:
    """The distributions a project declares, by group; `project` is what users install."""
    groups = {"project": pyproject["project"]["dependencies"]}
    groups |= pyproject["project"].get("optional-dependencies", {})
    groups |= {
        group: [item for item in items if isinstance(item, str)]
        for group, items in pyproject.get("dependency-groups", {}).items()
    }
    return {group: {Requirement(item).name for item in items} for group, items in groups.items()}


def module_of(distribution: str) -> str:
    return MODULES.get(distribution, distribution.replace("-", "_"))


def parse_everything(project: Path) -> None:
    """Every file whose kind has a parser parses."""
    for path in project.rglob("*"):
        if path.is_file() and path.suffix in PARSERS:
            PARSERS[path.suffix](path.read_text("utf-8"))


def leftover_jinja(project: Path) -> list[str]:
    """What still looks like Jinja, with its file."""
    return [
        f"{path.relative_to(project)}: {found}"
        for path in sorted(project.rglob("*"))
        if path.is_file()
        for found in JINJA.findall(path.read_text("utf-8"))
    ]


def portability_problems(project: Path) -> list[str]:
    """Names Windows refuses, names that differ by case only, line ends, missing final newlines."""
    problems = []
    seen: dict[str, str] = {}
    for path in sorted(project.rglob("*")):
        relative = path.relative_to(project).as_posix()
        if WINDOWS_FORBIDDEN.search(path.name) or WINDOWS_DEVICES.match(path.name):
            problems.append(f"{relative}: no name for Windows")
        if len(relative) > 140:
            problems.append(f"{relative}: too long for Windows below a user's folder")
        if other := seen.get(relative.lower()):
            problems.append(f"{relative} and {other} differ by case only")
        seen[relative.lower()] = relative
        if path.is_file():
            content = path.read_bytes()
            if b"\r" in content:
                problems.append(f"{relative}: carriage return")
            if content and not content.endswith(b"\n"):
                problems.append(f"{relative}: no newline at its end")
    return problems
