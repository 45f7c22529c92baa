"""Where the network comes from: model.py, a library, or a file of the user's.

An `Architecture` is data. It goes into the checkpoint's bundle, where `runtime/sessions.py` builds
the same network from it again for the `pytorch` format.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from . import model as builtin
from .errors import ModelError
from .task import TaskSpec


@dataclass(frozen=True)
class Architecture:
    """How to build a network.

    Attributes:
        module: a dotted module name, or empty where `file` holds the code.
        name: the function or class in it.
        kwargs: what it is called with; JSON-ready.
        file: source file that must travel with the weights; None for an installed library.
    """

    module: str
    name: str
    kwargs: dict[str, Any]
    file: Path | None = None

    @classmethod
    def resolve(cls, reference: str, task_spec: TaskSpec) -> Architecture:
        """Look a `model` setting up.

        Args:
            reference: `builtin`, `LIBRARY:NAME` or `PATH.py:NAME`.
            task_spec: offers the arguments; a builder gets those that its signature names, and
                `num_classes` where it takes any keyword.

        Raises:
            ModelError: nothing there by that name, or it asks for arguments nobody has.
        """
        if reference == "builtin":
            reference = f"{builtin.__file__}:build_model"
        place, _, name = reference.rpartition(":")
        if not place or not name:
            raise ModelError(
                f"model: {reference!r} names no network; give builtin, LIBRARY:NAME or PATH.py:NAME"
            )
        file = Path(place).resolve() if place.endswith(".py") else None
        module = "" if file else _home(place, name)
        unfit = cls(module, name, {}, file)
        return cls(module, name, _arguments(unfit.builder(), reference, task_spec), file)

    def builder(self) -> Callable[..., nn.Module]:
        """The function or class.

        Raises:
            ModelError: no such file, module or name.
        """
        module = _load(self.file) if self.file else _import(self.module)
        if not callable(builder := vars(module).get(self.name)):
            place = self.file or self.module
            raise ModelError(f"model: {place} has no function or class {self.name!r}")
        found: Callable[..., nn.Module] = builder
        return found

    def build(self) -> nn.Module:
        """The network with fresh weights.

        Raises:
            ModelError: as `builder`, or it built something that is no network.
        """
        network = self.builder()(**self.kwargs)
        if not isinstance(network, nn.Module):
            raise ModelError(f"model: {self.name} returned {type(network).__name__}, not a Module")
        return network


def _arguments(builder: Callable[..., Any], reference: str, task_spec: TaskSpec) -> dict[str, Any]:
    offered = {
        "task_type": task_spec.task_type,
        "num_outputs": task_spec.num_outputs,
        "num_classes": task_spec.num_outputs,
        **task_spec.input_schema,
    }
    parameters = inspect.signature(builder).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named |= {"num_classes"}
    required = {p.name for p in parameters if p.default is p.empty and p.kind in (1, 3)}
    if missing := sorted(required - set(offered)):
        raise ModelError(
            f"model: {reference} needs {', '.join(missing)}; this task offers {', '.join(offered)}"
        )
    return {name: value for name, value in offered.items() if name in named}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModelError(f"model: no module {name!r} is installed; uv add it") from error


def _home(library: str, name: str) -> str:
    """The module that has the name: the library itself, or the `models` that many have."""
    if name not in vars(_import(library)) and importlib.util.find_spec(f"{library}.models"):
        return f"{library}.models"
    return library


def _load(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"model: {file} does not exist")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)  # dataclasses and pickle look modules up by name
    spec.loader.exec_module(module)
    return module
