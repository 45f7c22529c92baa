"""Every artifact of a bundle over real samples, by the bundle's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ..config import TrainingConfig
from ..data.module import Batch, load_modality
from ..errors import ExportError
from ..export import artifact_inputs
from ..export.bundle_runtime import load_runtime
from ..export.metadata import BundleMetadata
from ..export.parity import TOLERANCE
from ..report import write_evaluation_report
from ..serving.runtime import METADATA, BundleError, file_hash
from ..task import TaskSpec
from ..training.metric_names import VALIDATION
from ..training.summary import Table, lines, shown
from . import Evaluation, evaluate
from .files import METRICS, PREDICTIONS, write_files
from .samples import choose
from .tables import report_lines

# where files go by default, in a folder for each bundle
OUTPUT = "evaluations"


@dataclass(frozen=True)
class Bundle:
    """What a bundle says about itself.

    Attributes:
        path: its folder.
        task_spec, config, processor: as a `TrainedModel` has them.
        metadata: all the rest.
    """

    path: Path
    task_spec: TaskSpec
    config: TrainingConfig
    processor: Any
    metadata: BundleMetadata

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Read its metadata.

        Raises:
            ExportError: it is none, damaged, or of another version.
        """
        try:
            metadata = BundleMetadata.read(path)
            spec = json.loads((path / "configs" / "task_spec.json").read_text(encoding="utf-8"))
            task_spec = TaskSpec.from_dict(spec)
            config = TrainingConfig.load(path / "configs" / "training_config.json")
        except (BundleError, OSError, ValueError) as error:
            raise ExportError(f"{path} is no bundle that can be read: {error}") from error
        processor = load_modality(task_spec.modality).load_processor(path)
        return cls(path, task_spec, artifact_inputs.settings(config), processor, metadata)


def evaluate_bundle(
    path: Path,
    data: str | None,
    config: TrainingConfig,
    console: Console,
    say: Callable[[str], None],
    output: Path | None,
) -> None:
    """Evaluate every artifact, compare them, and write what the first one predicts.

    Args:
        path: folder of the bundle.
        data: as `choose` takes it.
        config: how other data are read.
        console: for the progress.
        say: takes the lines for people.
        output: folder of the files.

    Raises:
        DataError: samples that cannot be read, all of them named.
        ExportError: the bundle is damaged, or artifacts give other metrics than the first.
    """
    bundle = Bundle.read(path)
    chosen = choose(bundle, data, config, say)
    say(f"evaluating {path} on {chosen.told}: {chosen.count} in all")
    runtime = load_runtime(path)
    found = {}
    for name in bundle.metadata.artifacts:
        say(f"running {name}")
        forward = artifact(runtime, bundle, name)
        found[name] = evaluate(bundle, chosen.splits, chosen.split, forward, console)
    first = next(iter(found))
    for line in lines(comparison(found)):
        say(f"  {line}")
    for line in report_lines(found[first]):
        say(f"  {line}")
    folder = output or Path(OUTPUT) / path.resolve().name / chosen.split
    subject = {"bundle": str(path), "artifact": first, "sha256": file_hash(path / METADATA)}
    write_files(found[first], folder, chosen.data, subject)
    title = f"{path.resolve().name}, {chosen.split}"
    kicker = f"Evaluation · {first} artifact of {path}"
    page = write_evaluation_report(bundle, found[first], folder, title, kicker)
    for file in (folder / PREDICTIONS, folder / METRICS, page):
        say(f"wrote {file}")
    if problems := differences(found, set(bundle.metadata.reductions)):
        raise ExportError("\n".join(problems))


def artifact(runtime: ModuleType, bundle: Bundle, name: str) -> Callable[[Batch], Tensor]:
    """What an artifact gives for a batch of the loader, as the network would: standardised.

    Args:
        runtime: the bundle's own.
        bundle: with settings for artifacts.
        name: under which the artifact is opened.

    Raises:
        ExportError: it cannot be opened, or the call fails.
    """
    try:
        session = runtime.open_session(bundle.path, name)
        inputs = runtime.inputs_of(runtime.read_metadata(bundle.path), name)
    except runtime.BundleError as error:
        raise ExportError(f"{bundle.path}: {error}") from error
    names, known = [one["name"] for one in inputs], bundle.task_spec.standardisation

    def forward(batch: Batch) -> Tensor:
        try:
            answers = session.run(artifact_inputs.arrays(batch, names, bundle.task_spec))
        except runtime.RUN_ERRORS as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ExportError(f"{name} fails on these samples: {reason}") from error
        values = torch.from_numpy(answers)
        if known is None:
            return values
        wide = values.double()
        return ((wide - wide.new_tensor(known.mean)) / wide.new_tensor(known.std)).float()

    return forward


def comparison(found: dict[str, Evaluation]) -> Table:
    """A row for each metric that is not of one class, a column for each artifact."""
    names = next(iter(found.values())).overall_names()
    rows = [
        [name.removeprefix(VALIDATION), *(shown(one.metrics[name].value) for one in found.values())]
        for name in names
    ]
    return [["metric", *found], *rows]


def differences(found: dict[str, Evaluation], reduced: set[str]) -> list[str]:
    """A line for each artifact whose metrics are not those of the first, but for rounding.

    Args:
        found: by the names of the artifacts.
        reduced: artifacts of reduced precision, which answer otherwise by design.
    """
    exact = {name: one for name, one in found.items() if name not in reduced}
    if not exact:
        return []
    first, *others = exact
    problems = []
    for name in others:
        for metric in found[first].overall_names():
            expected, value = (found[one].metrics[metric].value for one in (first, name))
            if not abs(value - expected) <= TOLERANCE * max(1.0, abs(expected)):
                plain = metric.removeprefix(VALIDATION)
                problems.append(
                    f"{name} does not agree with {first}: {plain} is {shown(value)} and "
                    f"{shown(expected)}; export again"
                )
                break
    return problems
