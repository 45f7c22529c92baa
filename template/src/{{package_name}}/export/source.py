"""What a network's source needs besides itself."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator

from ..architecture import Architecture
from ..errors import ExportError


def imported_distributions(architecture: Architecture, own_package: str) -> list[str]:
    """Distributions to install before the network can be built elsewhere.

    Args:
        architecture: where the network comes from.
        own_package: this project's package, which a bundle does not carry.

    Raises:
        ExportError: the source imports something that no package index has.
    """
    if architecture.file is None:
        modules = {architecture.module.partition(".")[0]}
    else:
        text = architecture.file.read_text(encoding="utf-8")
        modules = set(_imports(ast.parse(text), architecture.file.name))
    known = importlib.metadata.packages_distributions()
    found = set()
    for module in sorted(modules - set(sys.stdlib_module_names)):
        if module == own_package or module not in known:
            raise ExportError(
                f"pytorch: {architecture.file or architecture.module} imports {module}, which the "
                "bundle does not carry; write the network in one file, or leave pytorch out of "
                "export_formats"
            )
        found.add(known[module][0])
    return sorted(found)


def _imports(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ExportError(
                    f"pytorch: {name} imports from its own package (line {node.lineno}), which the "
                    "bundle does not carry; write the network in one file, or leave pytorch out of "
                    "export_formats"
                )
            yield (node.module or "").partition(".")[0]
