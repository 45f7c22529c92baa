"""A source file among its neighbours: how to import it, and which of them it cannot do without."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Self

from .errors import ModelError

OWN_PACKAGE = __name__.partition(".")[0]
INIT = "__init__.py"


@dataclass(frozen=True)
class SourceFile:
    """Python code that is not installed.

    Attributes:
        file: where it lies.
        root: folder from which its imports count.
        name: of its module, dotted, as seen from there.
    """

    file: Path
    root: Path
    name: str

    @classmethod
    def of(cls, file: Path, name: str = "") -> Self:
        """A file in its package, or beside its neighbours where it is in none.

        Args:
            file: a file that exists.
            name: of its module, where that is known.

        Raises:
            ModelError: it is no Python.
        """
        names = name.split(".") if name else []
        folder = file.parent if file.name != INIT else file.parent.parent
        if names:
            return cls(file, folder.joinpath(*[".."] * (len(names) - 1)).resolve(), name)
        names = [file.stem if file.name != INIT else file.parent.name]
        dots = max((node.level for node in _relative_imports(parse(file))), default=0)
        # a folder without __init__.py is a package, too, to code that imports relatively
        while (folder / INIT).is_file() or len(names) <= dots:
            names.insert(0, folder.name)
            folder = folder.parent
        return cls(file, folder, ".".join(names))

    def load(self) -> ModuleType:
        """Run the file; gives a module of its own, even where it was imported before."""
        root = str(self.root)
        for name, file in self.needs().items():
            known = sys.modules.get(name)
            if known is not None and known.__file__ and Path(known.__file__).resolve() != file:
                del sys.modules[name]  # a neighbour of the same name, of another network
        sys.path.insert(0, root)
        try:
            importlib.invalidate_caches()
            if parent := self.name.rpartition(".")[0]:
                importlib.import_module(parent)
            spec = importlib.util.spec_from_file_location(self.name, self.file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            # dataclasses and pickle look modules up by name
            sys.modules.setdefault(self.name, module)
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(root)
            if root not in sys.path:
                sys.path.append(root)  # for what it imports later, behind all that is installed
        return module

    def needs(self) -> dict[str, Path]:
        """This file and the neighbours it imports, and they import: module name -> file.

        Raises:
            ModelError: one of them is no Python.
        """
        found: dict[str, Path] = {}
        waiting = [(self.name, self.file.resolve())]
        while waiting:
            name, file = waiting.pop()
            if name not in found:
                found[name] = file
                waiting += self._neighbours(name, file)
        return found

    def _neighbours(self, name: str, file: Path) -> Iterator[tuple[str, Path]]:
        package = name if file.name == INIT else name.rpartition(".")[0]
        for module in imported_modules(parse(file), package):
            if (path := self._find(module)) is not None:
                yield module, path

    def _find(self, module: str) -> Path | None:
        """The file of a module that lies under `root`; None where there is none."""
        top = module.partition(".")[0]
        if not module or (top != self.name.partition(".")[0] and is_installed(top)):
            return None
        place = self.root.joinpath(*module.split("."))
        for file in (place / INIT, place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file.resolve()
        return None

    def distributions(self) -> dict[str, list[str]]:
        """Top-level modules that are neither Python's nor neighbours; what installs each."""
        tops: set[str] = set()
        for name, file in self.needs().items():
            package = name if file.name == INIT else name.rpartition(".")[0]
            for module in imported_modules(parse(file), package):
                top = module.partition(".")[0]
                is_here = top == self.name.partition(".")[0] or self._find(top) is not None
                # a folder without __init__.py has no file of its own
                if not is_here and not (not is_installed(top) and (self.root / top).is_dir()):
                    tops.add(top)
        return distributions_of_modules(tops) | {module: [] for module in self._missing()}

    def _missing(self) -> Iterator[str]:
        """Neighbours that are imported and not there."""
        own = self.name.partition(".")[0]
        for name, file in self.needs().items():
            package = name if file.name == INIT else name.rpartition(".")[0]
            for module in _imported_from(parse(file), package):
                is_there = self._find(module) or self.root.joinpath(*module.split(".")).is_dir()
                if module.partition(".")[0] == own and not is_there:
                    yield module


def parse(file: Path) -> ast.Module:
    """The code of a file.

    Raises:
        ModelError: it is no Python.
    """
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise ModelError(f"model: {file}{line} is not Python: {error.msg}") from error
    except ValueError as error:
        raise ModelError(f"model: {file} is not Python: {error}") from error


def _relative_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node


def _imported_from(tree: ast.Module, package: str) -> Iterator[str]:
    """As `imported_modules`, but for names that need be no modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _base(node, package)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The full name of what stands behind `from`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def imported_modules(tree: ast.Module, package: str = "") -> Iterator[str]:
    """Full names of what is imported, anywhere in a file: modules, and what may be one.

    Args:
        tree: of the file.
        package: in which it lies, from which relative imports count.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _known_distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def is_installed(top: str) -> bool:
    """Whether a top-level module is Python's own or of a distribution that others can install."""
    if top == OWN_PACKAGE:
        return False
    return top in sys.stdlib_module_names or top in _known_distributions()


def distributions_of_modules(tops: set[str]) -> dict[str, list[str]]:
    """What brings each top-level module that is not Python's own; nothing where nobody does."""
    known = _known_distributions()
    return {name: known.get(name, []) for name in sorted(tops - sys.stdlib_module_names)}
