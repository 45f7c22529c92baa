"""Which versions an ONNX file asks for: of ONNX's operators, and of onnxruntime."""

from __future__ import annotations

import importlib.metadata
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


def onnx_opset(path: Path) -> int:
    """The version of ONNX's own operators that a file uses."""
    return _opset(_read(path))


def oldest_onnxruntime(path: Path) -> str:
    """The oldest onnxruntime that reads a file, as far as its versions decide.

    Returns:
        a version without its last number; that of the installed one, which has read the file, where
        it is of versions newer than all that are known here.
    """
    model = _read(path)
    for reader in READERS:
        if model.ir_version <= reader.ir and _opset(model) <= reader.opset:
            return reader.version
    return ".".join(importlib.metadata.version("onnxruntime").split(".")[:2])


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(path, load_external_data=False)


def _opset(model: Any) -> int:
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))
