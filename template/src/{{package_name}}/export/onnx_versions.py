"""Which versions an ONNX file asks for: of ONNX's operators, and of onnxruntime."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reader:
    """A release of onnxruntime that reads more than those before it.

    Attributes:
        version: of the release, without its last number.
        ir: the newest IR version it reads, which is that of the file itself.
        opset: the newest version of ONNX's own operators it takes.
    """

    version: str
    ir: int
    opset: int


# By trying each with files of every version. The first is the oldest for a Python of bundles.
READERS = (
    Reader("1.15", 9, 18),
    Reader("1.16", 9, 19),
    Reader("1.17", 9, 20),
    Reader("1.18", 10, 21),
    Reader("1.21", 10, 22),
    Reader("1.23", 11, 23),
    Reader("1.24", 13, 25),
    Reader("1.25", 13, 26),
)


# Before this, products of 8-bit matrices are wrong on processors with AMX or AVX-VNNI, in rows and
# columns that hang on the shape: https://github.com/microsoft/onnxruntime/pull/27671
RIGHT_INTEGERS = "1.25"
# what makes such products, or is fused into them
INTEGER_OPERATORS = frozenset(
    (
        *("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm"),
        *("QuantizeLinear", "DynamicQuantizeLinear"),
    )
)


def onnx_opset(path: Path) -> int:
    """The version of ONNX's own operators that a file uses."""
    return _opset(_read(path))


def oldest_onnxruntime(path: Path) -> str:
    """The oldest onnxruntime that reads a file and computes what it says everywhere.

    Returns:
        a version without its last number; that of the installed one, which has read the file, where
        it is of versions newer than all that are known here.
    """
    model = _read(path)
    oldest = _oldest_reader(model)
    if any(node.op_type in INTEGER_OPERATORS for node in _nodes(model.graph)):
        return max(oldest, RIGHT_INTEGERS, key=_numbers)
    return oldest


def _oldest_reader(model: Any) -> str:
    """The oldest that reads a model, as far as its versions decide."""
    for reader in READERS:
        if model.ir_version <= reader.ir and _opset(model) <= reader.opset:
            return reader.version
    return ".".join(importlib.metadata.version("onnxruntime").split(".")[:2])


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _nodes(graph: Any) -> Iterator[Any]:
    """Those of a graph and of the graphs in its nodes, as branches are."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(path, load_external_data=False)


def _opset(model: Any) -> int:
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))
