"""The command line.

Copier and Rich are imported inside the commands that use them: `tp35 --help` answers at once.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from tp35.problems import Problem, nearest
from tp35.stopping import Stopped, as_exceptions

INTERRUPTED = 130
NOBODY_READS = 141
FOLDER = click.Path(path_type=Path)


def _complete_preset(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
    from tp35 import presets

    return [name for name in presets.presets() if name.startswith(typed)]


def _complete_key(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
    from tp35 import questions

    return [f"{key}=" for key in questions.questions() if key.startswith(typed)]


def _not_empty(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.UsageError(f"--{parameter.name} is empty; give a value, or leave it out")
    return value


data_option = click.option(
    "--data",
    "-d",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=_complete_key,
    help="Answer a question; repeatable.",
)
template_option = click.option(
    "--template",
    metavar="PATH|URL",
    callback=_not_empty,
    help="Take the template from here (default: this tp35's own).",
)
moved_option = click.option(
    "--template", metavar="PATH|URL", help="The template moved there; update records it."
)
ref_option = click.option(
    "--ref", metavar="TAG|COMMIT", callback=_not_empty, help="Take this version of the template."
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Say nothing but what is wrong.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
answers_file_option = click.option(
    "--answers-file",
    metavar="NAME",
    default=".copier-answers.yml",
    help="The template's answers file, where DEST has several.",
)
skip_hooks_option = click.option(
    "--skip-hooks", is_flag=True, help="Leave out the checks and migrations of hooks/."
)


class Commands(click.Group):
    """A group that names the nearest command when it does not know one."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; asked for an unknown one, say what was meant."""
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing:
            raise click.UsageError(f"no command {cmd_name!r}; {nearest(cmd_name, self.commands)}")
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tp35")
def cli() -> None:
    """Make PyTorch training projects that train, export, verify and serve; keep them current."""


@cli.command()
@click.argument("destination", metavar="DEST", type=FOLDER)
@click.option(
    "--preset",
    metavar="NAME",
    shell_complete=_complete_preset,
    help="Start from a row of `tp35 presets`.",
)
@data_option
@click.option("--defaults", is_flag=True, help="Ask nothing; take defaults for the rest.")
@template_option
@ref_option
@skip_hooks_option
@quiet_option
def new(
    destination: Path,
    preset: str | None,
    data: tuple[str, ...],
    defaults: bool,
    template: str | None,
    ref: str | None,
    skip_hooks: bool,
    quiet: bool,
) -> None:
    """Make a project in the new folder DEST."""
    from tp35 import answers_file, hooks, origin, presets, provenance, questions
    from tp35 import new as creation
    from tp35.template import Source, own_source, root

    chosen = presets.preset(preset).answers if preset else {}
    answers = {**chosen, **questions.parse(data)}
    questions.check(answers)
    source = own_source()
    if template is not None or ref is not None:
        source = Source(origin.absolute(template) if template else str(root()), ref)
    creation.create(
        destination,
        answers,
        defaults=defaults,
        source=source,
        hooks_folder=None if skip_hooks else hooks.folder(),
    )
    if quiet:
        return
    made = answers_file.read(destination)
    click.echo(
        f"{made['project_name']} is ready in {destination}\n\n"
        f"  cd {shlex.quote(str(destination))}\n"
        "  git init\n"
        "  git add -A\n"
        '  git commit -m "Start from tp35"\n'
        f"  uv run {made['project_slug']} train\n\n"
        "The commit lets `tp35 update` merge. `train` writes the sample data set first when there"
        f" is no data{', and a bundle under exports/' if made['export_bundle'] else ''}."
    )
    for line in provenance.advice(source, made):
        click.echo(f"\n{line}")


@cli.command()
def presets() -> None:
    """List the presets of `tp35 new`."""
    from rich.console import Console
    from rich.table import Table

    from tp35 import presets as available

    table = Table("preset", "what it makes", "answers", box=None, pad_edge=False)
    for name, preset in available.presets().items():
        answers = " ".join(
            f"{key}={','.join(value) if isinstance(value, list) else value}"
            for key, value in preset.answers.items()
        )
        table.add_row(name, preset.summary, answers)
    Console().print(table)


@cli.command()
@click.argument("project", metavar="[DEST]", type=FOLDER, default=".")
@click.option("--verbose", "-v", is_flag=True, help="Show what is well, too.")
@answers_file_option
def doctor(project: Path, verbose: bool, answers_file: str) -> None:
    """Look over the project DEST (default: here) and name a remedy for each problem.

    Says nothing where there is none.
    """
    from rich.console import Console
    from rich.markup import escape

    from tp35.doctor import diagnose
    from tp35.findings import Level

    colours = {Level.GOOD: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
    console = Console(soft_wrap=True, highlight=False)
    worst = Level.GOOD
    for finding in diagnose(project, answers_file):
        worst = max(worst, finding.level, key=list(Level).index)
        if finding.level is Level.GOOD and not verbose:
            continue
        said = escape(f"{finding.subject}: {finding.state}")
        console.print(f"[{colours[finding.level]}]{finding.level:8}[/] {said}")
        if finding.remedy:
            console.print(f"         remedy: {escape(finding.remedy)}")
    if worst is Level.PROBLEM:
        sys.exit(1)


@cli.command()
@click.argument("destination", metavar="[DEST]", type=FOLDER, default="demo")
@click.option(
    "--modality", metavar="NAME", help="The answer to `modality` (default: as in `tp35 new`)."
)
def demo(destination: Path, modality: str | None) -> None:
    """Make a project in DEST (default ./demo); train, export, verify and predict with it.

    Trains on a small real data set that needs no download.
    """
    from tp35.demo import run_demo

    run_demo(destination, modality)


@cli.command()
@click.argument("places", metavar="[DEST...]", nargs=-1, type=FOLDER)
@click.option(
    "--all",
    "several",
    is_flag=True,
    help="Update several: each DEST is a project, a folder of projects, or a file that lists them.",
)
@data_option
@click.option("--dry-run", is_flag=True, help="Show what would happen to each file; write nothing.")
@click.option("--diff", is_flag=True, help="Show the changes as well.")
@json_option
@moved_option
@ref_option
@answers_file_option
@skip_hooks_option
@quiet_option
def update(
    places: tuple[Path, ...],
    several: bool,
    data: tuple[str, ...],
    dry_run: bool,
    diff: bool,
    as_json: bool,
    template: str | None,
    ref: str | None,
    answers_file: str,
    skip_hooks: bool,
    quiet: bool,
) -> None:
    """Bring the project DEST (default: here) to the newest version of its template.

    Your edits are merged and never lost. Exits with 1 when something is left for you to resolve.
    """
    from tp35 import fleet, hooks, questions, update_report
    from tp35 import update as updating
    from tp35.template import Source
    from tp35.update_plan import Plan

    changed = questions.parse(data)

    def prepare(project: Path) -> Plan:
        return updating.prepare(
            project,
            changed,
            Source(template or "", ref),
            allow_dirty=dry_run,
            hooks_folder=hooks.folder(),
            skip_hooks=skip_hooks,
            answers_name=answers_file,
        )

    if several:
        results = []
        for result in fleet.update_all(
            fleet.projects(places or (Path(),), answers_file), prepare, dry_run=dry_run
        ):
            results.append(result)
            if not as_json and not quiet:
                fleet.print_result(result)
        if as_json:
            click.echo(json.dumps(fleet.as_json(results, dry_run=dry_run), default=str))
        sys.exit(any(result.plan is None or result.plan.left() for result in results))
    if len(places) > 1:
        raise click.UsageError("several projects need --all")
    plan = prepare(*places or (Path(),))
    if not dry_run:
        plan.apply()
    with _told_whatever_happens(written=not dry_run):
        if as_json:
            click.echo(json.dumps(update_report.as_json(plan, dry_run=dry_run), default=str))
        elif not quiet:
            update_report.print_plan(plan, dry_run=dry_run, diff=diff)
        if plan.left():
            update_report.print_left(plan, dry_run=dry_run)
            sys.exit(1)


@contextmanager
def _told_whatever_happens(*, written: bool) -> Iterator[None]:
    """Who interrupts the table must not read that nothing was changed."""
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stopped:
        if not written:
            raise
        raise Problem("interrupted, after the update was written; see `git status`") from stopped


@cli.command()
@click.argument("project", metavar="[DEST]", type=FOLDER, default=".")
@json_option
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 3 for a newer version, 4 where none could be asked.",
)
@click.option("--since", metavar="REF", help="Name the edits at a commit that updates have lost.")
@moved_option
@answers_file_option
def status(
    project: Path,
    as_json: bool,
    exit_code: bool,
    since: str | None,
    template: str | None,
    answers_file: str,
) -> None:
    """Show the version of the project DEST (default: here), and how it differs from its template.

    Exits with 1 when something is left to do: conflicts, files that an update did not reach,
    answers edited by hand, edits that an update lost. Edits of yours are nothing to do.
    """
    from tp35 import status as drifting
    from tp35.template import Source

    found = drifting.look(project, Source(template or ""), answers_file, since)
    if as_json:
        click.echo(json.dumps(found.as_json(), default=str))
    else:
        drifting.print_status(found)
    sys.exit(found.exit_code(told_apart=exit_code))


@cli.command()
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=FOLDER)
@click.option("--new", "newest", is_flag=True, help="Compare with the newest version.")
@answers_file_option
def diff(paths: tuple[Path, ...], newest: bool, answers_file: str) -> None:
    """Print your edits of the template's files as a patch, those in PATH... or all."""
    from tp35 import status as drifting

    drifting.print_patch(drifting.patch(Path.cwd(), paths, answers_file, newest=newest))


def _fail(message: str, code: int) -> NoReturn:
    from tp35.origin import redacted

    click.echo(f"tp35: {redacted(message)}", err=True)
    sys.exit(code)


def _reason(error: OSError) -> str:
    """What the system refused, and where."""
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason


def _open_closed_streams() -> None:
    """Where the caller closed a stream, the next file that is opened would be taken for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _check_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise Problem("the current folder was deleted; change to another one") from error


def main() -> None:
    """Run the command; what the user or the machine can cause is one line, never a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text, and a terminal need not know all of Unicode.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with as_exceptions():
            _check_current_folder()
            code = cli.main(prog_name="tp35", standalone_mode=False)
            sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; nothing was changed", INTERRUPTED)
    except Stopped as stopped:
        _fail(f"{stopped}; nothing was changed", stopped.exit_code)
    except Problem as problem:
        _fail(problem.format_message(), problem.exit_code)
    except click.UsageError as error:
        _fail(f"{error.format_message()} (see `tp35 --help`)", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain at its end, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NOBODY_READS)
    except OSError as error:
        _fail(_reason(error), 1)
    sys.exit(code)
