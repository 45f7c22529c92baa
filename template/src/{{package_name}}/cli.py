"""The command line: train, export, bench, report, data."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_type_hints

from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace
from rich.console import Console

from .config import TrainingConfig, nearest, read_value
from .errors import DISK_ERRORS, ConfigError, ProjectError, Stopped
from .terminal import lines_for_warnings, steady_output, stopping_at_signals
from .training.speaker import may_say

if TYPE_CHECKING:
    from .data.doctor import Findings
    from .data.splits import Splits

CONFIG_FILE = "config.yaml"
TEXTS = (str, str | None)

PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can mend are one line each, without a traceback.

    Returns:
        0 on success, 2 for wrong options or settings, 1 for everything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with steady_output(), stopping_at_signals(), lines_for_warnings(_one_line_warning):
        console = Console(stderr=True)
        try:
            try:
                return _run(arguments, console)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # only now may a full disk show
        except ProjectError as error:
            if may_say(error):
                for line in str(error).splitlines():
                    console.print(f"error: {line}", style="red", **PLAIN)
            return error.exit_code
        except Stopped as error:
            console.print(str(error), *getattr(error, "__notes__", ()), sep="; ", **PLAIN)
            return error.exit_code
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            where = error.filename2 or error.filename or Path.cwd()
            console.print(f"error: cannot write {where}: {error.strerror}", style="red", **PLAIN)
            return 1


def _run(arguments: list[str], console: Console) -> int:
    parser = _parser()
    options = _parse(parser, arguments)
    command = options.command
    if command is None:
        parser.print_help()
        return 0
    given = options[command]
    _read_values(given)
    COMMANDS[command].run(given, console)
    return 0


# --- commands ------------------------------------------------------------------------------------


def _train(given: Namespace, console: Console) -> None:
    config = _of_resumed_run(given, _config(given))
    # before imports that take seconds: it may fail
    _sample_when_missing(config, given, console)
    from .report import write_report
    from .training.distributed import process_rank
    from .training.loop import run_training
    from .training.summary import class_table, lines, overall_table

    result = run_training(config, console)
    if process_rank() != 0:
        return
    console.print(f"[green]trained[/] {result.optimizer_steps} steps; {result.run_dir}")
    for table in (
        overall_table(result.metrics, result.trivial_metrics),
        class_table(result.metrics),
    ):
        for line in lines(table):
            console.print(f"  {line}", **PLAIN)
    try:
        console.print(f"  report {write_report(result.run_dir)}")
        if config.export_bundle:
            _write_bundle(config, result.best, console)
    except Stopped as stopped:
        stopped.add_note(
            f"training had ended and {result.run_dir} is whole: `report` and `export` do the rest"
        )
        raise


def _export(given: Namespace, console: Console) -> None:
    from .export.bundle import refresh_bundle

    if given.refresh is not None:
        refresh_bundle(Path(given.refresh), console=console)
        return
    from .training.checkpoints import find_checkpoint

    place = given.pop("checkpoint")
    given.pop("refresh")
    attest = {"sign_key": given.pop("sign"), "sbom": given.pop("sbom")}
    config = _config(given)
    place, which = ("last", place) if place in ("best", "last") else (place, "best")
    checkpoint = find_checkpoint(config.output_dir, place, which)
    _write_bundle(config, checkpoint, console, **attest)


def _write_bundle(
    config: TrainingConfig,
    checkpoint: Path,
    console: Console,
    *,
    sign_key: Path | None = None,
    sbom: bool = False,
) -> None:
    from .export.of_run import export_checkpoint

    bundle = export_checkpoint(
        checkpoint, config, console, config.model, sign_key=sign_key, sbom=sbom
    )
    console.print(f"  python {bundle}/inference.py --input FILE", markup=False)


def _bench(given: Namespace, console: Console) -> None:
    from .bench import BENCHMARKS

    subject = given.pop("subject")
    config = _config(given)
    _sample_when_missing(config, given, console)
    BENCHMARKS[subject](_settled(config, console), console)


def _report(given: Namespace, console: Console) -> None:
    from .report import compare_reports, write_report
    from .training.run_folder import latest_run

    runs = [Path(run) for run in given.pop("runs")]
    config = _config(given)
    if len(runs) > 1:
        page = compare_reports(runs)
    else:
        page = write_report(runs[0] if runs else latest_run(config.output_dir))
    console.print(f"[green]wrote[/] {page}")


def _evaluate(given: Namespace, console: Console) -> None:
    from .evaluate_command import run_evaluate

    data = given.pop("data", None)  # not that of training: the run has its own
    places = {name: given.pop(name) for name in ("run", "bundle", "output")}
    run_evaluate(data, config=_config(given), console=console, **places)


def _data(given: Namespace, console: Console) -> None:
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
    console.print(f"[green]wrote[/] {count} samples to {config.data}")


def _check(
    config: TrainingConfig, console: Console, *, as_json: bool, deep: bool, run: Path | None
) -> None:
    """Say what was understood, and list every sample that cannot be used."""
    from .data.check import read_checked_splits
    from .data.description import describe, tell
    from .data.module import load_modality
    from .errors import BadSamples, DataError
    from .task import TaskSpec

    config = _settled(config, console)
    try:
        splits = read_checked_splits(load_modality(TaskSpec.modality), config)
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
    console.print(f"[green]fine[/] {told}{test}")


def _print_problems(problems: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"problems": problems}, ensure_ascii=False))
        return
    for problem in problems:
        print(problem)


def _look_deeply(
    splits: Splits, config: TrainingConfig, console: Console, run: Path | None
) -> Findings:
    from .deep_check import deep_check

    return deep_check(splits, config, console, run)


def _print_findings(findings: Findings, console: Console) -> None:
    from .deep_check import describe

    for line in describe(findings):
        print(line)
    for note in findings.notes:
        console.print(note, **PLAIN)
    if findings.run is not None:
        console.print(f"[green]wrote[/] {findings.run}/{findings.FILE}; `report` shows it")


def _settled(config: TrainingConfig, console: Console) -> TrainingConfig:
    """The settings with what pretrained weights bring along; weights are not loaded."""
    if config.pretrained is None:
        return config
    from .pretrained.settings import settle

    return settle(config, lambda line: console.print(line, **PLAIN))


def _of_resumed_run(given: Namespace, config: TrainingConfig) -> TrainingConfig:
    """A run goes on with its own settings; only those on the command line win over them."""
    if config.resume is None:
        return config
    from .training.resume import resumed_config

    options = {name: value for name, value in given.as_dict().items() if name != "config"}
    return resumed_config(config, options)


def _sample_when_missing(config: TrainingConfig, given: Namespace, console: Console) -> None:
    """First use: without data of the user's own, the sample set shows how everything works.

    Each of several processes does it for itself, and all but one find it done: none waits for
    another, which could fail.

    Raises:
        DataError: this is not the project's folder, where data may well lie; or it cannot be
            written.
    """
    from .data.sample import write_sample
    from .errors import DataError

    data = Path(config.data)
    if data.exists() or config.data != TrainingConfig.defaults()["data"]:
        return
    if not Path(CONFIG_FILE).is_file():
        there = Path(given.config).parent / data
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


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        description: for its help.
        run: does it.
        add_options: adds what it takes besides the settings.
    """

    description: str
    run: Callable[[Namespace, Console], None]
    add_options: Callable[[ArgumentParser], None] = lambda parser: None


def _parser() -> ArgumentParser:
    package = __package__ or ""
    parser = ArgumentParser(
        prog=Path(sys.argv[0]).name if not sys.argv[0].endswith("__main__.py") else package,
        description="Train, export and serve.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(required=False, dest="command")
    for name, command in COMMANDS.items():
        options = _command_parser(command)
        commands.add_subcommand(name, options, help=command.description)
    return parser


def _command_parser(command: Command) -> ArgumentParser:
    parser = ArgumentParser(
        description=command.description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(
        "--config", type=str, default=None, help=f"settings to read (default: {CONFIG_FILE})"
    )
    command.add_options(parser)
    _add_fields(parser)
    return parser


def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        type=str,
        default="best",
        help="best or last of the newest run, a run's folder, or a file (default: best)",
    )
    parser.add_argument(
        "--refresh", type=str, default=None, help="renew a bundle's files, but not its artifacts"
    )
    parser.add_argument(
        "--sign", type=Path | None, default=None, help="private key to sign the bundle with (PEM)"
    )
    parser.add_argument(
        "--sbom", action="store_true", help="add a CycloneDX list of what the bundle installs"
    )


def _bench_options(parser: ArgumentParser) -> None:
    parser.add_argument("subject", type=str, choices=["data", "train", "inference"])


def _report_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        type=str,
        nargs="*",
        default=[],
        help="folder (default: newest); several are compared on one page",
    )


def _evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--run", type=Path | None, default=None, help="folder of a run (default: newest)"
    )
    parser.add_argument(
        "--bundle", type=Path | None, default=None, help="folder of a bundle, instead of a run"
    )
    parser.add_argument(
        "--output",
        type=Path | None,
        default=None,
        help="where the files of a bundle go (default: evaluations/<bundle>/<split>)",
    )


def _data_options(parser: ArgumentParser) -> None:
    parser.add_argument("action", type=str, choices=["sample", "check"])
    parser.add_argument("--json", action="store_true", help="check: print JSON, for machines")
    parser.add_argument(
        "--deep", action="store_true", help="look for duplicates, leaks, mislabels and outliers"
    )
    parser.add_argument(
        "--run", type=Path | None, default=None, help="folder whose network helps (default: newest)"
    )


def _add_fields(parser: ArgumentParser) -> None:
    """One option a field; TrainingConfig checks them, all at once."""
    hints = get_type_hints(TrainingConfig)
    settings = parser.add_argument_group("settings, by default those of the configuration file")
    for name, meaning in TrainingConfig.descriptions().items():
        shown = meaning.replace("%", "%%")
        kind = hints[name] if hints[name] in TEXTS else str
        settings.add_argument(f"--{name}", type=kind, default=SUPPRESS, metavar="VALUE", help=shown)


def _read_values(given: Namespace) -> None:
    """Take texts as they are; other settings are YAML, as in the configuration file.

    Raises:
        ConfigError: one line for each that is none.
    """
    problems = []
    for name, hint in get_type_hints(TrainingConfig).items():
        if name in given and hint not in TEXTS:
            try:
                given[name] = read_value(given[name])
            except ValueError as error:
                # a command may have taken the rest as a word of its own
                is_cut = given[name].startswith(("{", "[")) and not given[name].endswith(("}", "]"))
                hint = f"; put all of it into quotes: --{name} '{given[name]} ...'"
                problems.append(f"{name}: {error}{hint if is_cut else ''}")
    if problems:
        raise ConfigError(problems)


COMMANDS = {
    "train": Command("train a network; writes runs/<run>/", _train),
    "export": Command(
        "write a bundle from a checkpoint; writes exports/model_<time>/", _export, _export_options
    ),
    "bench": Command("measure; prints a table and writes a picture", _bench, _bench_options),
    "report": Command("write a run's report.html anew, or compare runs", _report, _report_options),
    "evaluate": Command(
        "metrics with 95 % intervals; --data names test, val, or where other samples lie",
        _evaluate,
        _evaluate_options,
    ),
    "data": Command("write the sample set, or check your data", _data, _data_options),
}


def _parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        known = [
            *TrainingConfig.descriptions(),
            "config",
            "checkpoint",
            "refresh",
            "sign",
            "sbom",
            "json",
            "deep",
            "bundle",
            "output",
            "run",
            "help",
        ]
        unknown = [
            name
            for argument in arguments
            if argument.startswith("--") and (name := argument[2:].split("=")[0]) not in known
        ]
        problems = [f"--{name}: no such option{nearest(name, known, '--')}" for name in unknown]
        problems += _cut_by_the_shell(arguments)
        raise ConfigError(problems or [" ".join(str(error).split())]) from error


def _cut_by_the_shell(arguments: list[str]) -> list[str]:
    """A line for each setting that got several words, such as those of {a: 1} without quotes."""
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            name, is_given, value = argument[2:].partition("=")
            words = found[name] = [value] if is_given else []
        else:
            words.append(argument)
    return [
        f"--{name}: takes one value and got {len(words)} words; put it into quotes: --{name} "
        f"{shlex.quote(_put_together(name, words))}"
        for name, words in found.items()
        if name in TrainingConfig.descriptions() and len(words) > 1
    ]


def _put_together(name: str, words: list[str]) -> str:
    """The value that was meant; shells take {a,b} and globs apart without leaving brackets."""
    if get_type_hints(TrainingConfig)[name] in TEXTS or words[0].startswith(("{", "[")):
        return " ".join(words)
    if any(":" in word for word in words):
        pairs = ", ".join(word.replace(":", ": ", 1) for word in words)
        return "{" + pairs + "}"
    return f"[{', '.join(words)}]"


def _config(given: Namespace) -> TrainingConfig:
    options = given.as_dict()
    path = options.pop("config", None) or CONFIG_FILE
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
