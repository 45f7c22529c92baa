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
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ExportError
from ..serving.runtime.caching import CACHED
from ..serving.runtime.weights import write_safetensors
from .attention import with_four_axes
from .caching import LENGTH, CachedNetwork, share_weights
from .input_graph import InputGraph, prepend
from .metadata import artifact_files
from .reading_data import RefuseReadingData
from .signature import LOGITS, ExportedNetwork, InputSignature
from .untraceable import Untraceable, entered_modules

if TYPE_CHECKING:
    from .precision import Reduction, Samples

# protobuf writes no message of 2 GiB; the graph beside the weights needs its share
ONNX_MAX_BYTES = 2**31 - 2**26
CACHED_ONNX = "model.cached.onnx"

Result = TypeVar("Result")

TALKATIVE = (
    "torch.onnx._internal.exporter._registration",
    "torch.fx.experimental.symbolic_shapes",
    "torch.fx.experimental.proxy_tensor",
)

REMEDY = {
    "data": "choose with torch.where instead of `if`, or leave {format} out of export_formats",
    "operator": "replace the operation, or leave {format} out of export_formats",
    "size": "compute it from the inputs' shapes, or leave {format} out of export_formats",
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
        cached: the network with its key-value cache, or why it has none.
        cached_files: where the cache is used, by artifact; exporters add to it.
        uncached: why an artifact goes without where the network has one; exporters add to it.
    """

    network: ExportedNetwork
    inputs: Mapping[str, Tensor]
    signature: InputSignature
    essentials: Mapping[str, Any]
    folder: Path
    input_graph: InputGraph | None = None
    samples: Samples | None = None
    reductions: dict[str, Reduction] = field(default_factory=dict)
    cached: CachedNetwork | str = "the network keeps no cache"
    cached_files: dict[str, Path] = field(default_factory=dict)
    uncached: dict[str, str] = field(default_factory=dict)

    @property
    def args(self) -> tuple[Tensor, ...]:
        """The inputs by position."""
        return tuple(self.inputs.values())

    @property
    def program(self) -> torch.export.ExportedProgram:
        """The network's graph, traced once for all formats that hold it.

        Raises:
            Untraceable: it cannot be; the second time at once.
        """
        if isinstance(self._traced, Untraceable):
            raise self._traced
        return self._traced

    @cached_property
    def _traced(self) -> torch.export.ExportedProgram | Untraceable:
        with entered_modules(self.network) as entered:
            try:
                return _symbolic_program(self)
            except Exception as error:  # as in export_format
                return Untraceable.of(error, entered, self.network)

    def why_uncached(self, name: str) -> str:
        """Why an artifact keeps no cache."""
        return self.cached if isinstance(self.cached, str) else self.uncached[name]

    def essentials_json(self) -> str:
        """`essentials` as text."""
        return json.dumps(self.essentials, ensure_ascii=False)


def export_onnx(job: ExportJob) -> dict[str, Path]:
    """One ONNX file with its weights inside, or beside it where they are too large for one."""
    import onnx_ir

    size = sum(math.prod(t.shape) * t.element_size() for t in _tensors(job.network))
    path = job.folder / "model.onnx"
    program = _onnx_program(job.program, job.signature.names, [LOGITS])
    for value, tensor in zip(program.model.graph.inputs, job.signature.tensors, strict=True):
        value.shape = onnx_ir.Shape(tensor.shape)  # the tracer's names of open axes are s53 and s77
    program.model.metadata_props.update(_properties(job))
    program.save(path, external_data=size > ONNX_MAX_BYTES)
    if job.samples is not None:
        from .precision import reduce_precision  # with Lightning, which takes long to import

        job.reductions["onnx"] = reduce_precision(path, job.samples, job.signature.names)
    if job.input_graph is not None:
        prepend(path, job.input_graph)
    _check_onnx(path)
    if isinstance(job.cached, CachedNetwork):
        target = path.with_name(CACHED_ONNX)
        _try_cached(
            "onnx", job, target, lambda cached: _export_cached_onnx(cached, path, target, job)
        )
    return {"onnx": path}


def _onnx_program(
    program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str]
) -> Any:
    exported = torch.onnx.export(
        with_four_axes(program),
        input_names=inputs,
        output_names=outputs,
        external_data=False,
        verbose=False,
        optimize=False,
    )
    assert exported is not None
    _simplify(exported.model)
    return exported


def _properties(job: ExportJob) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in job.essentials.items()
    }


def _check_onnx(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            f"onnx: the file breaks the standard: {str(error).splitlines()[0]}; "
            + REMEDY["operator"].format(format="onnx")
        ) from error


def _export_cached_onnx(cached: CachedNetwork, path: Path, target: Path, job: ExportJob) -> None:
    """The graph with a cache, beside the file that holds the weights."""
    import onnx_ir

    if job.samples is not None:
        # int8 has the range of all tokens of a run, and float16 rounds by their number
        raise ExportError("in fewer bits answers depend on what is computed together")
    names = [spec.name for spec in cached.tensors]
    grown = [f"grown.{name}" for name in names]
    program = _onnx_program(cached.traced(), [job.signature.names[0], *names], [LOGITS, *grown])
    model = program.model
    for value, shape in zip(model.graph.inputs, cached.input_shapes(), strict=True):
        value.shape = onnx_ir.Shape(shape)
    for value, spec in zip(model.graph.outputs[1:], cached.tensors, strict=True):
        grown_by: dict[int | str, int | str] = {CACHED: f"{CACHED} + {LENGTH}"}
        value.shape = onnx_ir.Shape([grown_by.get(size, size) for size in spec.shape])
    model.metadata_props.update(_properties(job))
    share_weights(model, artifact_files(path)[-1])  # where the weights lie
    onnx_ir.save(model, target)
    _check_onnx(target)


def _try_cached(
    name: str, job: ExportJob, file: Path, export: Callable[[CachedNetwork], Result]
) -> Result | None:
    """Give a format the cache, in `file`; without it the format is complete, too, and says why."""
    assert isinstance(job.cached, CachedNetwork)
    try:
        result = export(job.cached)
    except ExportError as error:
        job.uncached[name] = str(error)
    # as in export_format
    except Exception as error:
        job.uncached[name] = next(iter(str(error).strip().splitlines()), type(error).__name__)
    else:
        job.cached_files[name] = file
        return result
    file.unlink(missing_ok=True)  # half of it
    return None


def _simplify(model: Any) -> None:
    """Compute what is constant, keep what is equal once, and leave out notes about the origin.

    The exporter's own optimiser also holds every node against rules for rewriting, which takes
    longer than all else together on large networks; runtimes do the like when they load a file.
    """
    import onnx_ir
    from onnx_ir.passes import common as passes
    from onnxscript.optimizer import fold_constants

    fold_constants(model)
    onnx_ir.passes.Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
        # where in which file each node comes from, with this machine's folders
        passes.ClearMetadataAndDocStringPass(),
    )(model)


def export_torchscript(job: ExportJob) -> dict[str, Path]:
    """A trace. Tracing freezes a branch on data silently, so such a network is refused."""
    path = job.folder / "model.torchscript.pt"
    # thrown away, since what watches also keeps the tracer from seeing the parts of operations
    with torch.no_grad(), RefuseReadingData(job.args):
        torch.jit.trace(job.network, job.args, check_trace=False)  # type: ignore[no-untyped-call]
    traced = None
    if isinstance(job.cached, CachedNetwork):
        traced = _try_cached(
            "torchscript", job, path, lambda cached: _trace(job, forward_cached=cached.example())
        )
    traced = traced or _trace(job)
    # through memory: torch.jit.save writes the file's own name into it
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files={"metadata.json": job.essentials_json()})
    path.write_bytes(buffer.getvalue())
    return {"torchscript": path}


def _trace(job: ExportJob, **methods: tuple[Tensor, ...]) -> Any:
    """The network's `forward`, and more methods with the inputs to trace them with."""
    with torch.no_grad():
        # parity.py compares with the eager network, on more shapes than check_trace would
        return torch.jit.trace_module(  # type: ignore[no-untyped-call]
            job.network, {"forward": job.args, **methods}, check_trace=False
        )


def export_pytorch(job: ExportJob) -> dict[str, Path]:
    """Weights alone, as a state dict and as safetensors; sessions.py rebuilds the network."""
    weights = job.network.network.state_dict()
    state_dict, safetensors = job.folder / "model.pytorch.pt", job.folder / "model.safetensors"
    torch.save(weights, state_dict)
    objects = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if objects:
        raise ExportError(
            f"pytorch: {objects[0]} is no tensor, and files of weights hold nothing else; let "
            "get_extra_state return a tensor, or leave pytorch out of export_formats"
        )
    write_safetensors(weights, safetensors, {"format": "pt", "model": job.essentials_json()})
    safetensors.chmod(state_dict.stat().st_mode)  # safetensors would keep it from other users
    if isinstance(job.cached, CachedNetwork):  # the network itself does it
        job.cached_files.update(pytorch=state_dict, safetensors=safetensors)
    return {"pytorch": state_dict, "safetensors": safetensors}


def export_pt2(job: ExportJob) -> dict[str, Path]:
    """A torch.export archive."""
    path = job.folder / "model.pt2"
    for module in job.program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # which has this machine's folders
    job.uncached["pt2"] = "the format holds one graph"
    torch.export.save(job.program, path, extra_files={"metadata.json": job.essentials_json()})
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
    with _quiet(), entered_modules(job.network) as entered:
        try:
            return EXPORTERS[name](job)
        except (ExportError, OSError):
            raise
        except Untraceable as error:
            found = error
        # tracers run code of others with stand-ins for tensors: it may raise whatever it likes
        except Exception as error:
            found = Untraceable.of(error, entered, job.network)
    raise ExportError(
        f"{name}: {found}; {REMEDY[found.remedy].format(format=name)}"
        f"{job.signature.advice() if found.remedy == 'size' else ''}"
    ) from found.__cause__


def _symbolic_program(job: ExportJob) -> torch.export.ExportedProgram:
    """The network's graph with its named axes left open."""
    axes = {axis for tensor in job.signature.tensors for axis in tensor.shape}
    dims = {
        axis: torch.export.Dim(axis, min=1, max=job.signature.limits.get(axis))
        # sizes too small for the network, whichever those are, need not be taken
        if axis not in job.signature.opened_by
        else torch.export.Dim.DYNAMIC
        for axis in axes
        if isinstance(axis, str)
    }
    shapes = tuple(
        {position: dims[axis] for position, axis in enumerate(t.shape) if isinstance(axis, str)}
        for t in job.signature.tensors
    )
    # torch.export prints its graph, pages of it, where it ends early
    with torch.no_grad(), redirect_stderr(io.StringIO()):
        # *inputs is one parameter: its shapes are a tuple inside the tuple of parameters
        return torch.export.export(job.network, job.args, dynamic_shapes=(shapes,), strict=False)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


@contextmanager
def _quiet() -> Iterator[None]:
    """What exporters say on their way is in the one line of a failure, or for parity.py to answer.

    The ONNX registry warns of each operator whose library is not installed; no network uses one.
    """
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is (deprecated|not supported)")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
