"""A run, or several beside each other, as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .atomic import write_whole
from .data.splits import Splits
from .errors import DataError, TrainingError
from .evaluation import Evaluation, Measured, evaluate, splits_of_run
from .evaluation.files import FOLDER, of_checkpoint, write_files
from .report_page import (
    calibration,
    classes,
    comparison,
    curves,
    data,
    doctor,
    labels,
    run,
    samples,
    values,
    verdict,
)
from .report_page.comparison import REPORT, ComparedRun
from .report_page.elements import paragraph
from .report_page.page import Section, page
from .report_page.verdict import Reached
from .report_page.views import own_sections
from .training.checkpoints import Judgement, find_checkpoint, read_checkpoint
from .training.metrics import read_metrics
from .training.objective import monitor_of
from .training.objectives import OBJECTIVES
from .training.runs import RunRecord
from .training.trained_model import TrainedModel, load_trained_model

COMPARISON = "comparison.html"


@dataclass(frozen=True)
class MeasuredRun:
    """The best checkpoint of a run with what it makes of the validation samples.

    Attributes:
        run_dir: the run's folder.
        trained: the network.
        judged: what the validation in training said of it; None where there was none.
        splits, evaluation: the data and what the network says of them; None where they are gone.
        missing: why they are; empty where they are there.
    """

    run_dir: Path
    trained: TrainedModel
    judged: Judgement | None
    splits: Splits | None
    evaluation: Evaluation | None
    missing: str = ""


def measure(run_dir: Path, splits: Splits | None = None) -> MeasuredRun:
    """Run the best checkpoint over all validation samples; predictions and metrics are kept.

    Args:
        run_dir: the run's folder.
        splits: its data, where they have been read already.

    Raises:
        TrainingError: the folder holds no finished epoch.
        DataError: what it says cannot be written.
    """
    if not (run_dir / "metrics.csv").is_file():
        raise TrainingError(f"{run_dir} holds no metrics.csv; give the folder of a run")
    checkpoint = find_checkpoint("", str(run_dir), "best")
    trained = load_trained_model(checkpoint)
    kept = read_checkpoint(checkpoint)["judged"]
    judged = None if kept is None else Judgement(**kept)
    try:
        splits = splits or splits_of_run(trained)
        evaluation = evaluate(trained, splits)
    except DataError as error:
        return MeasuredRun(run_dir, trained, judged, None, None, str(error))
    subject = of_checkpoint(checkpoint)
    write_files(evaluation, run_dir / FOLDER / evaluation.split, trained.config.data, subject)
    return MeasuredRun(run_dir, trained, judged, splits, evaluation)


def write_report(run_dir: Path, measured: MeasuredRun | None = None) -> Path:
    """Write `report.html` into a run's folder, from its metrics and its best checkpoint.

    Args:
        run_dir: the folder.
        measured: what `measure` gives, where that has been done.

    Returns:
        the page's path.

    Raises:
        TrainingError: the folder holds no finished epoch.
    """
    found = measured or measure(run_dir)
    trained, evaluation = found.trained, found.evaluation
    reached = Reached(trained.metrics, trained.trivial_metrics, found.judged, evaluation)
    sections = [
        verdict.section(reached),
        *([_missing(found.missing)] if found.missing else []),
        curves.section(read_metrics(run_dir)),
        *([curves.pace(paces)] if (paces := RunRecord.read(run_dir).paces) else []),
        *([] if evaluation is None else evaluation_sections(trained, evaluation)),
        data.section(trained, found.splits),
        *doctor.sections(run_dir, trained, found.splits),
        run.settings(trained.config),
        run.checkpoints(run_dir, trained),
        run.environment(run_dir, trained.config),
    ]
    task_type = trained.task_spec.task_type
    kicker = f"Training run · {task_type.replace('_', ' ')} · {trained.config.model}"
    content = page(run_dir.absolute().name, kicker, verdict.verdict(reached, task_type), sections)
    return _written(run_dir / REPORT, content)


def compare_reports(run_dirs: Sequence[Path]) -> Path:
    """Write `comparison.html` beside the first of several runs.

    Returns:
        the page's path.

    Raises:
        TrainingError: one of the folders holds no finished epoch.
    """
    read = {_name(folder, run_dirs): ComparedRun.read(folder) for folder in run_dirs}
    place = run_dirs[0].parent
    content = page(
        f"{len(read)} runs",
        "Comparison of training runs",
        comparison.verdict(read),
        comparison.sections(read, place),
    )
    return _written(place / COMPARISON, content)


def write_evaluation_report(
    measured: Measured, evaluation: Evaluation, folder: Path, title: str, kicker: str
) -> Path:
    """Write `report.html` about an evaluation into a folder.

    Args:
        measured: what was evaluated.
        evaluation: what it says of the samples.
        folder: where the page goes.
        title: of the page.
        kicker: a line above it.

    Returns:
        the page's path.
    """
    task_type = evaluation.task_spec.task_type
    metrics = {name: found.value for name, found in evaluation.metrics.items()}
    monitor = monitor_of(OBJECTIVES[task_type], evaluation.task_spec, measured.config)
    # a class that decides may be missing among these samples
    score = metrics.get(monitor.column, math.nan)
    judged = Judgement(monitor.column, monitor.mode, score, metrics["val/loss"])
    reached = Reached(metrics, evaluation.trivial_metrics, judged, evaluation)
    sections = [verdict.section(reached), *evaluation_sections(measured, evaluation)]
    content = page(title, kicker, verdict.verdict(reached, task_type), sections)
    return _written(folder / REPORT, content)


def evaluation_sections(measured: Measured, evaluation: Evaluation) -> list[Section]:
    """What a network says of every sample of a split, as it fits the task."""
    if evaluation.truth is None:
        return own_sections(measured, evaluation)
    gallery = samples.Gallery(measured, evaluation)
    if evaluation.truth.ndim == 1:
        confusion = classes.Confusion.of(evaluation)
        worst = samples.section(evaluation, gallery, confusion.describe)
        return [
            classes.section(evaluation, gallery),
            classes.figures(evaluation),
            worst,
            calibration.of_classes(evaluation),
            *own_sections(measured, evaluation),
        ]
    if evaluation.truth.dtype == bool:
        describe = labels.describe
        shown = [labels.section(evaluation)]
        behind = [calibration.of_labels(evaluation)]
    else:
        describe = values.describe
        shown, behind = [values.section(evaluation)], []
    worst = samples.section(evaluation, gallery, lambda sample: describe(evaluation, sample))
    return [*shown, worst, *behind, *own_sections(measured, evaluation)]


def _missing(reason: str) -> Section:
    says = "What needs the samples is missing from this page, for they cannot be read now:"
    return Section("Samples are missing", paragraph(f"{says} {reason}"))


def _name(folder: Path, among: Sequence[Path]) -> str:
    """The folder's name, or its path where several have that name."""
    is_unique = sum(other.name == folder.name for other in among) == 1
    return folder.name if is_unique else str(folder)


def _written(path: Path, content: str) -> Path:
    write_whole(path, content)
    return path
