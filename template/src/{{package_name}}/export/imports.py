"""Which distributions a source file needs to be installed."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

from ..architecture import Architecture
from ..errors import ExportError

REMEDY = "write the network in one file, or leave pytorch out of export_formats"


def distributions_of_file(path: Path) -> list[str]:
    """Distributions that a file of this project imports; its own package is none."""
    return [known[0] for known in _distributions(_absolute(_parse(path))).values() if known]


def distributions_of_network(architecture: Architecture, own_package: str) -> list[str]:
    """Distributions to install before the network can be built elsewhere.

    Args:
        architecture: where the network comes from.
        own_package: this project's package, which a bundle does not carry.

    Raises:
        ExportError: the source imports something that no package index has.
    """
    modules = {architecture.module.partition(".")[0]}
    if architecture.file is not None:
        tree = _parse(architecture.file)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                raise ExportError(
                    f"pytorch: {architecture.file.name} imports from its own package (line "
                    f"{node.lineno}), which the bundle does not carry; {REMEDY}"
                )
        modules = set(_absolute(tree))
    found = _distributions(modules)
    for module, known in found.items():
        if module == own_package or not known:
            raise ExportError(
                f"pytorch: {architecture.file or architecture.module} imports {module}, which the "
                f"bundle does not carry; {REMEDY}"
            )
    return sorted({known[0] for known in found.values()})


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _absolute(tree: ast.Module) -> Iterator[str]:
    """Top-level modules that are imported, anywhere in the file, by their full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def _distributions(modules: Iterator[str] | set[str]) -> dict[str, list[str]]:
    """What brings each module that is not Python's own; nothing where nobody does."""
    known = importlib.metadata.packages_distributions()
    return {name: known.get(name, []) for name in sorted(set(modules) - sys.stdlib_module_names)}
