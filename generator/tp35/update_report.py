"""What an update did, or would do, on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table

from tp35.update_plan import Fate, Plan

COLOURS = {
    Fate.CONFLICT: "bold red",
    Fate.LOST: "bold yellow",
    Fate.MERGED: "yellow",
    Fate.UPDATED: "green",
    Fate.NEW: "green",
    Fate.REMOVED: "magenta",
    Fate.UNCHANGED: "dim",
}


def _label(fate: Fate, dry_run: bool) -> str:
    """The fate in words; after a real run the edits were not lost."""
    return "edits kept" if fate is Fate.LOST and not dry_run else fate.value


def print_plan(plan: Plan, *, dry_run: bool, diff: bool) -> None:
    """Print the table of files, and the changes when asked for."""
    console = Console()
    kept = plan.old_ref == plan.new_ref
    console.print(f"version {plan.old_ref}" + ("" if kept else f" -> {plan.new_ref}"))
    for key, (before, after) in plan.changed_answers.items():
        console.print(f"answer {key}: {before} -> {after}", markup=False)

    # A dry run answers for every file; afterwards only what happened is of interest.
    shown = [
        outcome
        for outcome in plan.outcomes
        if outcome.fate is not Fate.UNCHANGED
        or (dry_run and (outcome.path in plan.rendered or outcome.note))
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for outcome in shown:
        label = _label(outcome.fate, dry_run)
        table.add_row(f"[{COLOURS[outcome.fate]}]{label}[/]", outcome.path, outcome.note)
    console.print(table)
    if diff:
        for outcome in shown:
            if outcome.before != outcome.after:
                click.echo(outcome.diff(), nl=False)

    counts = Counter(outcome.fate for outcome in shown)
    summary = ", ".join(f"{counts[fate]} {_label(fate, dry_run)}" for fate in Fate if counts[fate])
    console.print(summary or "nothing to do: the project is up to date")


def print_conflicts(conflicts: Iterable[tuple[str, int]], *, dry_run: bool) -> None:
    """Print each file and line that is left to resolve, and how to go on."""
    for path, line in conflicts:
        click.echo(f"{path}:{line}: conflict" if line else f"{path}: conflict", err=True)
    if not dry_run:
        click.echo("Resolve them, then `git add` the files and commit.", err=True)
