"""Does an artifact compute what the network computes? Asked of the files that are shipped.

Each artifact is opened through the staged bundle's own runtime, as a stranger's machine will.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..config import TrainingConfig
from ..errors import ExportError
from ..serving.runtime.caching import CACHED
from ..serving.runtime.sessions import CPU
from ..task import TaskSpec
from ..user_code import USER_ERRORS, told
from . import dummy_inputs
from .bundle_runtime import load_runtime
from .metadata import BundleMetadata
from .signature import ExportedNetwork

# float32 sums in another order differ by about 1e-6 of the largest logit; a wrong graph by far more
TOLERANCE = 1e-4

# what is in no state dict
WEIGHTS_LACK = ", such as a buffer with persistent=False or a tensor that is neither"
LOST = {"pytorch": WEIGHTS_LACK, "safetensors": WEIGHTS_LACK}

# characters of why an artifact cannot be opened
LONGEST_REASON = 300


@dataclass(frozen=True)
class ParityResult:
    """One artifact at one shape.

    Attributes:
        format: name under which the bundle's runtime opens the artifact.
        sizes: sizes of the named axes; `cached` among them where a cache was used, for the
            positions that were in it at the last run.
        max_error: as `runtime.relative_error` has it.
        tolerance: what it may be; None where the artifact's precision was reduced, and its metrics
            decide.
    """

    format: str
    sizes: dict[str, int]
    max_error: float
    tolerance: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """What the network answers at every size the modality asks for.

    Attributes:
        sizes: of the named axes, for each batch.
        inputs: the batches, random ones.
        logits: the network's, for each batch.
    """

    sizes: list[dict[str, int]]
    inputs: list[dict[str, npt.NDArray[Any]]]
    logits: list[npt.NDArray[np.float32]]


def reference(network: ExportedNetwork, task_spec: TaskSpec, config: TrainingConfig) -> Reference:
    """Ask the network.

    Raises:
        ExportError: it fails at a size that must stay open, or returns NaN or infinity, which no
            artifact could be compared with.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = dummy_inputs.parity_sizes(task_spec, config)
    batches = [dummy_inputs.random_inputs(task_spec, each, generator) for each in sizes]
    arrays = [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches]
    advice = dummy_inputs.input_signature(task_spec, config).advice()
    return answers(network, sizes, arrays, advice)


def answers(
    network: ExportedNetwork,
    sizes: list[dict[str, int]],
    batches: list[dict[str, npt.NDArray[Any]]],
    advice: str = "",
) -> Reference:
    """Ask the network at sizes and with batches of one's own.

    Args:
        network: the network.
        sizes: of the named axes, for each batch.
        batches: the batches.
        advice: what to set where it fails at a size.

    Raises:
        ExportError: as `reference`.
    """
    logits = []
    for named, batch in zip(sizes, batches, strict=True):
        answer = _ask(network, named, batch, advice)
        if not np.isfinite(answer).all():
            raise ExportError(
                f"the network returns NaN or infinity for random input at {_sizes(named)}; "
                "train it again before exporting"
            )
        logits.append(answer)
    return Reference(sizes, batches, logits)


def _ask(
    network: ExportedNetwork,
    sizes: dict[str, int],
    batch: dict[str, npt.NDArray[Any]],
    advice: str,
) -> npt.NDArray[np.float32]:
    inputs = map(torch.from_numpy, batch.values())
    try:
        with torch.no_grad():
            logits: npt.NDArray[np.float32] = network(*inputs).float().numpy()
    except USER_ERRORS as error:
        raise ExportError(
            f"the network fails at {_sizes(sizes)}: {told(error)}; it must take any such "
            f"size{advice}"
        ) from error
    return logits


def check_parity(
    bundle: Path,
    artifacts: Sequence[str],
    expected: Reference,
    tolerance: float | None = TOLERANCE,
) -> list[ParityResult]:
    """Compare artifacts with the network.

    Args:
        bundle: its folder, with a metadata.json.
        artifacts: names under which they are opened.
        expected: what the network answers.
        tolerance: by how much they may differ; None for any finite number.

    Raises:
        ExportError: an artifact cannot be opened or run, or differs by more than the tolerance.
    """
    runtime = load_runtime(bundle)
    standardisation = BundleMetadata.read(bundle).standardisation
    results = []
    for name in artifacts:
        session = _open(runtime, bundle, name)
        for sizes, inputs, logits in zip(
            expected.sizes, expected.inputs, expected.logits, strict=True
        ):
            try:
                actual = session.run(inputs)
            except runtime.RUN_ERRORS as error:
                raise ExportError(
                    f"{name}: fails at {_sizes(sizes)}: {_reason(error)}; the network "
                    f"may fix a size that must stay open; or leave {name} out of export_formats"
                ) from error
            error_found = runtime.relative_error(actual, logits, standardisation)
            results.append(ParityResult(name, sizes, error_found, tolerance))
    for result in results:
        if tolerance is None:
            if not np.isfinite(result.max_error):
                raise ExportError(
                    f"{result.format}: gives NaN or infinity at {_sizes(result.sizes)}; export "
                    "with export_precision: float32"
                )
        elif not result.max_error <= tolerance:
            raise ExportError(
                f"{result.format}: differs from the network by {result.max_error:.1e} at "
                f"{_sizes(result.sizes)} (tolerance {TOLERANCE:.0e}); its forward probably depends "
                f"on something the format does not keep"
                f"{LOST.get(result.format, '')}; or leave {result.format} out of export_formats"
            )
    return results


def check_cache(bundle: Path, name: str, expected: Reference) -> list[ParityResult]:
    """Compare an artifact that reads texts piece by piece with the network, which reads them whole.

    The pieces are half of a text, all but one token of what is left, and that token.

    Args:
        bundle: its folder, with a metadata.json.
        name: of the artifact.
        expected: what the network answers.

    Raises:
        ExportError: it cannot be run, or differs by more than the tolerance.
    """
    runtime = load_runtime(bundle)
    session, results = _open(runtime, bundle, name), []
    for inputs, logits in zip(expected.inputs, expected.logits, strict=True):
        ids = next(iter(inputs.values()))[0]  # the first text of each batch has no padding
        sizes = {"batch": 1, "length": len(ids), CACHED: len(ids) - 1}
        pieces = [piece for piece in np.split(ids, [len(ids) // 2, len(ids) - 1]) if len(piece)]
        try:
            text = session.sequence()
            actual = np.concatenate([text.extend(piece) for piece in pieces])
        except (*runtime.RUN_ERRORS, runtime.BundleError) as error:
            raise ExportError(f"fails at {_sizes(sizes)}: {_reason(error)}") from error
        found = runtime.relative_error(actual, logits[0])
        if not found <= TOLERANCE:
            raise ExportError(
                f"with a cache it differs from the network by {found:.1e} at {_sizes(sizes)} "
                f"(tolerance {TOLERANCE:.0e})"
            )
        results.append(ParityResult(name, sizes, found, TOLERANCE))
    return results


def _open(runtime: ModuleType, bundle: Path, name: str) -> Any:
    try:
        # where the network is, too: what a GPU rounds otherwise is no fault of the artifact
        return runtime.open_session(bundle, name, device=CPU)
    except runtime.BundleError as error:
        # torch lists every weight that does not fit, each kind on a line of its own
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise ExportError(f"{name}: {reason}") from error


def _reason(error: BaseException) -> str:
    """TorchScript's errors end with what went wrong; others begin with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]


def _sizes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())
