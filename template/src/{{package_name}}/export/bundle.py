"""The bundle: a folder that serves the model on a machine that has never seen this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ..architecture import Architecture
from ..catalogues import network_args
from ..config import TrainingConfig
from ..data import reading
from ..data.splits import Splits
from ..errors import ExportError, IncompleteBundle, ModelError
from ..serving import runtime
from ..serving.runtime.sessions import CPU, GPU_REQUIREMENTS, TASK_FILE
from ..serving.runtime.weights import plain, uncompiled
from ..task import TaskSpec
from ..terminal import telling, waiting
from ..training.rivals import Rival
from . import dummy_inputs
from .bundle_files import (
    generate_dockerfile,
    generate_inference_script,
    generate_readme,
    generate_torchserve_config,
    gpu_requirements,
    runtime_requirements,
)
from .bundle_runtime import load_runtime
from .caching import CachedNetwork, describe
from .formats import EXPORTERS, ExportJob, export_format
from .imports import distributions_of_network
from .input_graph import FORMAT as WITH_INPUT_GRAPH
from .input_graph import InputGraph, sample_reference
from .input_graph import describe as describe_input
from .metadata import ARTIFACTS, BundleMetadata, artifact_files, write_json
from .model_card import generate_model_card
from .onnx_versions import oldest_onnxruntime, onnx_opset
from .parity import TOLERANCE, ParityResult, Reference, check_cache, check_parity, reference
from .plain_copy import make_runnable, plain_copy
from .shipped_source import ROOT, ship_source
from .signature import LOGITS, ExportedNetwork, InputSignature, TensorSpec
from .supply_chain import SBOM, SIGNATURE, sign, write_sbom

if TYPE_CHECKING:
    from .precision import Samples

__all__ = [
    "create_export_bundle",
    "generate_dockerfile",
    "generate_inference_script",
    "generate_readme",
    "generate_torchserve_config",
    "refresh_bundle",
]


def create_export_bundle(
    model: nn.Module,
    config: Any,
    task_spec: TaskSpec,
    training_config: TrainingConfig,
    export_base_dir: str | Path = "exports",
    *,
    architecture: Architecture | None = None,
    processor: Any = None,
    metrics: dict[str, float] | None = None,
    data: dict[str, Any] | None = None,
    trivial_metrics: dict[str, float] | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    rivals: Sequence[Rival] = (),
    run: str | None = None,
    optimizer_steps: int | None = None,
    example: Path | None = None,
    sign_key: Path | None = None,
    sbom: bool = False,
    splits: Splits | None = None,
    console: Console | None = None,
) -> Path:
    """Export a network in every format asked for, prove each, and write the bundle around them.

    A format that cannot hold the network is left out; the bundle holds the others, of which the
    first serves, and `IncompleteBundle` says which are missing.

    Args:
        model: the network, compiled in place or not; it is left as it was.
        config: the network's own configuration, JSON-ready or with attributes that are; only
            recorded.
        task_spec: what goes in and comes out.
        training_config: `export_formats` are its formats, the first being what serves by default.
        export_base_dir: where `model_<timestamp>/` is written.
        architecture: how the `pytorch` format rebuilds the network; by default as
            `training_config.model` says, or by its class, whichever builds such a network.
        processor: goes along where the network's input needs one.
        metrics: of the checkpoint, for the record.
        data: what was understood of the data it was trained on, for the record.
        trivial_metrics: of the answer that looks at no input, beside them.
        intervals: low and high end of the 95 % interval of those metrics that have one.
        rivals: other methods on the same samples.
        run: name of the run that trained it.
        optimizer_steps: how many that took.
        example: an input file to store with its output; a made-up one by default.
        sign_key: sign the bundle with this private key (OpenSSF model signing).
        sbom: list what requirements.txt installs (CycloneDX).
        splits: what `export_precision` other than float32 is judged by; the samples in
            `training_config.data` by default.
        console: where progress goes.

    Returns:
        the bundle's folder, complete and verified.

    Raises:
        IncompleteBundle: the bundle is there, but lacks formats that failed or differ from the
            network.
        ExportError: all formats failed; nothing is left behind.
        ModelError: `training_config.model` cannot be found.
        DataError: the input needs a processor and none was given.
    """
    console = console or Console(stderr=True)
    formats: list[str] = list(dict.fromkeys(training_config.export_formats))
    if unknown := [name for name in formats if name not in EXPORTERS]:
        raise ExportError(f"{unknown[0]} is no export format; there are {', '.join(EXPORTERS)}")
    signature = dummy_inputs.input_signature(task_spec, training_config)
    input_graph = dummy_inputs.input_graph(task_spec, training_config)
    inputs = _trace_inputs(task_spec)
    network = _exported(model, signature, task_spec, inputs)

    with staged(Path(export_base_dir)) as stage, uncompiled():
        # before the formats: what the network itself cannot do, none of them can
        expected = reference(network, task_spec, training_config)
        recipe, failures = None, dict[str, str]()
        if "pytorch" in formats:
            try:
                architecture = architecture or _architecture_of(
                    network.network, training_config, task_spec
                )
                recipe = _ship_architecture(architecture, network, task_spec, stage)
            except ExportError as error:
                failures["pytorch"] = f"pytorch: {str(error).removeprefix('pytorch: ')}"
        metadata = BundleMetadata.of_task(
            task_spec,
            signature,
            accepts=asdict(reading.accepted_inputs(task_spec, training_config)),
            outputs=[_output_spec(expected).to_dict()],
            artifact_inputs={WITH_INPUT_GRAPH: describe_input(input_graph)} if input_graph else {},
            model_config=config if config is None or isinstance(config, dict) else vars(config),
            metrics=metrics or {},
            data=data or {},
            trivial_metrics=trivial_metrics or {},
            intervals={name: list(ends) for name, ends in (intervals or {}).items()},
            rivals=[rival.to_dict() for rival in rivals],
            run=run,
            optimizer_steps=optimizer_steps,
            formats=formats,
            architecture=recipe,
        )
        samples = _samples(task_spec, training_config, processor, splits, failures)
        essentials, folder = metadata.essentials(), stage / "artifacts"
        job = ExportJob(
            network,
            inputs,
            signature,
            essentials,
            folder,
            input_graph,
            samples,
            cached=CachedNetwork.of(network, task_spec),
        )
        write_json(stage / TASK_FILE, task_spec.to_dict())
        written = _export_all([n for n in formats if n not in failures], job, failures, console)
        reading.save_processor(processor, stage)
        generate_inference_script(task_spec, stage)
        references = dict.fromkeys(written, expected)
        if input_graph is not None:
            references[WITH_INPUT_GRAPH] = sample_reference(network, input_graph)
        cached = {
            name: path.relative_to(stage).as_posix()
            for name, path in job.cached_files.items()
            if path.exists()  # it goes with its format
        }
        metadata = replace(
            metadata,
            artifacts=_of_all(written),
            cache=describe(job.cached, cached),
            reductions={name: found.to_dict() for name, found in job.reductions.items()},
            opset=onnx_opset(stage / written["onnx"]["onnx"]) if "onnx" in written else None,
        )
        metadata = metadata.write(stage)  # without hashes no artifact is opened
        with waiting(telling(console), "comparing each with the network"):
            proven = _prove_all(written, references, metadata, stage, failures)
        lines = [failures[name] for name in formats if name in failures]
        if not proven:
            raise ExportError("\n".join(lines))
        metadata = _without(failures, metadata, written, stage)
        if task_spec.continues:
            metadata = _prove_cache(metadata, expected, written, proven, job, stage, console)
        _print_parity([result for results in proven.values() for result in results], console)
        metadata = replace(
            metadata,
            parity=[result.to_dict() for results in proven.values() for result in results],
            example=_store_example(task_spec, network, example, processor, stage),
        )
        metadata = _with_own_answers(metadata, task_spec, processor, input_graph, stage)
        kept = [name for name in training_config.export_formats if name in proven]
        write_json(
            stage / "configs" / "training_config.json",
            # what is asked of a format that failed would contradict those that are left
            training_config.to_dict() | {"export_formats": kept},
        )
        with waiting(telling(console), "running the bundle by itself"):
            _finish(task_spec, metadata, stage, sbom=sbom)
        if sign_key is not None:
            sign(stage, sign_key)
        bundle = _publish(stage, Path(export_base_dir))
    _say(f"bundle: {bundle}", console)
    _say(f"digest: {runtime.digest_of(bundle)}", console)
    if lines:
        raise IncompleteBundle(lines, str(bundle))
    return bundle


def refresh_bundle(path: Path, console: Console | None = None) -> None:
    """Renew a bundle's scripts and documents from this project; its artifacts stay as they are.

    A signature goes, since it was made for the old files; sign the bundle again. Where files were
    edited or added since the export, the bundle as it was stays beside the new one.

    Args:
        path: a bundle that this project, or an older state of it, wrote.
        console: where progress goes.

    Raises:
        ExportError: no bundle, changed artifacts, or the renewed bundle fails its own check; it
            is then as it was.
    """
    console = console or Console(stderr=True)
    path = Path(path).resolve()
    metadata = _read_metadata(path)
    task_spec = TaskSpec.from_dict(json.loads((path / TASK_FILE).read_text(encoding="utf-8")))
    with staged(path.parent) as stage:
        for name in ("artifacts", "configs", *reading.PROCESSOR_FILES):
            if (path / name).is_dir():
                shutil.copytree(path / name, stage / name, dirs_exist_ok=True)
            else:
                shutil.copy2(path / name, stage / name)
        generate_inference_script(task_spec, stage)
        edited = _edited_files(path, metadata)
        _finish(task_spec, metadata, stage, sbom=(path / SBOM).exists())
        replaced = _replace(path, stage)
        if not edited:
            shutil.rmtree(replaced)
    _say(f"refreshed: {path}", console)
    _say(f"digest: {runtime.digest_of(path)}", console)
    if edited:
        _say(
            f"{', '.join(edited)} had been edited or added by hand; your version is in {replaced}",
            console,
        )


def _say(line: str, console: Console) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


# --- The steps of an export ----------------------------------------------------------------------


def _exported(
    model: nn.Module, signature: InputSignature, task_spec: TaskSpec, inputs: Mapping[str, Tensor]
) -> ExportedNetwork:
    """A copy as it is exported; mode and device of the original stay as they are."""
    network = ExportedNetwork(plain_copy(model), signature.names, task_spec.standardisation).eval()
    make_runnable(network, list(inputs.values()))
    network.find_logits(task_spec, inputs)
    return network


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _trace_inputs(task_spec: TaskSpec) -> dict[str, Tensor]:
    return dummy_inputs.random_inputs(task_spec, dummy_inputs.trace_sizes(task_spec), _generator())


def _output_spec(expected: Reference) -> TensorSpec:
    """The output's shape; a size that grows with an input's named axis has its name."""
    small, large = expected.sizes[1:3]
    shapes = [logits.shape for logits in expected.logits[1:3]]
    growth = {(small[axis], large[axis]): axis for axis in small}
    return TensorSpec(
        LOGITS,
        "float32",
        tuple(growth.get(pair, pair[0]) for pair in zip(*shapes, strict=True)),
    )


def _architecture_of(
    network: nn.Module, config: TrainingConfig, task_spec: TaskSpec
) -> Architecture:
    """How to build a network anew of which nobody said so: by the settings, or by its class.

    Raises:
        ExportError: neither builds such a network.
        ModelError: the settings name none.
    """
    architecture = Architecture.resolve(config.model, task_spec, network_args(config))
    if _is_alike(architecture.build(), network):
        return architecture
    kind = type(network)
    # neither a program, which would start again, nor a class that a function made
    if kind.__module__ != "__main__" and "." not in kind.__qualname__:
        try:
            architecture = Architecture.resolve(f"{kind.__module__}:{kind.__qualname__}", task_spec)
            if _is_alike(architecture.build(), network):
                return architecture
        # it wants other arguments, or cannot be imported
        except (ModelError, ImportError, TypeError, ValueError, RuntimeError):
            pass
    raise ExportError(
        f"nothing says how to build this {kind.__name__} again, and `model: {config.model}` builds "
        "another network; set model to the function that builds it (PATH.py:NAME), give "
        "create_export_bundle an architecture, or leave pytorch out of export_formats"
    )


def _is_alike(built: nn.Module, network: nn.Module) -> bool:
    built = plain(built)
    return type(built).__qualname__ == type(network).__qualname__ and (
        _shapes(built) == _shapes(network)
    )


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    weights = network.state_dict().items()
    return {name: value.shape for name, value in weights if isinstance(value, Tensor)}


def _ship_architecture(
    architecture: Architecture, network: ExportedNetwork, task_spec: TaskSpec, stage: Path
) -> dict[str, Any]:
    call = network.calling_convention(_trace_inputs(task_spec))
    requirements = distributions_of_network(architecture)
    return {
        "name": architecture.name,
        "kwargs": architecture.kwargs,
        "task": list(architecture.task),
        "config": architecture.config,
        **ship_source(architecture, stage),
        "call": call,
        "requirements": requirements,
    }


def _export_all(
    formats: list[str], job: ExportJob, failures: dict[str, str], console: Console
) -> dict[str, dict[str, str]]:
    """Files of the artifacts by name, for each format; `failures` gets a line for each other."""
    written: dict[str, dict[str, str]] = {}
    for number, name in enumerate(formats, start=1):
        started = time.perf_counter()
        before = set(job.folder.iterdir())
        try:
            with waiting(telling(console), f"exporting {name} ({number} of {len(formats)})"):
                artifacts = export_format(name, job)
        except ExportError as error:
            failures[name] = str(error)
            for half in set(job.folder.iterdir()) - before:
                half.unlink()
            continue
        written[name] = {key: f"{job.folder.name}/{path.name}" for key, path in artifacts.items()}
        if name in job.reductions:
            console.print(f"{name}: {job.reductions[name]}", highlight=False, soft_wrap=True)
        console.print(f"{name}: exported in {time.perf_counter() - started:.1f} s", highlight=False)
    return written


def _of_all(written: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: file for artifacts in written.values() for name, file in artifacts.items()}


def _prove_all(
    written: dict[str, dict[str, str]],
    expected: dict[str, Reference],
    metadata: BundleMetadata,
    stage: Path,
    failures: dict[str, str],
) -> dict[str, list[ParityResult]]:
    """What comparing with the network found, by format; `failures` gets a line for each other."""
    proven: dict[str, list[ParityResult]] = {}
    for name, artifacts in written.items():
        try:
            tolerance = None if name in metadata.reductions else TOLERANCE
            proven[name] = check_parity(stage, list(artifacts), expected[name], tolerance)
        except ExportError as error:
            failures[name] = str(error)
    return proven


def _prove_cache(
    metadata: BundleMetadata,
    expected: Reference,
    written: dict[str, dict[str, str]],
    proven: dict[str, list[ParityResult]],
    job: ExportJob,
    stage: Path,
    console: Console,
) -> BundleMetadata:
    """The bundle with those caches only that change no answer; `proven` gets what was found.

    An artifact without one is named, with the reason: it computes a text anew for each token.
    """
    found = metadata.cache["artifacts"] if metadata.cache else {}
    kept: dict[str, str] = {}
    for format, artifacts in written.items():
        for name in artifacts:
            try:
                if name not in found:
                    raise ExportError(job.why_uncached(name))
                proven[format] += check_cache(stage, name, expected)
                kept[name] = found[name]
            except ExportError as error:
                _say(
                    f"{name}: computes a text anew for each token that continues it: {error}",
                    console,
                )
    for file in set(found.values()) - {*kept.values(), *_of_all(written).values()}:
        (stage / file).unlink(missing_ok=True)
    return replace(metadata, cache=describe(job.cached, kept))


def _without(
    failures: dict[str, str],
    metadata: BundleMetadata,
    written: dict[str, dict[str, str]],
    stage: Path,
) -> BundleMetadata:
    """The bundle as if the formats that failed had not been asked for."""
    for name in failures:
        for artifact in written.pop(name, {}).values():
            for file in artifact_files(stage / artifact):
                file.unlink()
    recipe = metadata.architecture
    if recipe and "pytorch" in failures:
        for file in recipe["sources"]:
            (stage / file).unlink()
        shutil.rmtree(stage / ROOT, ignore_errors=True)
        recipe = None
    return replace(
        metadata,
        formats=[name for name in metadata.formats if name not in failures],
        artifacts=_of_all(written),
        opset=metadata.opset if "onnx" in written else None,
        reductions={n: found for n, found in metadata.reductions.items() if n not in failures},
        artifact_inputs={n: s for n, s in metadata.artifact_inputs.items() if n not in failures},
        architecture=recipe,
    )


def _print_parity(results: list[ParityResult], console: Console) -> None:
    for name in dict.fromkeys(result.format for result in results):
        own = [result for result in results if result.format == name]
        told = "its metrics decide" if own[0].tolerance is None else f"tolerance {TOLERANCE:.0e}"
        console.print(
            f"{name}: {max(result.max_error for result in own):.1e} off the network at worst, over "
            f"{len(own)} shapes ({told})",
            highlight=False,
        )


def _samples(
    task_spec: TaskSpec,
    config: TrainingConfig,
    processor: Any,
    splits: Splits | None,
    failures: dict[str, str],
) -> Samples | None:
    """What reduced precision is judged by, where it is asked for; without it there is no onnx."""
    if config.export_precision == "float32":
        return None
    from .precision import Samples  # with Lightning, which takes longer to import than to export

    try:
        return Samples(task_spec, config, processor, splits)
    except ExportError as error:
        failures["onnx"] = str(error)
        return None


def _store_example(
    task_spec: TaskSpec,
    network: ExportedNetwork,
    source: Path | None,
    processor: Any,
    stage: Path,
) -> dict[str, Any]:
    path = dummy_inputs.write_example(task_spec, source, stage / "configs")
    with torch.no_grad():
        logits = network(*dummy_inputs.read_example(task_spec, path, processor).values())[0]
    return {
        "input": path.relative_to(stage).as_posix(),
        LOGITS: logits.float().tolist(),
        # wider than parity's: another processor, another version of a library
        "tolerance": 10 * TOLERANCE,
    }


def _with_own_answers(
    metadata: BundleMetadata,
    task_spec: TaskSpec,
    processor: Any,
    input_graph: InputGraph | None,
    stage: Path,
) -> BundleMetadata:
    """Beside the network's answer to the example, those of artifacts of reduced precision."""
    assert metadata.example is not None
    path, runtime_of_bundle = stage / metadata.example["input"], load_runtime(stage)
    answers = {}
    for name in metadata.reductions:
        from .precision import REDUCED_TOLERANCE  # as in _samples

        if input_graph is not None and name in metadata.artifact_inputs:
            inputs = input_graph.read_example(path)
        else:
            example = dummy_inputs.read_example(task_spec, path, processor)
            inputs = {key: tensor.numpy() for key, tensor in example.items()}
        [logits] = runtime_of_bundle.open_session(stage, name, device=CPU).run(inputs)
        answers[name] = {LOGITS: logits.tolist(), "tolerance": REDUCED_TOLERANCE}
    return replace(metadata, example=metadata.example | {"own_answers": answers})


def _finish(task_spec: TaskSpec, metadata: BundleMetadata, stage: Path, *, sbom: bool) -> None:
    """Write what surrounds the artifacts, record every file, and let the bundle check itself."""
    if graph := metadata.artifacts.get("onnx"):  # bundles of earlier versions do not record it
        metadata = replace(metadata, oldest_onnxruntime=oldest_onnxruntime(stage / graph))
    metadata = metadata.write(stage)  # what is generated reads it
    generate_torchserve_config(task_spec, stage)
    generate_dockerfile(task_spec, stage)
    recipe = metadata.architecture
    lines = runtime_requirements(metadata.formats, recipe["requirements"] if recipe else [])
    (stage / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # torch's own artifacts need none: its build in package indexes has CUDA on Linux
    if metadata.oldest_onnxruntime is not None:
        lines = gpu_requirements(lines, metadata.oldest_onnxruntime)
        (stage / GPU_REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    if sbom:
        write_sbom(stage)
    generate_readme(task_spec, stage, metadata.formats)
    generate_model_card(task_spec, stage)
    metadata.write(stage)
    _verify(stage)


def _verify(stage: Path) -> None:
    """Run `inference.py --verify` as a stranger would: another process, another folder."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # -B: no __pycache__ in what is about to be published
    command = [sys.executable, "-B", str((stage / "inference.py").resolve()), "--verify"]
    done = subprocess.run(
        command, cwd=stage.anchor or "/", env=environment, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExportError(f"the bundle fails its own check: {reason.removeprefix('error: ')}")


# --- Whole or not at all -------------------------------------------------------------------------


@contextmanager
def staged(parent: Path) -> Iterator[Path]:
    """A folder beside the bundles, removed unless it has been moved to its final name.

    Raises:
        ExportError: it cannot be written.
    """
    stage = parent / f".partial-{os.getpid()}-{time.time_ns()}"
    try:
        try:
            (stage / "artifacts").mkdir(parents=True)
            (stage / "configs").mkdir()
            yield stage
        except OSError as error:
            where = error.filename or parent
            raise ExportError(f"{where} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, parent: Path) -> Path:
    """Give the bundle its name; a second one within a second gets a number."""
    name = f"model_{_timestamp()}"
    number = 1
    while True:
        bundle = parent / (name if number == 1 else f"{name}_{number}")
        try:
            bundle.mkdir()
        except FileExistsError:
            number += 1
            continue
        # an empty folder that is ours: POSIX replaces it in one step
        if os.name == "nt":
            bundle.rmdir()
        return stage.rename(bundle)


def _timestamp() -> str:
    return datetime.now().strftime("%Y%m%d_%H%M%S")


def _replace(path: Path, stage: Path) -> Path:
    """Give the bundle's name to the stage; gives the folder that had it."""
    replaced, number = path.with_name(f"replaced_{path.name}"), 1
    while replaced.exists():
        number += 1
        replaced = path.with_name(f"replaced_{path.name}_{number}")
    path.rename(replaced)
    try:
        stage.rename(path)
    except OSError:
        replaced.rename(path)
        raise
    return replaced


def _edited_files(path: Path, metadata: BundleMetadata) -> list[str]:
    """Files of a bundle that somebody has changed or added since it was written."""
    edited = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = file.relative_to(path).as_posix()
        if name in (runtime.METADATA, SIGNATURE) or "__pycache__" in file.parts:
            continue
        record = metadata.files.get(name)
        if record is None or runtime.file_hash(file) != record["sha256"]:
            edited.append(name)
    return edited


def _read_metadata(path: Path) -> BundleMetadata:
    """Metadata of a bundle whose artifacts are as recorded."""
    try:
        metadata = BundleMetadata.read(path)
        if TASK_FILE not in metadata.files:
            raise ExportError(f"{path} is no bundle: it records no {TASK_FILE}")
        for name, record in metadata.files.items():
            kept = name.startswith(ARTIFACTS) or name == TASK_FILE
            if kept and runtime.file_hash(path / name) != record["sha256"]:
                raise ExportError(f"{path}: {name} has changed; export again instead")
    except runtime.BundleError as error:
        raise ExportError(f"{path} is no bundle: {error}") from error
    except OSError as error:
        raise ExportError(f"{error.filename} cannot be read: {error.strerror}") from error
    return metadata
