"""A run itself: its settings, its checkpoints, the bundles that were made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import TrainingConfig
from ..errors import TrainingError
from ..export.metadata import BundleMetadata, finite
from ..serving.runtime import BundleError
from ..training.checkpoints import BEST, LAST, read_checkpoint
from ..training.runs import FOLDER, RunRecord
from ..training.trained_model import TrainedModel
from .elements import Cell, Html, details, heading, joined, paragraph, table
from .page import Section


def settings(config: TrainingConfig) -> Section:
    """Those that differ from the defaults, then all of them."""
    values, defaults = config.to_dict(), TrainingConfig.defaults()
    meanings = TrainingConfig.descriptions()
    changed: list[list[Cell]] = [
        [name, shown(value), shown(defaults[name])]
        for name, value in values.items()
        if value != defaults[name]
    ]
    everything: list[list[Cell]] = [
        [name, shown(value), meanings[name]] for name, value in values.items()
    ]
    first = (
        table(["setting", "value", "default"], changed, "Settings that differ from the defaults")
        if changed
        else paragraph("All settings are the defaults.")
    )
    listed = table(["setting", "value", "meaning"], everything, "All settings")
    return Section("Settings", joined([first, details(f"All {len(everything)} settings", listed)]))


def differing(configs: Mapping[str, Mapping[str, Any]]) -> Html:
    """Settings of several runs, those alone that are not the same everywhere.

    Args:
        configs: their settings, by the run's name.
    """
    names = dict.fromkeys(name for config in configs.values() for name in config)
    rows: list[list[Cell]] = []
    for name in names:
        values = [shown(config[name]) if name in config else "–" for config in configs.values()]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if not rows:
        return paragraph("All settings are the same.")
    return table(["setting", *configs], rows, "Settings that differ between the runs")


def shown(value: Any) -> str:
    """A setting as it is typed, in YAML's short form."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def checkpoints(run_dir: Path, trained: TrainedModel) -> Section:
    """What can be gone on with or exported, and what was exported already."""
    rows = [_of_checkpoint(run_dir / FOLDER / name) for name in (BEST, LAST)]
    header = ["checkpoint", "optimizer step", "epoch", "judged by", "score"]
    parts = [table(header, rows, "Checkpoints of the run"), heading("Bundles")]
    found = list(_bundles(run_dir, trained))
    if not found:
        says = f"{trained.config.export_dir} holds none of the best one; `export` writes it."
        parts.append(paragraph(says))
    for folder, metadata in found:
        parts.append(_of_bundle(folder, metadata))
    return Section("Checkpoints and bundles", joined(parts))


def _of_checkpoint(path: Path) -> list[Cell]:
    try:
        checkpoint = read_checkpoint(path)
    except TrainingError as error:
        return [path.name, None, None, str(error), None]
    judged = checkpoint["judged"]
    return [
        path.name,
        int(checkpoint["global_step"]),
        int(checkpoint["epoch"]) + 1,
        "–" if judged is None else judged["metric"],
        None if judged is None else float(judged["score"]),
    ]


def _bundles(run_dir: Path, trained: TrainedModel) -> Iterator[tuple[Path, BundleMetadata]]:
    """Bundles of the best checkpoint: those that reached exactly the same."""
    for path in sorted(Path(trained.config.export_dir).glob("*/metadata.json")):
        try:
            metadata = BundleMetadata.read(path.parent)
        except BundleError:  # damaged, or of another version
            continue
        is_of_run = metadata.run in (run_dir.name, None)
        if is_of_run and metadata.metrics == finite(trained.metrics):
            yield path.parent, metadata


def _of_bundle(folder: Path, metadata: BundleMetadata) -> Html:
    compared: dict[str, list[Mapping[str, Any]]] = {}
    for one in metadata.parity:
        compared.setdefault(one["format"], []).append(one)
    # where the precision was reduced, metrics decide, and no difference is too large
    rows: list[list[Cell]] = [
        [name, len(ones), max(one["max_error"] for one in ones), ones[0]["tolerance"]]
        for name, ones in compared.items()
    ]
    header = ["format", "shapes compared", "largest difference", "allowed"]
    said = table(header, rows, f"{folder}: every artifact beside the network it was made of")
    versions = ", ".join(f"{name} {one}" for name, one in metadata.versions.items())
    return joined([said, paragraph(f"Written {metadata.created} with {versions}.", "note")])


def environment(run_dir: Path, config: TrainingConfig) -> Section:
    """What the run ran on and whether it was compiled, as far as it has kept that."""
    record = RunRecord.read(run_dir)
    if not record.started:
        says = f"The run has not kept it. Its settings ask for compile_mode {config.compile_mode}."
        return Section("Environment", paragraph(says))
    rows: list[list[Cell]] = [[name, value] for name, value in record.environment.items()]
    told = record.compilation or ("The network was not compiled: compile_mode is none.",)
    return Section(
        "Environment",
        joined(
            [
                table(["what", "version or name"], rows, "What the run ran on"),
                heading("Compiling"),
                *(paragraph(line) for line in told),
            ]
        ),
    )
