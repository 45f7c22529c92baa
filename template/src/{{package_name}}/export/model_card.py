"""MODEL_CARD.md: what a run knows of its model, in the form of the Hugging Face hub.

It says nothing that metadata.json and configs/ do not hold, so that it can be written anew.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TrainingConfig, read_mapping
from ..data.description import lines
from ..data.tables import HUB
from ..task import PIPELINE_TAGS, TaskSpec
from ..training.metric_names import VALIDATION
from ..training.rivals import Rival
from .metadata import BundleMetadata, figure

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

CARD = "MODEL_CARD.md"
TEMPLATE = Path(__file__).resolve().parent.parent / "serving" / "MODEL_CARD.template.md"
# said of every run, whether or not they differ from the defaults
ALWAYS_SAID = ("seed", "precision")


def generate_model_card(task_spec: TaskSpec, export_dir: Path) -> Path:
    """Write the card of a bundle by what its metadata.json and its settings record.

    Args:
        task_spec: of the model.
        export_dir: the bundle.

    Returns:
        path of the card.
    """
    from huggingface_hub import ModelCard

    metadata = BundleMetadata.read(export_dir)
    settings = read_mapping(export_dir / "configs" / "training_config.json")
    front = _front_matter(metadata, settings).to_yaml(line_break="\n")
    card = ModelCard(f"---\n{front}\n---\n\n{_body(metadata, settings, task_spec)}")
    path = export_dir / CARD
    card.save(path)
    return path


# --- For programs ---------------------------------------------------------------------------------


def _front_matter(metadata: BundleMetadata, settings: Mapping[str, Any]) -> ModelCardData:
    """The card's metadata, checked by the hub's own library."""
    from huggingface_hub import ModelCardData

    results = _results(metadata, settings)
    data = settings["data"]
    return ModelCardData(
        model_name=metadata.title,
        license=(metadata.project["license"].lower() if metadata.project else "") or None,
        library_name="onnx" if "onnx" in metadata.formats else "pytorch",
        pipeline_tag=PIPELINE_TAGS.get(metadata.task_type),
        tags=[metadata.modality, metadata.task_type, *metadata.formats],
        datasets=[data.removeprefix(HUB)] if data.startswith(HUB) else None,
        metrics=[result.metric_type for result in results] or None,
        eval_results=results or None,
    )


def _results(metadata: BundleMetadata, settings: Mapping[str, Any]) -> list[EvalResult]:
    """Each metric of all outputs, if it is a number."""
    from huggingface_hub import EvalResult

    data = settings["data"]
    return [
        EvalResult(
            task_type=PIPELINE_TAGS.get(metadata.task_type, metadata.task_type),
            dataset_type=data.removeprefix(HUB) if data.startswith(HUB) else "local",
            dataset_name=data.removeprefix(HUB) if data.startswith(HUB) else Path(data).name,
            dataset_split="validation",
            metric_type=name.removeprefix(VALIDATION),
            metric_value=value,
        )
        for name, value in metadata.metrics.items()
        if value is not None and math.isfinite(value) and _is_overall(name)
    ]


def _is_overall(metric: str) -> bool:
    """val/f1 is of all outputs, val/class_f1/NAME of one."""
    return "/" not in metric.removeprefix(VALIDATION)


# --- For people -----------------------------------------------------------------------------------


def _body(metadata: BundleMetadata, settings: Mapping[str, Any], task_spec: TaskSpec) -> str:
    description = metadata.project["description"] if metadata.project else ""
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        title=metadata.title,
        description="" if description == metadata.title else f"\n{description}\n",
        identity=_table(_identity(metadata)),
        outputs=_plain(_named(task_spec.class_names))
        or f"{task_spec.num_outputs} outputs without names",
        takes=_bullets(_takes(metadata)),
        limits=_bullets(_limits(metadata)),
        metrics="\n".join(_metrics(metadata)) or "None were recorded.",
        data=_bullets(_data(metadata)),
        settings=_table(_settings(metadata, settings)),
        example=metadata.example["input"] if metadata.example else "FILE",
        versions=_table((name, f"`{version}`") for name, version in metadata.versions.items()),
        parity=_table(_parity(metadata)),
    )


def _identity(metadata: BundleMetadata) -> Iterator[tuple[str, str]]:
    yield "task", f"`{metadata.task_type}`"
    known = {
        "project": metadata.project["slug"] if metadata.project else None,
        "run": metadata.run,
        "commit": metadata.git_commit,
        "training data": metadata.data.get("digest"),
    }
    yield from ((name, f"`{value}`") for name, value in known.items() if value)
    yield "exported", metadata.created


def _takes(metadata: BundleMetadata) -> Iterator[str]:
    for name, value in metadata.input_schema.items():
        shown = " x ".join(map(str, value)) if isinstance(value, list) else value
        yield f"`{name}`: {shown}"
    for axis, size in metadata.limits.items():
        yield f"at most {size} along `{axis}`"


def _limits(metadata: BundleMetadata) -> Iterator[str]:
    yield from metadata.caveats
    yield from metadata.data.get("warnings", [])


def _metrics(metadata: BundleMetadata) -> Iterator[str]:
    if not metadata.metrics:
        return
    validated = metadata.data.get("splits", {}).get("val")
    samples = f"{validated['samples']} validation samples" if validated else "validation samples"
    notes = [f"On {samples}."]
    if metadata.intervals:
        notes.append("An interval would hold the metric of 95 in 100 such sets of samples.")
    if metadata.trivial_metrics:
        notes.append("The trivial answer looks at no input.")
    if metadata.rivals:
        notes.append("The other methods learned from the same training samples.")
    yield " ".join(notes)
    overall = filter(_is_overall, metadata.metrics)
    rivals = [Rival.from_dict(kept) for kept in metadata.rivals]
    header = ("metric", "value", "95 % interval", "trivial answer", *(one.name for one in rivals))
    rows = [(name, *_figures(name, metadata), *_beside(name, rivals)) for name in overall]
    yield _whole_table(header, rows)
    of_outputs = _by_output(metadata.metrics)
    columns = list(next(iter(of_outputs.values()), ()))
    outputs = [
        (output, *(known.get(column, "") for column in columns))
        for output, known in of_outputs.items()
    ]
    if outputs:
        yield _whole_table(("output", *columns), outputs)


def _by_output(metrics: Mapping[str, float | None]) -> dict[str, dict[str, str]]:
    """Figures by their names, for each output that has some of its own."""
    found: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        if not _is_overall(name):
            column, _, output = name.removeprefix(VALIDATION).partition("/")
            found.setdefault(output, {})[column.removeprefix("class_")] = figure(value)
    return found


def _figures(name: str, metadata: BundleMetadata) -> tuple[str, str, str]:
    interval = metadata.intervals.get(name)
    return (
        figure(metadata.metrics[name]),
        "" if interval is None else _ends(*interval),
        figure(metadata.trivial_metrics[name]) if name in metadata.trivial_metrics else "",
    )


def _beside(name: str, rivals: Sequence[Rival]) -> Iterator[str]:
    """What other methods reach, with their intervals."""
    for rival in rivals:
        found = rival.metrics.get(name)
        yield "" if found is None else f"{figure(found.value)} ({_ends(found.low, found.high)})"


def _ends(low: float | None, high: float | None) -> str:
    return f"{figure(low)} to {figure(high)}"


def _data(metadata: BundleMetadata) -> Iterator[str]:
    if "splits" in metadata.data:
        yield from (line.strip() for line in lines(metadata.data))


def _settings(
    metadata: BundleMetadata, settings: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    if metadata.optimizer_steps is not None:
        yield "optimizer steps", f"`{metadata.optimizer_steps}`", ""
    for name, default in TrainingConfig().to_dict().items():
        value = settings.get(name, default)
        if value != default or name in ALWAYS_SAID:
            yield f"`{name}`", f"`{value}`", f"`{default}`"


def _parity(metadata: BundleMetadata) -> Iterator[tuple[str, str]]:
    worst: dict[str, float] = {}
    for result in metadata.parity:
        worst[result["format"]] = max(worst.get(result["format"], 0.0), result["max_error"])
    return ((f"`{name}`", f"{error:.1e}") for name, error in worst.items())


def _named(names: Sequence[str]) -> str:
    return ", ".join(names)


def _bullets(found: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in found) or "- none were recorded"


def _whole_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"\n{_table([header])}\n|{'---|' * len(header)}\n{_table(rows)}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of a table."""
    return "\n".join(f"| {' | '.join(map(_plain, row))} |" for row in rows)


def _plain(text: str) -> str:
    """A text that neither ends its line nor its cell, and is no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
