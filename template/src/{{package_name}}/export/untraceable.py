"""Where a network failed that is being exported: module, file and line, and why."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from ..user_code import innermost_place
from .reading_data import ReadsData
from .signature import ExportedNetwork


class Untraceable(Exception):
    """A network that a format cannot hold; the message names module, line and reason.

    Args:
        message: what failed.
        remedy: key of REMEDY.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    @classmethod
    def of(cls, error: Exception, entered: Sequence[str], network: ExportedNetwork) -> Self:
        """Look at an error for its place.

        Args:
            error: whatever was raised.
            entered: paths of modules that were running.
            network: whose modules they are.
        """
        first = _first_cause(error)
        node = _node_of(error)
        path = _path_of(node) if node is not None else (entered[-1] if entered else "")
        line = _line_of_node(node) if node is not None else _line_of(first)
        where = _kind(path, network) + (f" at {line}" if line else "")
        if fixed := re.search(r"Constraints violated \((.+?)\)", str(error)):
            found = cls(f"{where} fixes the size of {fixed[1]}", "size")
        else:
            reads_data = isinstance(first, ReadsData) or "data-dependent" in _texts(error)
            message = f"{where} cannot be exported: {_reason(first)}"
            found = cls(message, "data" if reads_data else "operator")
        found.__cause__ = error
        return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _first_cause(error: BaseException) -> BaseException:
    """The error that started it; exporters wrap it in pages of advice."""
    return list(_chain(error))[-1]


def _texts(error: BaseException) -> str:
    return "\n".join(str(one).lower() for one in _chain(error))


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


def _node_of(error: BaseException) -> torch.fx.Node | None:
    """The operation that an exporter was translating, where that failed."""
    for one in _chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node) and "nn_module_stack" in node.meta:
                return node
    return None


def _path_of(node: torch.fx.Node) -> str:
    path, _ = list(node.meta["nn_module_stack"].values())[-1]
    return str(path)


def _line_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return innermost_place((frame.filename, frame.lineno or 0, "") for frame in frames)


def _line_of_node(node: torch.fx.Node) -> str:
    frames = re.findall(r'File "(.+?)", line (\d+)', node.meta.get("stack_trace") or "")
    return innermost_place((file, int(number), "") for file, number in frames)


def _kind(path: str, network: ExportedNetwork) -> str:
    path = path.removeprefix("network").removeprefix(".")
    try:
        kind = type(network.network.get_submodule(path)).__name__
    except AttributeError:  # a name that a tracer has made
        return path
    return f"{path} ({kind})" if path else kind


@contextmanager
def entered_modules(network: nn.Module) -> Iterator[list[str]]:
    """Paths of modules whose forward has begun and not ended; an exception leaves them there."""
    entered: list[str] = []
    handles = []

    def enter(path: str, module: nn.Module, inputs: Any) -> None:
        entered.append(path)

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        entered.pop()

    for path, module in network.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            handles += [
                # tracers may call with a stand-in for the module, so its path goes along
                module.register_forward_pre_hook(partial(enter, path)),
                module.register_forward_hook(leave),
            ]
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()
