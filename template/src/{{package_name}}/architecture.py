"""Where the network comes from: model.py, a library's catalogue, or code of the user's.

An `Architecture` is data. It goes into the checkpoint's bundle, where `runtime/sessions.py` builds
the same network from it again for the `pytorch` format.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import nn

from . import model as builtin
from .catalogues import CATALOGUES, drop_path_hint
from .config import nearest
from .errors import ModelError, ProjectError
from .libraries import EXTRAS, how_to_add
from .source_files import SourceFile, is_installed
from .task import TaskSpec
from .user_code import USER_ERRORS, told

BUILTIN = "builtin"

# names under which a builder is given the whole task
TASK_NAMES = ("task_spec", "task")


@dataclass(frozen=True)
class Architecture:
    """How to build a network.

    Attributes:
        module: a dotted module name; may be empty where `file` holds the code.
        name: the function or class in it.
        kwargs: what it is called with; JSON-ready.
        file: source file that must travel with the weights; None for an installed library.
        task: the task, under those names by which the function asks for it.
        config: of a network of transformers: its configuration, of which it is built; JSON-ready.
        library: whose catalogue has it; `builtin` for model.py, empty for code of the user's.
    """

    module: str
    name: str
    kwargs: dict[str, Any]
    file: Path | None = None
    task: dict[str, TaskSpec] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    library: str = ""

    @classmethod
    def resolve(
        cls, reference: str, task_spec: TaskSpec, model_args: Mapping[str, Any] | None = None
    ) -> Architecture:
        """Look a `model` setting up.

        Args:
            reference: `builtin`, `CATALOGUE:NAME`, `PATH.py:NAME` or `PACKAGE.MODULE:NAME`.
            task_spec: offers the arguments; a builder gets those that its signature names, and
                `num_classes` where it takes any keyword.
            model_args: more arguments, which win.

        Raises:
            ModelError: nothing there by that name, or it asks for arguments nobody has.
        """
        model_args = model_args or {}
        place, _, name = (
            reference.partition(":") if _is_catalogued(reference) else _split(reference)
        )
        if reference != BUILTIN and not (place and name):
            raise ModelError(
                f"model: {reference!r} names no network; give {BUILTIN}, "
                f"{', '.join(f'{known}:NAME' for known in CATALOGUES)}, PATH.py:NAME or "
                "PACKAGE.MODULE:NAME"
            )
        if place in CATALOGUES:
            entry = CATALOGUES[place](name, task_spec, model_args)
            return cls(entry.module, entry.name, entry.kwargs, config=entry.config, library=place)
        if reference == BUILTIN:
            place, name, library = builtin.__file__, "build_model", BUILTIN
        else:
            library = ""
        unfit = _of_file(Path(place), name) if place.endswith(".py") else _of_module(place, name)
        arguments = _arguments(unfit.builder(), reference, task_spec, model_args)
        task = {key: task_spec for key in TASK_NAMES if key in arguments}
        kwargs = {key: value for key, value in arguments.items() if key not in task}
        return cls(unfit.module, name, kwargs, unfit.file, task, library=library)

    @classmethod
    def kept(cls, data: Mapping[str, Any] | None) -> Self | None:
        """Inverse of `keep`."""
        return None if data is None else cls(**data)

    def keep(self) -> dict[str, Any] | None:
        """Plain data of a library's network, so that nobody has to look it up again.

        A folder of transformers may be gone by then. None for code, which may be looked at again.
        """
        if self.library not in CATALOGUES:
            return None
        names = ("module", "name", "kwargs", "config", "library")
        return {name: getattr(self, name) for name in names}

    @property
    def source(self) -> SourceFile | None:
        """The code that must travel with the weights; None for an installed library.

        Raises:
            ModelError: it is no Python.
        """
        return None if self.file is None else SourceFile.of(self.file, self.module)

    def builder(self) -> Callable[..., nn.Module]:
        """The function or class.

        Raises:
            ModelError: no such file, module or name, or its code fails.
        """
        place = self.file or self.module
        if self.file is not None and not self.file.is_file():
            problem = "is a folder" if self.file.is_dir() else "does not exist"
            raise ModelError(f"model: {self.file} {problem}")
        try:
            module = self.source.load() if self.source else importlib.import_module(self.module)
            found = getattr(module, self.name, None)  # of a lazy module, vars() has too little
        except ModuleNotFoundError as error:
            raise ModelError(f"model: {_missing(error, place)}") from error
        except ProjectError:
            raise
        except USER_ERRORS as error:
            raise ModelError(f"model: {place} cannot be imported: {told(error)}") from error
        if isinstance(found, nn.Module):
            raise ModelError(
                f"model: {self.name} in {place} is a network, of which there is only this one; "
                "name a function that builds it, such as def build(): return "
                f"{type(found).__name__}(...)"
            )
        if not callable(found):
            known = [key for key, value in vars(module).items() if callable(value)]
            raise ModelError(
                f"model: {place} has no function or class {self.name!r}{nearest(self.name, known)}"
            )
        builder: Callable[..., nn.Module] = found
        return builder

    def build(self) -> nn.Module:
        """The network with fresh weights.

        Raises:
            ModelError: as `builder`, or it fails, or built something that is no network.
        """
        builder = self.builder()
        try:
            if self.config is not None:
                network = builder(builder.config_class.from_dict(self.config))  # type: ignore[attr-defined]
            else:
                network = builder(**self.kwargs, **self.task)
        except ProjectError:
            raise
        except USER_ERRORS as error:
            hint = drop_path_hint(self.library, str(error))
            raise ModelError(
                f"model: {self.name} builds no network: {told(error)}{hint}"
            ) from error
        if not isinstance(network, nn.Module):
            raise ModelError(f"model: {self.name} returned {type(network).__name__}, not a Module")
        return network


def _is_catalogued(reference: str) -> bool:
    return reference.partition(":")[0] in CATALOGUES


def _split(reference: str) -> tuple[str, str, str]:
    """Behind the last colon: before it may stand a drive's."""
    return reference.rpartition(":")


def _of_file(file: Path, name: str) -> Architecture:
    return Architecture("", name, {}, file.resolve())


def _of_module(module: str, name: str) -> Architecture:
    """A module that is installed, or lies in the folder in which this runs."""
    if is_installed(module.partition(".")[0]):
        return Architecture(_home(module, name), name, {})
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    finally:
        sys.path.remove(here)
    if spec is None or not spec.origin:
        raise ModelError(
            f"model: no module {module!r} is installed or lies in {here}; `uv add` it, or give its "
            "file as PATH.py:NAME"
        )
    return Architecture(module, name, {}, Path(spec.origin).resolve())


def _home(library: str, name: str) -> str:
    """The module that has the name: the library itself, or the `models` that many have."""
    try:
        found = importlib.import_module(library)
        if not hasattr(found, name) and importlib.util.find_spec(f"{library}.models"):
            return f"{library}.models"
    except ModuleNotFoundError as error:
        raise ModelError(f"model: {_missing(error, library)}") from error
    return library


def _missing(error: ModuleNotFoundError, place: object) -> str:
    name = str(error.name)
    remedy = how_to_add(name) if name in EXTRAS else "`uv add` the package that has it"
    return f"no module {name!r} is installed, which {place} needs; {remedy}"


def _arguments(
    builder: Callable[..., Any],
    reference: str,
    task_spec: TaskSpec,
    model_args: Mapping[str, Any],
) -> dict[str, Any]:
    offered: dict[str, Any] = {
        "task_type": task_spec.task_type,
        "num_outputs": task_spec.num_outputs,
        "num_classes": task_spec.num_outputs,
        "num_labels": task_spec.num_outputs,
        **task_spec.input_schema,
        **dict.fromkeys(TASK_NAMES, task_spec),
        **model_args,
    }
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except (TypeError, ValueError) as error:
        raise ModelError(f"model: {reference} does not say what it takes: {error}") from error
    if isinstance(builder, type) and getattr(builder, "__init__", None) is nn.Module.__init__:
        parameters = []  # torch's own seems to take anything
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named |= {"num_classes"} | set(model_args)
    if unknown := [name for name in model_args if name not in named]:
        raise ModelError(
            f"model_args: {reference} takes no {unknown[0]!r}{nearest(unknown[0], sorted(named))}"
        )
    required = {
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    if missing := sorted(required - set(offered)):
        raise ModelError(
            f"model: {reference} needs {', '.join(missing)}; this task offers "
            f"{', '.join(offered)}; give others as model_args"
        )
    return {name: value for name, value in offered.items() if name in named}
