"""`evaluate`: metrics with intervals of a run or of a bundle, and its predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ..config import TrainingConfig
from ..errors import ConfigError
from ..report import write_evaluation_report
from ..training.checkpoints import find_checkpoint, run_of
from ..training.trained_model import load_trained_model
from . import evaluate
from .bundle import evaluate_bundle
from .files import FOLDER, METRICS, PREDICTIONS, of_checkpoint, write_files
from .samples import choose
from .tables import report_lines


def run_evaluate(
    data: str | None,
    run: Path | None,
    bundle: Path | None,
    config: TrainingConfig,
    console: Console,
    output: Path | None = None,
) -> None:
    """Evaluate the best checkpoint of a run, or every artifact of a bundle.

    Args:
        data: `val` or `test` of the data of the run, or where others lie; by default the test
            split where there is one, else the validation samples.
        run: a run's folder; the newest by default.
        bundle: a bundle's folder, instead of a run.
        config: where runs lie, and how other data are read.
        console: for what was found.
        output: folder of the files, of a bundle; a run's are in its own folder.

    Raises:
        ConfigError: options that do not go together.
        DataError: samples that cannot be read, all of them named.
        TrainingError: no such run, or its checkpoint cannot be read.
        ExportError: the bundle is damaged, or its artifacts do not agree.
    """
    if run is not None and bundle is not None:
        raise ConfigError(["--run and --bundle: give one of them"])
    if output is not None and bundle is None:
        raise ConfigError(["--output: belongs to --bundle; a run's files are in its own folder"])

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if bundle is not None:
        evaluate_bundle(bundle, data, config, console, say, output)
    else:
        _evaluate_run(run, data, config, console, say)


def _evaluate_run(
    run: Path | None,
    data: str | None,
    config: TrainingConfig,
    console: Console,
    say: Callable[[str], None],
) -> None:
    checkpoint = find_checkpoint(config.output_dir, "last" if run is None else str(run), "best")
    say(f"loading {checkpoint}")
    trained = load_trained_model(checkpoint)
    chosen = choose(trained, data, config, say)
    say(f"evaluating on {chosen.told}: {chosen.count} in all")
    evaluation = evaluate(trained, chosen.splits, chosen.split, console=console)
    folder = (run_of(checkpoint) or checkpoint.parent) / FOLDER / chosen.split
    write_files(evaluation, folder, chosen.data, of_checkpoint(checkpoint))
    for line in report_lines(evaluation):
        say(f"  {line}")
    title = f"{folder.parent.parent.name}, {chosen.split}"
    page = write_evaluation_report(trained, evaluation, folder, title, f"Evaluation · {checkpoint}")
    for path in (folder / PREDICTIONS, folder / METRICS, page):
        say(f"wrote {path}")
