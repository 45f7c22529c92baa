"""metadata.json: what a bundle says about itself."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from ..data.splits import ENOUGH_TO_VALIDATE
from ..identity import Project, commit
from ..serving.runtime import METADATA, BundleError, file_hash, read_metadata
from ..serving.runtime.integrity import BUNDLE_VERSION
from ..serving.runtime.sessions import EXTERNAL
from ..task import TaskSpec
from ..training.rivals import Rival
from .imports import distributions_of_file
from .signature import InputSignature

ARTIFACTS = "artifacts/"
PACKAGE = Path(__file__).resolve().parent.parent
RECORDED = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
ESSENTIALS = (
    "name",
    "task_type",
    "class_names",
    "inputs",
    "outputs",
    "input_schema",
    "preprocessing",
    "created",
    "run",
    "git_commit",
)


@dataclass(frozen=True, kw_only=True)
class BundleMetadata:
    """The content of metadata.json, plain data throughout.

    Attributes:
        bundle_version: raised when a key changes its meaning.
        name, modality, task_type, class_names, input_schema, preprocessing: of the task.
        created: time of the export, in UTC.
        project: `name`, `slug`, `description` and `license` of the project; None in older bundles.
        run: name of the run; None for a network that was handed over.
        optimizer_steps: how many the network was trained for, where that is known.
        inputs, outputs: name, dtype and shape of each tensor; a name in a shape is an open axis.
        artifact_inputs: inputs of those artifacts that preprocess samples themselves, and what a
            client puts into them; the others take `inputs`.
        accepts: by what `inference.py` recognises inputs, and how large they may be, as
            `runtime.Accepted`; empty in older bundles.
        limits: the largest size of those open axes that have one.
        model_config: the network's own configuration, as it was given.
        metrics: of the checkpoint; None for what is not finite, which JSON cannot hold.
        intervals: low and high end of the 95 % interval of those metrics that have one.
        data: what was understood of the training data, as in the run's data.json; `digest` is of
            the training samples.
        caveats: what the data do not tell the network, or its metrics, and other methods that are
            better; a line each.
        trivial_metrics: of the answer that looks at no input, on the same samples.
        rivals: other methods on the same samples, each as `training.rivals.Rival`.
        git_commit: of the project, `-dirty` behind it where tracked files differ; None outside of
            a repository that tracks the project.
        versions: of what made the artifacts.
        opset: version of ONNX's operators in the ONNX file; None without one.
        oldest_onnxruntime: the oldest that reads the ONNX file and computes it right, as `1.18`;
            None without one.
        standardisation: `mean` and `std` by which the network's values become answers; the
            artifacts that hold a graph have that in it. None where outputs are answers.
        formats: those asked for; the first is what serves.
        architecture: how to build the network, for the formats that hold weights alone.
        artifacts: file of each artifact, by the name under which it is opened.
        cache: `tensors` of a key-value cache, and the file of each artifact that keeps one, by the
            artifact's name; the others compute a text anew for each token. None where none does.
        reductions: what reducing the precision of an artifact did to it, its validation metrics
            before and after among that.
        parity: what comparing each artifact with the network found.
        example: the stored input, its logits, and by how much they may differ; the same in
            `own_answers` for artifacts of reduced precision.
        files: `sha256` and `bytes` of every other file.
    """

    bundle_version: int = BUNDLE_VERSION
    name: str
    created: str
    project: dict[str, str] | None = None
    run: str | None = None
    optimizer_steps: int | None = None
    modality: str
    task_type: str
    class_names: list[str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]] = field(default_factory=list)
    artifact_inputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    accepts: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int]
    input_schema: dict[str, Any]
    preprocessing: dict[str, Any]
    model_config: Any = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, list[float | None]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)
    trivial_metrics: dict[str, float | None] = field(default_factory=dict)
    rivals: list[dict[str, Any]] = field(default_factory=list)
    git_commit: str | None = None
    versions: dict[str, str]
    opset: int | None = None
    oldest_onnxruntime: str | None = None
    standardisation: dict[str, list[float]] | None = None
    formats: list[str] = field(default_factory=list)
    architecture: dict[str, Any] | None = None
    artifacts: dict[str, str] = field(default_factory=dict)
    cache: dict[str, Any] | None = None
    reductions: dict[str, dict[str, Any]] = field(default_factory=dict)
    parity: list[dict[str, Any]] = field(default_factory=list)
    example: dict[str, Any] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task_spec: TaskSpec, signature: InputSignature, **known: Any) -> Self:
        """What the task and this project say by themselves; `known` are more fields."""
        standardisation = task_spec.standardisation
        return cls(
            name=task_spec.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            modality=task_spec.modality,
            task_type=task_spec.task_type,
            class_names=task_spec.class_names,
            inputs=[tensor.to_dict() for tensor in signature.tensors],
            limits=dict(signature.limits),
            input_schema=task_spec.input_schema,
            preprocessing=task_spec.preprocessing_config,
            standardisation=standardisation.to_dict() if standardisation else None,
            project=Project.own().to_dict(),
            git_commit=commit(),
            versions=versions(),
            **known,
        )

    @classmethod
    def read(cls, bundle: Path) -> Self:
        """Of a bundle on disk.

        Raises:
            BundleError: there is none, it is damaged, or it is of another version.
        """
        content = read_metadata(bundle)
        for name, hint in get_type_hints(cls).items():
            if hint is Any or name not in content:
                continue
            members = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            if not isinstance(content[name], tuple(get_origin(one) or one for one in members)):
                raise BundleError(f"{METADATA} is damaged: {name} is {content[name]!r:.80}")
        try:
            return cls(**content)
        except TypeError as error:  # a key too many or too few
            reason = str(error).partition(" ")[2]
            raise BundleError(f"{METADATA} is of another version: {reason}") from error

    @property
    def title(self) -> str:
        """What people call the model: by its project; by its task where that is not known."""
        return self.project["name"] if self.project else self.name

    def essentials(self) -> dict[str, Any]:
        """What every artifact says about itself."""
        return {name: value for name in ESSENTIALS if (value := getattr(self, name))}

    def _caveats(self) -> list[str]:
        """What the data leave open, and which other method is better."""
        better = [rival for rival in map(Rival.from_dict, self.rivals) if rival.is_better]
        return [
            *caveats_of(self.data),
            *(f"{one.name} is better on the same samples: {one.reached}" for one in better),
        ]

    def write(self, bundle: Path) -> Self:
        """Write metadata.json; gives what it holds: `files` are those that are there now.

        Artifacts that `files` has are not read again: they are large, and never change.
        """
        files: dict[str, dict[str, Any]] = {}
        for path in sorted(bundle.rglob("*")):
            name = path.relative_to(bundle).as_posix()
            if not path.is_file() or name == METADATA:
                continue
            if name.startswith(ARTIFACTS) and name in self.files:
                files[name] = self.files[name]
            else:
                files[name] = {"sha256": file_hash(path), "bytes": path.stat().st_size}
        written = replace(self, files=files, caveats=self._caveats())
        write_json(bundle / METADATA, asdict(written))
        return written


def caveats_of(data: Mapping[str, Any]) -> Iterator[str]:
    """What data as in the run's data.json leave open."""
    splits = data.get("splits", {})
    validated = splits.get("val", {})
    counts = validated.get("classes") or validated.get("labels") or {}
    if few := [name for name, count in counts.items() if count < ENOUGH_TO_VALIDATE]:
        names = ", ".join(few)
        yield f"fewer than {ENOUGH_TO_VALIDATE} validation samples, so metrics say little: {names}"
    for name, seen in splits.get("train", {}).get("targets", {}).items():
        yield f"{name} was learned from {seen['min']:.6g} to {seen['max']:.6g}, and no further"


def artifact_files(path: Path) -> list[Path]:
    """An artifact, and its weights where they lie beside it."""
    return [path, *path.parent.glob(f"{path.name}{EXTERNAL}")]


def artifact_bytes(path: Path) -> int:
    """Size of an artifact, its weights included."""
    return sum(file.stat().st_size for file in artifact_files(path))


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, in UTF-8; null for a number that is not finite."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def finite(data: Any) -> Any:
    """Plain data with None for each number that is not finite, for which JSON has no word."""
    match data:
        case dict():
            return {name: finite(value) for name, value in data.items()}
        case list() | tuple():
            return [finite(value) for value in data]
        case float() if not math.isfinite(data):
            return None
    return data


def figure(value: float | None) -> str:
    """A metric for people."""
    return "not finite" if value is None or not math.isfinite(value) else f"{value:.4g}"


def versions() -> dict[str, str]:
    """Versions of what made the artifacts, and of what makes the network's inputs."""
    found = {"python": platform.python_version()}
    reading = (PACKAGE / "preprocessing.py", PACKAGE / "data" / f"{TaskSpec.modality}.py")
    imported = (name for path in reading for name in distributions_of_file(path))
    for name in dict.fromkeys((*RECORDED, *imported)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
