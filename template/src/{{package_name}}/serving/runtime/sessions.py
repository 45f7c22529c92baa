"""Open an artifact, whatever format it is in, and run it on arrays.

Needs numpy, and what the format needs: onnxruntime, or torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .caching import CachedSequence, cached_file, caching, empty_cache
from .cores import available_cores
from .integrity import METADATA, BundleError, file_hash, read_metadata

# onnxruntime reports home by default since 1.29, and only listens before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

LOGITS = "logits"
# behind the name of an ONNX file: that of its weights where they are too large for one file
EXTERNAL = ".data"
TASK_FILE = "configs/task_spec.json"

Array: TypeAlias = npt.NDArray[Any]


class Session(Protocol):
    """An opened artifact."""

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Logits [B, ...], float32, for inputs with a leading batch axis."""

    def sequence(self) -> CachedSequence | None:
        """A text without tokens, to be extended; None where the artifact keeps no cache."""


AUTO, CPU, CUDA = "auto", "cpu", "cuda"
CPU_PROVIDER = "CPUExecutionProvider"
# what runs on the GPUs for which GPU_REQUIREMENTS installs the libraries
NVIDIA_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
# products of 10 bits are too coarse for what the stored example may be off
PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
# it asks a service elsewhere
NO_DEVICES = {"azure"}
GPU_REQUIREMENTS = "requirements-gpu.txt"

log = logging.getLogger(__name__)

# what `run` raises for shapes a graph refuses; the sessions below turn the rest into RuntimeError
RUN_ERRORS = (RuntimeError, TypeError, ValueError, AssertionError, LookupError)


def open_session(
    bundle: Path, format: str | None = None, threads: int | None = None, device: str = AUTO
) -> Session:
    """Open an artifact, after comparing its files with their recorded hashes.

    Args:
        bundle: its folder.
        format: name of the artifact; the bundle's first by default.
        threads: how many one run may use; as many as this process has cores by default.
        device: where it runs: `cuda`, `cpu`, or what else the installed onnxruntime has, such as
            `tensorrt`, `coreml`, `openvino` or `directml`; `auto` is CUDA where that works, and
            the CPU elsewhere.

    Raises:
        BundleError: no such artifact, changed files, a library that is not installed, a device
            that is not there, or an artifact that this machine cannot load.
    """
    metadata = read_metadata(bundle)
    artifacts = metadata["artifacts"]
    name = format or next(iter(artifacts))
    if name not in artifacts:
        raise BundleError(f"this bundle has no {name}; it has {', '.join(artifacts)}")
    if name not in _SESSIONS:
        raise BundleError(f"{name} is no format that can be opened: {', '.join(_SESSIONS)} are")
    for file in _files_to_load(name, metadata):
        path = bundle / file
        if not path.is_file():
            raise BundleError(f"{file} is missing")
        if file not in metadata["files"]:
            raise BundleError(f"{METADATA} records no hash of {file}; it is not loaded")
        if file_hash(path) != metadata["files"][file]["sha256"]:
            raise BundleError(f"{file} has changed; it is not loaded")
    # a bundle holds what was recorded, and no __pycache__ beside it
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return _SESSIONS[name](bundle, metadata, threads, device)
    except ImportError as error:
        raise BundleError(f"{name} needs {error.name}: {error}") from error
    finally:
        sys.dont_write_bytecode = before


def inputs_of(metadata: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Tensors that an artifact takes: those of the network, or samples that it preprocesses."""
    inputs: list[dict[str, Any]] = metadata["artifact_inputs"].get(name, metadata["inputs"])
    return inputs


def _files_to_load(name: str, metadata: Mapping[str, Any]) -> list[str]:
    files = [metadata["artifacts"][name]]
    if (weights := f"{files[0]}{EXTERNAL}") in metadata["files"]:
        files.append(weights)
    if cached := cached_file(metadata, name):
        files.append(cached)
    if name in ("pytorch", "safetensors"):
        files += _sources(metadata["architecture"])
        if metadata["architecture"].get("task"):
            files.append(TASK_FILE)
    return files


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own errors derive from Exception directly."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
        RuntimeError,
        ValueError,
    )


def _device_of(provider: str) -> str:
    """What a provider of onnxruntime is called here."""
    name = provider.removesuffix("ExecutionProvider").lower()
    return {"dml": "directml"}.get(name, name)


def _release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


class _OnnxSession:
    def __init__(
        self, bundle: Path, metadata: Mapping[str, Any], threads: int | None, device: str
    ) -> None:
        import onnxruntime

        self._errors = onnxruntime_errors()
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads or available_cores()
        self._options.log_severity_level = 3
        # threads that spin between two runs take the cores from what prepares the next
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._bundle, self._metadata = bundle, metadata
        self._provider = self._provider_of(device)
        try:
            self._session = self._open(metadata["artifacts"]["onnx"])
        except BundleError as error:
            if device != AUTO or self._provider == CPU_PROVIDER:
                raise
            log.warning("%s; the CPU is used instead", error)
            self._provider = CPU_PROVIDER
            self._session = self._open(metadata["artifacts"]["onnx"])
        self._cached: Any = None
        self._opening = threading.Lock()

    @staticmethod
    def _provider_of(device: str) -> str:
        import onnxruntime

        names: list[str] = onnxruntime.get_available_providers()
        found = {_device_of(name): name for name in names}
        if device == AUTO:
            return found.get(CUDA, CPU_PROVIDER)
        if device not in found:
            remedy = f"; pip install -r {GPU_REQUIREMENTS}" if device == CUDA else ""
            there = ", ".join(sorted(set(found) - NO_DEVICES))
            raise BundleError(f"the onnxruntime here has no {device}, but {there}{remedy}")
        return found[device]

    def _open(self, file: str) -> Any:
        import onnxruntime

        self._refuse_older(file, onnxruntime.__version__)
        provider, device = self._provider, _device_of(self._provider)
        # the library says on standard output, where answers go, why a device does not start
        with redirect_stdout(sys.stderr):
            if provider in NVIDIA_PROVIDERS and hasattr(onnxruntime, "preload_dlls"):  # since 1.21
                onnxruntime.preload_dlls()
            try:
                session = onnxruntime.InferenceSession(
                    self._bundle / file,
                    self._options,
                    providers=[
                        (name, PROVIDER_OPTIONS.get(name, {}))
                        for name in dict.fromkeys((provider, CPU_PROVIDER))
                    ],
                    enable_fallback=0,
                )
            except self._errors as error:
                raise BundleError(f"{file} cannot be loaded on {device}: {error}") from error
        # it goes on without a provider that does not start
        if provider not in session.get_providers():
            raise BundleError(
                f"{device} does not start here: its driver or its libraries are missing, or are of "
                "other versions than this onnxruntime wants"
            )
        return session

    def _refuse_older(self, file: str, version: str) -> None:
        """An onnxruntime that cannot read the file, or would compute something else in silence."""
        # bundles of earlier versions do not say it
        oldest = self._metadata.get("oldest_onnxruntime")
        if oldest is not None and _release(version) < _release(oldest):
            raise BundleError(f"{file} needs onnxruntime {oldest} or newer; this is {version}")

    def run(self, inputs: Mapping[str, Array]) -> Array:
        logits: Array = self._run(self._session, [LOGITS], dict(inputs))[0]
        return logits

    def _run(self, session: Any, outputs: list[str] | None, inputs: dict[str, Array]) -> Any:
        try:
            return session.run(outputs, inputs)
        except self._errors as error:
            raise RuntimeError(str(error)) from error

    def sequence(self) -> CachedSequence | None:
        file = cached_file(self._metadata, "onnx")
        if file is None:
            return None
        with self._opening:  # by whoever needs it first
            if self._cached is None:
                self._cached = self._open(file)
        session = self._cached
        names = [tensor.name for tensor in session.get_inputs()]

        def extend(input_ids: Array, cache: list[Array]) -> tuple[Array, list[Array]]:
            inputs = dict(zip(names, (input_ids, *cache), strict=True))
            logits, *grown = self._run(session, None, inputs)
            return logits, grown

        return CachedSequence(extend, empty_cache(self._metadata))


@dataclass(frozen=True)
class _TorchNetwork:
    """What torch has loaded, on the device it was loaded for.

    Attributes:
        forward: gives logits for tensors.
        forward_cached: token ids and a cache in, logits and the grown cache out; None for none.
        empty: tensors of a cache of one text and no position.
    """

    forward: Callable[[list[Any]], Any]
    forward_cached: Callable[[Any, list[Any]], tuple[Any, Sequence[Any]]] | None = None
    empty: Sequence[Array] = ()


class _TorchSession:
    """Runs a network on arrays, wherever it is."""

    def __init__(self, network: _TorchNetwork, device: str) -> None:
        import torch

        self._torch = torch
        self._network = network
        self._device = device
        self._empty = [self._tensor(array) for array in network.empty]

    def _tensor(self, array: Array) -> Any:
        return self._torch.from_numpy(array).to(self._device)

    def run(self, inputs: Mapping[str, Array]) -> Array:
        with self._torch.inference_mode():
            logits = self._network.forward([self._tensor(array) for array in inputs.values()])
        array: Array = logits.float().cpu().numpy()
        return array

    def sequence(self) -> CachedSequence | None:
        forward_cached = self._network.forward_cached
        if forward_cached is None:
            return None

        def extend(input_ids: Array, cache: list[Any]) -> tuple[Array, list[Any]]:
            ids = self._tensor(np.ascontiguousarray(input_ids))
            with self._torch.inference_mode():
                logits, grown = forward_cached(ids, cache)
            return logits.float().cpu().numpy(), list(grown)

        return CachedSequence(extend, self._empty)


_Load: TypeAlias = Callable[[Path, Mapping[str, Any], str], _TorchNetwork]


def _open_torch(
    name: str,
    load: _Load,
    bundle: Path,
    metadata: Mapping[str, Any],
    threads: int | None,
    device: str,
) -> Session:
    import torch

    # without a number, fewer than torch has chosen where a container allows no more
    torch.set_num_threads(threads or min(torch.get_num_threads(), available_cores()))
    if _torch_device(device) == CUDA:
        # products of 10 bits are too coarse for what the stored example may be off
        torch.backends.cudnn.allow_tf32 = False
        session = _TorchSession(load(bundle, metadata, CUDA), CUDA)
        try:
            session.run(_some_inputs(metadata))
            return session
        except RUN_ERRORS as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            problem = f"{name} does not run on {CUDA}: {reason[0]}"
        if device != AUTO:
            raise BundleError(f"{problem}; graphs may hold tensors of the CPU: try another format")
        log.warning("%s; the CPU is used instead", problem)
    return _TorchSession(load(bundle, metadata, CPU), CPU)


def _torch_device(device: str) -> str:
    import torch

    if device not in (AUTO, CPU, CUDA):
        raise BundleError(f"torch runs on {CPU} and {CUDA} here, and not on {device}")
    if device == CPU or torch.cuda.is_available():
        return CPU if device == CPU else CUDA
    if device == CUDA:
        raise BundleError(
            f"torch {torch.__version__} has no {CUDA} here, but {CPU}: it needs a driver for the "
            "GPU, and a build of torch for CUDA"
        )
    return CPU


def _load_torchscript(bundle: Path, metadata: Mapping[str, Any], device: str) -> _TorchNetwork:
    import torch

    path = metadata["artifacts"]["torchscript"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is (deprecated|not supported)")
        try:
            network = torch.jit.load(bundle / path, device)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BundleError(f"{path} cannot be loaded: {error}") from error
    network.eval()
    if cached_file(metadata, "torchscript") is None:
        return _TorchNetwork(lambda tensors: network(*tensors))

    def forward_cached(input_ids: Any, cache: list[Any]) -> tuple[Any, Sequence[Any]]:
        logits, *grown = network.forward_cached(input_ids, *cache)
        return logits, grown

    return _TorchNetwork(lambda tensors: network(*tensors), forward_cached, empty_cache(metadata))


def _load_pt2(bundle: Path, metadata: Mapping[str, Any], device: str) -> _TorchNetwork:
    import torch
    from torch.export.passes import move_to_device_pass

    path = metadata["artifacts"]["pt2"]
    try:
        program = torch.export.load(bundle / path)
        network = (program if device == CPU else move_to_device_pass(program, device)).module()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise BundleError(f"{path} cannot be loaded: {error}") from error
    return _TorchNetwork(lambda tensors: network(*tensors))


def _load_state_dict(bundle: Path, metadata: Mapping[str, Any], device: str) -> _TorchNetwork:
    from .weights import read_state_dict

    path = bundle / metadata["artifacts"]["pytorch"]
    return _load_network(bundle, "pytorch", lambda: read_state_dict(path), metadata, device)


def _load_safetensors(bundle: Path, metadata: Mapping[str, Any], device: str) -> _TorchNetwork:
    from .weights import read_safetensors

    path = bundle / metadata["artifacts"]["safetensors"]
    return _load_network(bundle, "safetensors", lambda: read_safetensors(path), metadata, device)


def _load_network(
    bundle: Path,
    name: str,
    read: Callable[[], Mapping[str, Any]],
    metadata: Mapping[str, Any],
    device: str,
) -> _TorchNetwork:
    import torch

    from .weights import load_weights, plain, take_precision, uncompiled

    network = plain(_build_network(bundle, metadata["architecture"]))
    call, names = metadata["architecture"]["call"], [spec["name"] for spec in metadata["inputs"]]
    standardisation = metadata.get("standardisation")
    if standardisation is not None:  # the other formats have it in their graphs
        mean, std = (torch.tensor(standardisation[name]) for name in ("mean", "std"))

    def forward(tensors: list[Any]) -> Any:
        batch = dict(zip(names, tensors, strict=True))
        with uncompiled():
            output = network(
                *(batch[name] for name in call["args"]),
                **{key: batch[name] for key, name in call["kwargs"].items()},
            )
        for key in call[LOGITS]:
            by_key = isinstance(output, Mapping) or isinstance(key, int)
            output = output[key] if by_key else getattr(output, key)
        if standardisation is None:
            return output
        return output.float() * std.to(output.device) + mean.to(output.device)

    def call_once() -> None:
        forward([torch.from_numpy(array) for array in _some_inputs(metadata).values()])

    try:
        weights = read()
        take_precision(network, weights)
        load_weights(network, weights, call_once)
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"the weights do not fit what {metadata['architecture']['name']} builds: {error}"
        ) from error
    network.eval().to(device)
    if cached_file(metadata, name) is None:
        return _TorchNetwork(forward)
    goes_on = caching(network)
    assert goes_on is not None  # or it had not been recorded

    def forward_cached(input_ids: Any, cache: list[Any]) -> tuple[Any, Sequence[Any]]:
        with uncompiled():
            return goes_on.forward_cached(input_ids, cache)

    return _TorchNetwork(forward, forward_cached, empty_cache(metadata))


def _sources(architecture: Mapping[str, Any]) -> list[str]:
    """Files of code, of which bundles of earlier versions have one at most."""
    source = architecture["source"]
    files: list[str] = architecture.get("sources", [source] if source else [])
    return files


def _some_inputs(metadata: Mapping[str, Any]) -> dict[str, Array]:
    """A batch that the network takes, whatever it makes of it."""
    limits = metadata["limits"]
    return {
        spec["name"]: np.ones(
            [min(2, limits.get(n, 2)) if isinstance(n, str) else n for n in spec["shape"]],
            spec["dtype"],
        )
        for spec in metadata["inputs"]
    }


def _build_network(bundle: Path, architecture: Mapping[str, Any]) -> Any:
    """The network with fresh weights."""
    place = architecture["source"] or architecture["module"]
    try:
        if architecture["source"]:
            module = _run_source(bundle, architecture)
        else:
            module = importlib.import_module(place)
        builder = getattr(module, architecture["name"])
        if architecture.get("config") is not None:
            return builder(builder.config_class.from_dict(architecture["config"]))
        task = dict.fromkeys(architecture.get("task", []), _RecordedTask.of(bundle))
        return builder(**architecture["kwargs"], **task)
    except ImportError as error:
        raise BundleError(f"{place} does not stand alone: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, NameError, OSError) as error:
        raise BundleError(f"{place} does not build {architecture['name']}: {error}") from error


def _run_source(bundle: Path, architecture: Mapping[str, Any]) -> ModuleType:
    """The module of a network's code; its neighbours come from the bundle, not from elsewhere."""
    file = bundle / architecture["source"]
    root = architecture.get("root")
    name = architecture["module"] if root else "bundle_model"
    hidden: dict[str, ModuleType] = {}
    if root:
        folder = str((bundle / root).resolve())
        sys.path.insert(0, folder)
        names = {_module_name(source, root) for source in architecture["sources"]}
        # where the project itself runs this code, it has imported its own
        hidden = {key: sys.modules.pop(key) for key in names if key in sys.modules}
    try:
        if parent := name.rpartition(".")[0]:
            importlib.import_module(parent)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        if hidden:
            sys.path.remove(folder)
            for key in names:
                sys.modules.pop(key, None)
            sys.modules.update(hidden)
    return module


def _module_name(source: str, root: str) -> str:
    parts = Path(source).relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _RecordedTask(SimpleNamespace):
    """The task as a network's code is given it: what configs/task_spec.json holds."""

    @classmethod
    def of(cls, bundle: Path) -> _RecordedTask | None:
        path = bundle / TASK_FILE
        if not path.is_file():
            return None
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    @property
    def num_outputs(self) -> int:
        return int(self.output_schema["num_outputs"])

    @property
    def class_names(self) -> list[str]:
        return list(self.output_schema.get("class_names", []))

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


_SESSIONS: dict[str, Callable[[Path, Mapping[str, Any], int | None, str], Session]] = {
    "onnx": _OnnxSession,
    "torchscript": partial(_open_torch, "torchscript", _load_torchscript),
    "pytorch": partial(_open_torch, "pytorch", _load_state_dict),
    "safetensors": partial(_open_torch, "safetensors", _load_safetensors),
    "pt2": partial(_open_torch, "pt2", _load_pt2),
}
