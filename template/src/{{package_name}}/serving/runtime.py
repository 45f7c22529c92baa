"""Open, check and run the model of this bundle, whatever format it is in.

Needs numpy, and what the format needs: onnxruntime, or torch. `inference.py` says what goes in and
what comes out.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

# onnxruntime reports home by default since 1.29, and only listens before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

METADATA = "metadata.json"
# made after metadata.json, over all other files
SIGNATURE = "model.sig"
LOGITS = "logits"
# what whoever deploys the bundle edits
DEPLOYMENT = {
    ".dockerignore",
    "Dockerfile",
    "README.md",
    "compose.yaml",
    "kubernetes.yaml",
    "torchserve/config.properties",
    "torchserve/model-config.yaml",
}

Array: TypeAlias = npt.NDArray[Any]
Item: TypeAlias = dict[str, Array]
"""One input, ready for the network: an array for each name, without the batch axis."""


class BundleError(Exception):
    """The bundle is damaged, incomplete, or cannot run here; the message names what and why."""


class InvalidInput(ValueError):
    """An input that the model cannot take; the message is for whoever sent it."""


class Session(Protocol):
    """An opened artifact."""

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Logits [B, ...], float32, for inputs with a leading batch axis."""


# what `run` raises for shapes a graph refuses; the sessions below turn the rest into RuntimeError
RUN_ERRORS = (RuntimeError, TypeError, ValueError, AssertionError, LookupError)


# --- The bundle's own record ---------------------------------------------------------------------


def read_metadata(bundle: Path) -> dict[str, Any]:
    """What the bundle says about itself.

    Raises:
        BundleError: there is no metadata.json, or it is damaged.
    """
    try:
        metadata: dict[str, Any] = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{METADATA} cannot be read: {error}") from error
    return metadata


def verify_files(bundle: Path, *, only_model: bool = False) -> int:
    """Compare every file with its recorded hash. Nothing but this file has been executed by then.

    Args:
        bundle: its folder.
        only_model: accept extra files, which an archive of TorchServe has, and changes to the
            settings of a deployment, which are there to be changed.

    Returns:
        how many files were compared.

    Raises:
        BundleError: naming every changed, missing and extra file.
    """
    recorded = read_metadata(bundle)["files"]
    checked = set(recorded) - DEPLOYMENT if only_model else set(recorded)
    present = {path.relative_to(bundle).as_posix() for path in _files(bundle)}
    present -= {METADATA, SIGNATURE}
    problems = [f"{name} is missing" for name in sorted(checked - present)]
    problems += [
        f"{name} has changed"
        for name in sorted(checked & present)
        if file_hash(bundle / name) != recorded[name]["sha256"]
    ]
    if not only_model:
        problems += [f"{name} does not belong here" for name in sorted(present - set(recorded))]
    if problems:
        raise BundleError("; ".join(problems))
    return len(checked)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(bundle: Path) -> Iterator[Path]:
    for path in sorted(bundle.rglob("*")):
        # Python's own cache, written when inference.py is imported
        if not path.is_dir() and "__pycache__" not in path.relative_to(bundle).parts:
            yield path


# --- Sessions ------------------------------------------------------------------------------------


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
    try:
        load()
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"the weights do not fit what {metadata['architecture']['name']} builds: {error}"
        ) from error
    network.eval()
    call, names = metadata["architecture"]["call"], [spec["name"] for spec in metadata["inputs"]]

    def forward(tensors: list[Any]) -> Any:
        batch = dict(zip(names, tensors, strict=True))
        output = network(
            *(batch[name] for name in call["args"]),
            **{key: batch[name] for key, name in call["kwargs"].items()},
        )
        for key in call[LOGITS]:
            indexable = isinstance(output, (Mapping, Sequence))
            output = output[key] if indexable else getattr(output, key)
        return output

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


# --- The engine ----------------------------------------------------------------------------------


class InferenceEngine:
    """The model with its preprocessing; `inference.py` derives the one for its kind of input.

    Args:
        bundle: folder of the bundle.
        format: artifact to run; the bundle's first by default.
        threads: how many one run may use; as many as there are cores by default.
        max_item_size: largest input, in the unit that the derived class names.

    Raises:
        BundleError: as `open_session`.
    """

    media_types: tuple[str, ...] = ()
    """Content types of a request whose body is one input; `*` stands for anything."""
    suffixes: tuple[str, ...] = ()
    """File suffixes looked for in folders."""
    default_max_item_size: int = 0

    def __init__(
        self,
        bundle: str | Path,
        format: str | None = None,
        threads: int | None = None,
        max_item_size: int | None = None,
    ) -> None:
        self.bundle = Path(bundle)
        self.metadata = read_metadata(self.bundle)
        self.format = format or next(iter(self.metadata["artifacts"]))
        self.max_item_size = max_item_size or self.default_max_item_size
        self.session = open_session(self.bundle, format, threads)

    def decode(self, payload: bytes) -> Item:
        """Preprocess one input.

        Raises:
            InvalidInput: it is damaged, too large, or of the wrong kind.
        """
        raise NotImplementedError

    def check(self, item: Item) -> None:
        """Refuse tensors that a client made itself and the network cannot take.

        Raises:
            InvalidInput: NaN or infinity.
        """
        for name, array in item.items():
            if not np.isfinite(array).all():
                raise InvalidInput(f"{name} holds NaN or infinity")

    def from_json(self, instance: object) -> bytes:
        """The payload in one element of a JSON request.

        Raises:
            InvalidInput: it does not have the documented form.
        """
        raise NotImplementedError

    def to_json(self, logits: Array) -> dict[str, Any]:
        """What the logits of one input mean, ready for JSON."""
        raise NotImplementedError

    def answer(self, item: Item, logits: Array) -> dict[str, Any]:
        """What the network says of one item, ready for JSON.

        Args:
            item: as `decode` made it.
            logits: of this item. Whoever must run the network again, to go on with a text, does so.
        """
        return self.to_json(logits)

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add what only this kind of input has to the command line; nothing by default."""

    def use_options(self, options: Namespace) -> None:
        """Follow the options that `add_options` added."""

    def collate(self, items: Sequence[Item]) -> dict[str, Array]:
        """Items of equal shapes as one batch."""
        return {name: np.stack([item[name] for item in items]) for name in items[0]}

    def logits(self, items: Sequence[Item]) -> list[Array]:
        """Logits of each item, computed as one batch."""
        return list(self.session.run(self.collate(items)))

    def verify_example(self) -> float:
        """Run the stored example.

        Returns:
            the largest difference from the stored logits, as a share of the largest (or of 1).

        Raises:
            BundleError: the difference exceeds the tolerance.
        """
        example = self.metadata["example"]
        payload = (self.bundle / example["input"]).read_bytes()
        expected = np.asarray(example[LOGITS], dtype=np.float64)
        actual = self.logits([self.decode(payload)])[0]
        error = float("inf")
        if actual.shape == expected.shape:
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            error = float(np.abs(actual - expected).max(initial=0.0)) / scale
        if not error <= example["tolerance"]:
            raise BundleError(
                f"{self.format} answers the stored example with an error of {error:.1e}; "
                f"{example['tolerance']:.0e} is allowed"
            )
        return error
