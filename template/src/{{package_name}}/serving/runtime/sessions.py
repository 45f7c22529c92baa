"""Open an artifact, whatever format it is in, and run it on arrays.

Needs numpy, and what the format needs: onnxruntime, or torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

from .integrity import BundleError, file_hash, read_metadata

# onnxruntime reports home by default since 1.29, and only listens before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

LOGITS = "logits"

Array: TypeAlias = npt.NDArray[Any]


class Session(Protocol):
    """An opened artifact."""

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Logits [B, ...], float32, for inputs with a leading batch axis."""


# what `run` raises for shapes a graph refuses; the sessions below turn the rest into RuntimeError
RUN_ERRORS = (RuntimeError, TypeError, ValueError, AssertionError, LookupError)


def open_session(bundle: Path, format: str | None = None, threads: int | None = None) -> Session:
    """Open an artifact, after comparing its files with their recorded hashes.

    Args:
        bundle: its folder.
        format: name of the artifact; the bundle's first by default.
        threads: how many one run may use; as many as there are cores by default.

    Raises:
        BundleError: no such artifact, changed files, a library that is not installed, or an
            artifact that this machine cannot load.
    """
    metadata = read_metadata(bundle)
    artifacts = metadata["artifacts"]
    name = format or next(iter(artifacts))
    if name not in artifacts:
        raise BundleError(f"this bundle has no {name}; it has {', '.join(artifacts)}")
    for file in _files_to_load(name, metadata):
        path = bundle / file
        if not path.is_file():
            raise BundleError(f"{file} is missing")
        if file_hash(path) != metadata["files"][file]["sha256"]:
            raise BundleError(f"{file} has changed; it is not loaded")
    try:
        return _SESSIONS[name](bundle, metadata, threads)
    except ImportError as error:
        raise BundleError(f"{name} needs {error.name}: {error}") from error


def inputs_of(metadata: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Tensors that an artifact takes: those of the network, or samples that it preprocesses."""
    inputs: list[dict[str, Any]] = metadata["artifact_inputs"].get(name, metadata["inputs"])
    return inputs


def _files_to_load(name: str, metadata: Mapping[str, Any]) -> list[str]:
    files = [metadata["artifacts"][name]]
    if name in ("pytorch", "safetensors") and metadata["architecture"]["source"]:
        files.append(metadata["architecture"]["source"])
    return files


class _OnnxSession:
    def __init__(self, bundle: Path, metadata: Mapping[str, Any], threads: int | None) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # these derive from Exception directly
        self._errors = (
            state.EPFail,
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NotImplemented,
            state.RuntimeException,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        path = metadata["artifacts"]["onnx"]
        try:
            self._session = onnxruntime.InferenceSession(
                bundle / path, options, providers=[name for name in wanted if name in available]
            )
        except self._errors as error:
            raise BundleError(f"{path} cannot be loaded: {error}") from error

    def run(self, inputs: Mapping[str, Array]) -> Array:
        try:
            logits: Array = self._session.run([LOGITS], dict(inputs))[0]
        except self._errors as error:
            raise RuntimeError(str(error)) from error
        return logits


class _TorchSession:
    """Calls `forward(*tensors)` and takes the logits."""

    def __init__(self, forward: Callable[[list[Any]], Any], threads: int | None) -> None:
        import torch

        self._torch = torch
        self._forward = forward
        if threads:
            torch.set_num_threads(threads)

    def run(self, inputs: Mapping[str, Array]) -> Array:
        with self._torch.inference_mode():
            logits = self._forward([self._torch.from_numpy(array) for array in inputs.values()])
        array: Array = logits.float().numpy()
        return array


def _open_torchscript(bundle: Path, metadata: Mapping[str, Any], threads: int | None) -> Session:
    import torch

    path = metadata["artifacts"]["torchscript"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is (deprecated|not supported)")
        try:
            network = torch.jit.load(bundle / path, "cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BundleError(f"{path} cannot be loaded: {error}") from error
    network.eval()
    return _TorchSession(lambda tensors: network(*tensors), threads)


def _open_pt2(bundle: Path, metadata: Mapping[str, Any], threads: int | None) -> Session:
    import torch

    path = metadata["artifacts"]["pt2"]
    try:
        network = torch.export.load(bundle / path).module()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise BundleError(f"{path} cannot be loaded: {error}") from error
    return _TorchSession(lambda tensors: network(*tensors), threads)


def _open_state_dict(bundle: Path, metadata: Mapping[str, Any], threads: int | None) -> Session:
    import torch

    network = _build_network(bundle, metadata["architecture"])
    weights = torch.load(bundle / metadata["artifacts"]["pytorch"], "cpu", weights_only=True)
    return _open_network(network, lambda: network.load_state_dict(weights), metadata, threads)


def _open_safetensors(bundle: Path, metadata: Mapping[str, Any], threads: int | None) -> Session:
    from safetensors.torch import load_model

    network = _build_network(bundle, metadata["architecture"])
    path = bundle / metadata["artifacts"]["safetensors"]
    return _open_network(network, lambda: load_model(network, path), metadata, threads)


def _open_network(
    network: Any, load: Callable[[], object], metadata: Mapping[str, Any], threads: int | None
) -> Session:
    import torch

    try:
        load()
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"the weights do not fit what {metadata['architecture']['name']} builds: {error}"
        ) from error
    network.eval()
    call, names = metadata["architecture"]["call"], [spec["name"] for spec in metadata["inputs"]]
    standardisation = metadata.get("standardisation")
    if standardisation is not None:  # the other formats have it in their graphs
        mean, std = (torch.tensor(standardisation[name]) for name in ("mean", "std"))

    def forward(tensors: list[Any]) -> Any:
        batch = dict(zip(names, tensors, strict=True))
        output = network(
            *(batch[name] for name in call["args"]),
            **{key: batch[name] for key, name in call["kwargs"].items()},
        )
        for key in call[LOGITS]:
            indexable = isinstance(output, (Mapping, Sequence))
            output = output[key] if indexable else getattr(output, key)
        return output if standardisation is None else output.float() * std + mean

    return _TorchSession(forward, threads)


def _build_network(bundle: Path, architecture: Mapping[str, Any]) -> Any:
    """The network with fresh weights."""
    place = architecture["source"] or architecture["module"]
    try:
        if architecture["source"]:
            spec = importlib.util.spec_from_file_location("bundle_model", bundle / place)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return vars(module)[architecture["name"]](**architecture["kwargs"])
    except ImportError as error:
        raise BundleError(f"{place} does not stand alone: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, NameError) as error:
        raise BundleError(f"{place} does not build {architecture['name']}: {error}") from error


_SESSIONS: dict[str, Callable[[Path, Mapping[str, Any], int | None], Session]] = {
    "onnx": _OnnxSession,
    "torchscript": _open_torchscript,
    "pytorch": _open_state_dict,
    "safetensors": _open_safetensors,
    "pt2": _open_pt2,
}
