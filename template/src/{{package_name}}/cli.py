"""The command line: train, evaluate, export, bench, report, runs, data.

What a command needs is imported inside it: help, a wrong option and a look at data answer at once.
"""

from __future__ import annotations

import json
import sys
from argparse import _ActionsContainer
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

from .config import TrainingConfig
from .errors import DISK_ERRORS, ConfigError, ProjectError, Stopped
from .options import CONFIG_FILE, SETTINGS, Command, Given, parse, program_name
from .terminal import (
    end_undisturbed,
    lines_for_warnings,
    pasteable,
    pasteable_beside,
    steady_output,
    stopping_at_signals,
    telling,
    waiting,
)
from .training.speaker import may_say, process_rank

if TYPE_CHECKING:
    from .data.doctor import Findings
    from .data.splits import Splits
    from .report import MeasuredRun
    from .training.loop import TrainingResult

PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}

# what is waited for where a command needs torch
LIBRARIES = "loading PyTorch and Lightning"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can mend are one line each, without a traceback.

    Returns:
        0 on success, 2 for wrong options or settings, 1 for everything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with steady_output(), stopping_at_signals(), lines_for_warnings(_one_line_warning):
        errors = Console(stderr=True)
        given = Given(None, {}, debug="--debug" in arguments)
        try:
            try:
                given = parse(arguments, COMMANDS, program_name(sys.argv[0]))
                if given.command is not None:
                    console = Console(stderr=True, quiet=given.quiet)
                    COMMANDS[given.command].run(given.options, console)
                return 0
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # only now may a full disk show
        except ProjectError as error:
            end_undisturbed()
            if may_say(error):
                if given.debug:
                    errors.print_exception()
                for line in str(error).splitlines():
                    errors.print(f"error: {line}", style="red", **PLAIN)
            return error.exit_code
        except Stopped as error:
            errors.print(str(error), *getattr(error, "__notes__", ()), sep="; ", **PLAIN)
            return error.exit_code
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            where = error.filename2 or error.filename or Path.cwd()
            errors.print(f"error: cannot write {where}: {error.strerror}", style="red", **PLAIN)
            return 1


def _waiting(console: Console, what: str) -> AbstractContextManager[None]:
    return waiting(telling(console), what)


def _say_done(console: Console, word: str, what: str) -> None:
    """Paths are whole, to be copied, and may hold what rich takes for a style."""
    console.print(Text.assemble((word, "green"), " ", what), soft_wrap=True)


# --- train ---------------------------------------------------------------------------------------


def _train(given: dict[str, Any], console: Console) -> None:
    config = _of_resumed_run(given, _config(given), console)
    # before imports that take seconds: it may fail
    _sample_when_missing(config, given, console)
    splits = _read_data(config, console)
    with _waiting(console, LIBRARIES):
        from .report import measure, write_report
        from .training.loop import run_training
    result = run_training(config, console, splits)
    if process_rank() != 0:
        return
    _print_tables(result, console)
    try:
        with _waiting(console, "evaluating the best checkpoint on all validation samples"):
            measured = measure(result.run_dir, splits)
        _print_rivals(measured, console)
        bundle = None
        try:
            if config.export_bundle:
                bundle = _write_bundle(config, result.best, console)
        finally:  # it shows the bundle, and is there without one
            with _waiting(console, "writing the report"):
                report = write_report(result.run_dir, measured)
        _print_ending(config, result, report, bundle, console)
    except Stopped as stopped:
        stopped.add_note(
            f"training had ended and {result.run_dir} is whole: `report` and `export` do the rest"
        )
        raise


def _read_data(config: TrainingConfig, console: Console) -> Splits | None:
    """The data with what was found in them, told; None where that needs a trained processor."""
    if config.resume is not None or config.pretrained is not None:
        return None
    with _waiting(console, f"reading {config.data}"):
        from .data import reading
        from .data.check import with_facts
        from .data.description import describe, tell

        splits = with_facts(reading, reading.read_splits(config), config)
    if process_rank() == 0:
        tell(describe(splits), console)
    return splits


def _print_tables(result: TrainingResult, console: Console) -> None:
    from .training.summary import class_table, lines, overall_table

    for table in (
        overall_table(result.metrics, result.trivial_metrics),
        class_table(result.metrics),
    ):
        for line in lines(table):
            console.print(f"  {line}", **PLAIN)


def _print_rivals(measured: MeasuredRun, console: Console) -> None:
    """Other methods on the same samples, where the modality has any."""
    from .evaluation.tables import rival_lines

    if measured.evaluation is not None:
        for line in rival_lines(measured.evaluation):
            console.print(f"  {line}", **PLAIN)


def _print_ending(
    config: TrainingConfig,
    result: TrainingResult,
    report: Path,
    bundle: Path | None,
    console: Console,
) -> None:
    """Where everything is, and what to do next: one whole line each, to be copied."""
    from .training.trackers import how_to_open

    export = pasteable("export", "--run", result.run_dir)
    rows = [
        ("best", f"epoch {result.best_epoch} (step {result.best_step}), by {result.best_by}"),
        ("run", f"{result.run_dir} ({result.optimizer_steps} steps)"),
        ("report", str(report)),
        *((name, how_to_open(name, config.output_dir)) for name in config.trackers),
        *([("bundle", str(bundle))] if bundle else []),
        ("next", _predict_command(bundle) if bundle else export),
    ]
    _say_done(console, "trained", str(result.run_dir))
    for name, what in rows:
        console.print(f"  {name:12}{what}", **PLAIN)


def _predict_command(bundle: Path) -> str:
    return pasteable_beside("python", bundle / "inference.py", "--input", "FILE")


# --- export, bench, report, runs -----------------------------------------------------------------


def _export(given: dict[str, Any], console: Console) -> None:
    if (bundle := given.pop("refresh")) is not None:
        with _waiting(console, LIBRARIES):
            from .export.bundle import refresh_bundle

        refresh_bundle(Path(bundle), console=console)
        return
    place, run = given.pop("checkpoint"), given.pop("run")
    attest = {"sign_key": given.pop("sign"), "sbom": given.pop("sbom")}
    config = _config(given)
    with _waiting(console, LIBRARIES):
        from .training.checkpoints import find_checkpoint
    place, which = ("last", place) if place in ("best", "last") else (place, "best")
    if run is not None and place != "last":
        raise ConfigError([f"--checkpoint {place}: names another run than --run {run}"])
    if place == "last":
        place = str(_chosen_run(run, config, console))
    checkpoint = find_checkpoint(config.output_dir, place, which)
    bundle = _write_bundle(config, checkpoint, console, **attest)
    console.print(f"  next        {_predict_command(bundle)}", **PLAIN)


def _write_bundle(
    config: TrainingConfig,
    checkpoint: Path,
    console: Console,
    *,
    sign_key: Path | None = None,
    sbom: bool = False,
) -> Path:
    from .export.of_run import export_checkpoint

    return export_checkpoint(
        checkpoint, config, console, config.model, sign_key=sign_key, sbom=sbom
    )


def _bench(given: dict[str, Any], console: Console) -> None:
    subject = given.pop("subject")
    config = _config(given)
    _sample_when_missing(config, given, console)
    with _waiting(console, LIBRARIES):
        from .bench import BENCHMARKS
    BENCHMARKS[subject](_settled(config, console), console)


def _report(given: dict[str, Any], console: Console) -> None:
    named, run = given.pop("runs"), given.pop("run")
    config = _config(given)
    runs = [Path(one) for one in [*named, *([run] if run else [])]]
    runs = runs or [_chosen_run(None, config, console)]
    with _waiting(console, LIBRARIES):
        from .report import compare_reports, write_report
    with _waiting(console, f"reporting on {', '.join(map(str, runs))}"):
        page = compare_reports(runs) if len(runs) > 1 else write_report(runs[0])
    _say_done(console, "wrote", str(page))


def _chosen_run(named: str | None, config: TrainingConfig, console: Console) -> Path:
    """A run's folder: the named one, or the newest; says which, and whether another is better."""
    from .training.runs import better_run, latest_run, read_runs

    if named is not None:
        return Path(named)
    run_dir = latest_run(config.output_dir)
    console.print(f"run: {run_dir}, the newest", **PLAIN)
    if (better := better_run(read_runs(config.output_dir), run_dir)) is not None:
        console.print(f"better is {better.told()}: --run {better.folder}", **PLAIN)
    return run_dir


def _runs(given: dict[str, Any], console: Console) -> None:
    from .training.runs import read_runs, run_table

    by, as_json = given.pop("sort"), given.pop("json")
    config = _config(given)
    runs = read_runs(config.output_dir, config.export_dir)
    if as_json:
        print(json.dumps([run.to_dict() for run in runs], ensure_ascii=False))
        return
    for line in run_table(runs, by):
        print(line)


def _evaluate(given: dict[str, Any], console: Console) -> None:
    # not the data of training: the run has its own
    data = given.pop("data", None)
    places = {name: given.pop(name) for name in ("run", "bundle", "output")}
    config = _config(given)
    if (bundle := places["bundle"]) is not None and not bundle.is_dir():
        raise ConfigError([f"--bundle: {bundle} is no folder"])
    if places["bundle"] is None and places["output"] is None:  # else something is to be said
        places["run"] = _chosen_run(places["run"], config, console)
    with _waiting(console, LIBRARIES):
        from .evaluation.command import run_evaluate
    run_evaluate(data, config=config, console=console, **places)


# --- data ----------------------------------------------------------------------------------------


def _data(given: dict[str, Any], console: Console) -> None:
    action, as_json = given.pop("action"), given.pop("json")
    deep, run = given.pop("deep"), given.pop("run")
    if action != "check" and (deep or as_json):
        raise ConfigError([f"{'--deep' if deep else '--json'}: belongs to `data check`"])
    if run and not deep:
        raise ConfigError(["--run: belongs to `data check --deep`"])
    config = _config(given)
    if action == "sample":
        _write_sample(config, console)
    else:
        _check(config, console, as_json=as_json, deep=deep, run=run)


def _write_sample(config: TrainingConfig, console: Console) -> None:
    from .data.sample import write_sample

    count = write_sample(Path(config.data), config.task)
    _say_done(console, "wrote", f"{count} samples to {config.data}")


def _check(
    config: TrainingConfig, console: Console, *, as_json: bool, deep: bool, run: Path | None
) -> None:
    """Say what was understood, and list every sample that cannot be used."""
    from .errors import BadSamples, DataError

    config = _settled(config, console)
    try:
        with _waiting(console, f"reading {config.data}"):
            from .data import reading
            from .data.check import read_checked_splits
            from .data.description import describe, tell

            splits = read_checked_splits(reading, config)
    except BadSamples as error:
        _print_problems(error.problems, as_json)
        noun = "sample" if len(error.problems) == 1 else "samples"
        raise DataError(f"{len(error.problems)} {noun} in {config.data} cannot be used") from error
    except DataError as error:
        if as_json:
            _print_problems([str(error)], as_json)
        raise
    findings = _look_deeply(splits, config, console, run) if deep else None
    if as_json:
        found = {} if findings is None else {"findings": findings.to_dict()}
        print(json.dumps({**describe(splits), "problems": [], **found}, ensure_ascii=False))
        return
    tell(describe(splits), console)
    if findings is not None:
        _print_findings(findings, console)
    told = f"{len(splits.train)} samples to train on, {len(splits.val)} to validate on"
    test = f", {len(splits.test)} to test on" if splits.test is not None else ""
    _say_done(console, "fine", f"{told}{test}")


def _print_problems(problems: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"problems": problems}, ensure_ascii=False))
        return
    for problem in problems:
        print(problem)


def _look_deeply(
    splits: Splits, config: TrainingConfig, console: Console, run: Path | None
) -> Findings:
    with _waiting(console, LIBRARIES):
        from .deep_check import deep_check

    return deep_check(splits, config, console, run)


def _print_findings(findings: Findings, console: Console) -> None:
    from .deep_check import describe

    for line in describe(findings):
        print(line)
    for note in findings.notes:
        console.print(note, **PLAIN)
    if findings.run is not None:
        _say_done(console, "wrote", f"{findings.run}/{findings.FILE}; `report` shows it")


def _settled(config: TrainingConfig, console: Console) -> TrainingConfig:
    """The settings with what pretrained weights bring along; weights are not loaded."""
    if config.pretrained is None:
        return config
    with _waiting(console, LIBRARIES):
        from .pretrained.settings import settle

    return settle(config, lambda line: console.print(line, **PLAIN))


def _of_resumed_run(
    given: dict[str, Any], config: TrainingConfig, console: Console
) -> TrainingConfig:
    """A run goes on with its own settings; only those on the command line win over them."""
    if config.resume is None:
        return config
    with _waiting(console, LIBRARIES):
        from .training.resume import resumed_config

    return resumed_config(config, {name: given[name] for name in SETTINGS if name in given})


def _sample_when_missing(config: TrainingConfig, given: dict[str, Any], console: Console) -> None:
    """First use: without data of the user's own, the sample set shows how everything works.

    Each of several processes does it for itself, and all but one find it done: none waits for
    another, which could fail.

    Raises:
        DataError: this is not the project's folder, where data may well lie; or it cannot be
            written.
    """
    data = Path(config.data)
    if data.exists() or config.data != TrainingConfig.defaults()["data"]:
        return
    from .data.sample import write_sample
    from .errors import DataError

    if not Path(CONFIG_FILE).is_file():
        there = Path(given["config"] or CONFIG_FILE).parent / data
        raise DataError(
            f"{data}/ does not exist in {Path.cwd()}, from where relative paths count; give "
            f"--data {there if there.exists() else 'PATH'}, or `data sample` for the sample set"
        )
    try:
        count = write_sample(data, config.task)
    except DataError:
        if data.exists():  # another process was quicker
            return
        raise
    console.print(f"no {data}/ here: wrote the built-in sample set to it, {count} samples")


# --- options -------------------------------------------------------------------------------------


def _export_options(options: _ActionsContainer) -> None:
    options.add_argument(
        "--checkpoint",
        metavar="PLACE",
        default="best",
        help="best or last of the run, a run's folder, or a file (default: best)",
    )
    options.add_argument("--run", metavar="FOLDER", help="the run (default: the newest)")
    options.add_argument(
        "--refresh", metavar="BUNDLE", help="renew a bundle's files, but not its artifacts"
    )
    options.add_argument(
        "--sign", type=Path, metavar="KEY", help="private key to sign the bundle with (PEM)"
    )
    options.add_argument(
        "--sbom", action="store_true", help="add a CycloneDX list of what the bundle installs"
    )


def _bench_options(options: _ActionsContainer) -> None:
    options.add_argument(
        "subject", choices=["data", "train", "inference"], metavar="data|train|inference"
    )


def _report_options(options: _ActionsContainer) -> None:
    options.add_argument(
        "runs",
        nargs="*",
        metavar="[RUN ...]",
        help="folders of runs (default: the newest); several are compared on one page",
    )
    options.add_argument("--run", metavar="FOLDER", help="one more")


def _runs_options(options: _ActionsContainer) -> None:
    options.add_argument(
        "--sort", metavar="COLUMN", default="start", help="column to sort by (default: start)"
    )
    options.add_argument("--json", action="store_true", help="print JSON, for machines")


def _evaluate_options(options: _ActionsContainer) -> None:
    options.add_argument(
        "--data",
        metavar="test|val|PATH",
        help="the run's test split (the default, where there is one), its validation split, or a "
        "folder, table or hub:NAME of other samples",
    )
    options.add_argument("--run", type=Path, metavar="FOLDER", help="the run (default: the newest)")
    options.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="every artifact of a bundle, instead of a run"
    )
    options.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the files of a bundle go (default: evaluations/<bundle>/<split>)",
    )


def _data_options(options: _ActionsContainer) -> None:
    options.add_argument("action", choices=["sample", "check"], metavar="sample|check")
    options.add_argument("--json", action="store_true", help="check: print JSON, for machines")
    options.add_argument(
        "--deep", action="store_true", help="look for duplicates, leaks, mislabels and outliers"
    )
    options.add_argument(
        "--run", type=Path, metavar="FOLDER", help="whose network helps (default: the newest)"
    )


OF_EXPORTS = tuple(name for name in SETTINGS if name.startswith("export_"))

COMMANDS = {
    "train": Command(
        "train a network; writes runs/<run>/, and a bundle where export_bundle asks for one",
        _train,
        "train --epochs 30 --learning_rate 1e-3",
        usual=(
            *("data", "task", "model", "pretrained", "freeze", "image_size", "max_seq_len"),
            *("batch_size", "gradient_accumulation_steps", "epochs", "max_steps", "learning_rate"),
            *("compile_mode", "precision", "devices", "num_workers", "seed", "trackers", "resume"),
            *("export_bundle", "export_formats"),
        ),
    ),
    "export": Command(
        "write a bundle from a checkpoint; writes exports/model_<time>/",
        _export,
        "export --export_formats onnx,pytorch",
        usual=("export_formats", "export_precision", "export_dir"),
        takes=(*OF_EXPORTS, "model", "output_dir"),
        add_options=_export_options,
    ),
    "bench": Command(
        "measure on this machine; prints a table and writes a picture",
        _bench,
        "bench train --batch_size 64",
        usual=("data", "model", "batch_size", "num_workers", "compile_mode", "export_formats"),
        add_options=_bench_options,
    ),
    "report": Command(
        "write a run's report.html anew, or compare runs",
        _report,
        "report",
        usual=("output_dir",),
        takes=("output_dir",),
        add_options=_report_options,
    ),
    "evaluate": Command(
        "metrics with 95 % intervals, and the prediction of every sample",
        _evaluate,
        "evaluate --data val",
        usual=("output_dir",),
        takes=("output_dir",),
        add_options=_evaluate_options,
    ),
    "runs": Command(
        "list all runs, the best marked",
        _runs,
        "runs --sort best",
        usual=("output_dir",),
        takes=("output_dir", "export_dir"),
        add_options=_runs_options,
    ),
    "data": Command(
        "write the sample set, or check your data",
        _data,
        "data check --data photos",
        usual=(
            *("data", "task", "label_column", "validation_split"),
            *("image_column", "target_columns", "text_column"),
        ),
        add_options=_data_options,
    ),
}


def _config(given: dict[str, Any]) -> TrainingConfig:
    options = {name: given[name] for name in SETTINGS if name in given}
    path = given.get("config") or CONFIG_FILE
    if not Path(path).exists():
        raise ConfigError(
            [f"{path} does not exist; run in the project's folder or give --config PATH"]
        )
    return TrainingConfig.load(path, **options)


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Warnings without the source line that raised them, which tells a user nothing."""
    text = " ".join(str(message).split())
    if not may_say(text):
        return
    Console(stderr=True).print(f"warning: {text}", style="yellow", **PLAIN)
