"""One exporter per format.

A new format is a function here and a row in EXPORTERS, a function and a row of `_SESSIONS` in
serving/runtime/sessions.py, and a row of FORMAT_REQUIREMENTS in bundle_files.py.

An exporter writes its artifacts and raises if it cannot; whether what it wrote computes the same as
the network is for parity.py to find out.
"""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ExportError
from .input_graph import InputGraph, prepend
from .precision import Reduction, Samples, reduce_precision
from .signature import LOGITS, ExportedNetwork, InputSignature

# protobuf cannot write a larger message
ONNX_MAX_BYTES = 2**31 - 1

# Whatever tracing raises about a network that ran a moment ago: torch.export, dynamo and the ONNX
# exporter derive from RuntimeError, the others come from user code that met a symbolic tensor.
TRACE_ERRORS = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
)

REMEDY = {
    "data": "choose with torch.where instead of `if`, or leave {format} out of export_formats",
    "operator": "replace the operation, or leave {format} out of export_formats",
    "size": "choose torchscript, pytorch or pt2 for a network of this size",
}


@dataclass(frozen=True)
class ExportJob:
    """What every exporter gets.

    Attributes:
        network: wrapped, on the CPU, in evaluation mode.
        inputs: a batch of at least 2, since a size of 1 would be taken for a constant.
        signature: names and shapes; named axes stay dynamic.
        essentials: what an artifact should tell about itself, as JSON.
        folder: where artifacts go.
        input_graph: the preprocessing that goes into an ONNX file; None for none.
        samples: to judge an ONNX file of reduced precision by; None where it keeps float32.
        reductions: what reducing did, by format; exporters add to it.
    """

    network: ExportedNetwork
    inputs: Mapping[str, Tensor]
    signature: InputSignature
    essentials: Mapping[str, Any]
    folder: Path
    input_graph: InputGraph | None = None
    samples: Samples | None = None
    reductions: dict[str, Reduction] = field(default_factory=dict)

    @property
    def args(self) -> tuple[Tensor, ...]:
        """The inputs by position."""
        return tuple(self.inputs.values())

    def essentials_json(self) -> str:
        """`essentials` as text."""
        return json.dumps(self.essentials, ensure_ascii=False)


def export_onnx(job: ExportJob) -> dict[str, Path]:
    """One ONNX file with its weights inside."""
    size = sum(math.prod(t.shape) * t.element_size() for t in _tensors(job.network))
    if size > ONNX_MAX_BYTES:
        largest = max(job.network.network.named_parameters(), key=lambda item: item[1].nbytes)[0]
        raise ExportError(
            f"onnx: the weights take {size / 1e9:.1f} GB, a single ONNX file holds "
            f"{ONNX_MAX_BYTES / 1e9:.1f}; the largest is {largest}; {REMEDY['size']}"
        )
    path = job.folder / "model.onnx"
    program = torch.onnx.export(
        _symbolic_program(job),
        input_names=job.signature.names,
        output_names=[LOGITS],
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in job.essentials.items()
        }
    )
    program.save(path, external_data=False)
    if job.samples is not None:
        job.reductions["onnx"] = reduce_precision(path, job.samples, job.signature.names)
    if job.input_graph is not None:
        prepend(path, job.input_graph)
    return {"onnx": path}


def export_torchscript(job: ExportJob) -> dict[str, Path]:
    """A trace. Tracing freezes a branch on data silently, so such a network is refused."""
    with torch.no_grad(), _RefuseReadingData():  # type: ignore[no-untyped-call]
        job.network(*job.args)
    path = job.folder / "model.torchscript.pt"
    with torch.no_grad():
        # parity.py compares with the eager network, on more shapes than check_trace would
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            job.network, job.args, check_trace=False
        )
    # through memory: torch.jit.save writes the file's own name into it
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files={"metadata.json": job.essentials_json()})
    path.write_bytes(buffer.getvalue())
    return {"torchscript": path}


def export_pytorch(job: ExportJob) -> dict[str, Path]:
    """Weights alone, as a state dict and as safetensors; sessions.py rebuilds the network."""
    from safetensors.torch import save_model

    network = job.network.network
    state_dict, safetensors = job.folder / "model.pytorch.pt", job.folder / "model.safetensors"
    torch.save(dict(network.state_dict()), state_dict)
    save_model(network, str(safetensors), {"format": "pt", "model": job.essentials_json()})
    safetensors.chmod(state_dict.stat().st_mode)  # safetensors would keep it from other users
    return {"pytorch": state_dict, "safetensors": safetensors}


def export_pt2(job: ExportJob) -> dict[str, Path]:
    """A torch.export archive."""
    path = job.folder / "model.pt2"
    torch.export.save(
        _symbolic_program(job), path, extra_files={"metadata.json": job.essentials_json()}
    )
    return {"pt2": path}


EXPORTERS: dict[str, Callable[[ExportJob], dict[str, Path]]] = {
    "onnx": export_onnx,
    "torchscript": export_torchscript,
    "pytorch": export_pytorch,
    "pt2": export_pt2,
}


def export_format(name: str, job: ExportJob) -> dict[str, Path]:
    """Write the artifacts of one format.

    Returns:
        path of each artifact, by the name under which sessions.py opens it.

    Raises:
        ExportError: naming the format, the module that failed and the remedy.
    """
    try:
        with _quiet(), _entered_modules(job.network) as entered:
            return EXPORTERS[name](job)
    except TRACE_ERRORS as error:
        where, reason = _describe(entered, job.network), _reason(error)
        remedy = REMEDY["data" if _depends_on_data(error) else "operator"].format(format=name)
        raise ExportError(f"{name}: {where} cannot be exported: {reason}; {remedy}") from error


def _symbolic_program(job: ExportJob) -> torch.export.ExportedProgram:
    """The network's graph with its named axes left open."""
    axes = {axis for tensor in job.signature.tensors for axis in tensor.shape}
    dims = {
        axis: torch.export.Dim(axis, min=1, max=job.signature.limits.get(axis))
        for axis in axes
        if isinstance(axis, str)
    }
    shapes = tuple(
        {position: dims[axis] for position, axis in enumerate(t.shape) if isinstance(axis, str)}
        for t in job.signature.tensors
    )
    with torch.no_grad():
        # *inputs is one parameter: its shapes are a tuple inside the tuple of parameters
        return torch.export.export(job.network, job.args, dynamic_shapes=(shapes,), strict=False)


class _ReadsData(RuntimeError):
    """A tensor's value decides what is computed next."""


class _RefuseReadingData(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise _ReadsData("a Python branch or number depends on the input's values")
        return func(*args, **(kwargs or {}))


def _depends_on_data(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _ReadsData) or "data-dependent" in str(seen).lower():
            return True
        seen = seen.__cause__
    return False


def _reason(error: BaseException) -> str:
    """The first line of the error that started it; exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


@contextmanager
def _entered_modules(network: nn.Module) -> Iterator[list[str]]:
    """Paths of modules whose forward has begun and not ended; an exception leaves them there."""
    entered: list[str] = []
    handles = []

    def enter(module: nn.Module, inputs: Any) -> None:
        entered.append(paths[module])

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        entered.pop()

    paths = {module: path for path, module in network.named_modules()}
    for module in paths:
        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave),
        ]
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()


def _describe(entered: list[str], network: ExportedNetwork) -> str:
    path = (entered[-1] if entered else "").removeprefix("network").removeprefix(".")
    kind = type(network.network.get_submodule(path)).__name__
    return f"{path} ({kind})" if path else kind


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


@contextmanager
def _quiet() -> Iterator[None]:
    """TorchScript's deprecation and tracer advice are for us, and parity.py answers the latter.

    The ONNX registry warns of each operator whose library is not installed; no network uses one.
    """
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is (deprecated|not supported)")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            registry.setLevel(level)
