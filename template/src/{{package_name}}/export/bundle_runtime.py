"""A bundle's own code in this process: what is measured and compared is what will be shipped."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

_numbers = count()


def load_runtime(bundle: Path) -> ModuleType:
    """The bundle's `runtime` package, under a name of its own: bundles are not mixed up.

    Args:
        bundle: its folder, in which nothing is written.
    """
    folder = bundle / "runtime"
    spec = importlib.util.spec_from_file_location(
        f"bundle_runtime_{next(_numbers)}",
        folder / "__init__.py",
        submodule_search_locations=[str(folder)],
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # its relative imports find it there
    sys.modules[spec.name] = module
    with _no_bytecode():
        spec.loader.exec_module(module)
    return module


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """A bundle holds what was recorded, and no __pycache__ beside it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
