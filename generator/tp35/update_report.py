"""What an update did, or would do: for people, and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from tp35.update_plan import Fate, Outcome, Plan

COLOURS = {
    Fate.CONFLICT: "bold red",
    Fate.KEPT: "bold yellow",
    Fate.BESIDE: "bold yellow",
    Fate.MERGED: "yellow",
    Fate.UPDATED: "green",
    Fate.NEW: "green",
    Fate.REMOVED: "magenta",
    Fate.UNCHANGED: "dim",
}


def as_json(plan: Plan, *, dry_run: bool) -> dict[str, Any]:
    """The same for programs: versions, answers, changelog, and every file with its fate."""
    return {
        "project": str(plan.project.folder),
        "version_from": plan.old_ref,
        "version_to": plan.new_ref,
        "written": not dry_run,
        "remarks": list(plan.remarks),
        "answers": {
            key: {"from": change.before, "to": change.after, "why": change.why}
            for key, change in plan.changed_answers.items()
        },
        "changelog": plan.changelog,
        "files": [
            {"path": outcome.path, "fate": outcome.fate.value, "note": outcome.note}
            for outcome in _shown(plan, dry_run=dry_run)
        ],
        "conflicts": [{"path": path, "line": line or None} for path, line in plan.left()],
    }


def print_plan(plan: Plan, *, dry_run: bool, diff: bool) -> None:
    """Print the changelog, the table of files, and the changes when asked for."""
    # Neither a narrow terminal nor a pipe folds a path.
    console = Console(soft_wrap=True, highlight=False, markup=False)
    kept = plan.old_ref == plan.new_ref
    console.print(f"version {plan.old_ref}" + ("" if kept else f" -> {plan.new_ref}"))
    for remark in plan.remarks:
        console.print(f"note: {remark}")
    for key, change in plan.changed_answers.items():
        why = f" ({change.why})" if change.why else ""
        console.print(f"answer {key}: {change.before} -> {change.after}{why}")
    if plan.changelog:
        console.print(f"\n{plan.changelog}\n")

    shown = _shown(plan, dry_run=dry_run)
    places = max((len(outcome.path) for outcome in shown), default=0)
    for outcome in shown:
        note = f"  {outcome.note}" if outcome.note else ""
        path = outcome.path.ljust(places) if note else outcome.path
        console.print(
            Text.assemble(
                (f"{outcome.fate.value:10}", COLOURS[outcome.fate]), f"  {path}", (note, "dim")
            )
        )
    if diff:
        for outcome in shown:
            if outcome.before != outcome.after:
                click.echo(outcome.diff(), nl=False)

    console.print(_counted(shown) or "nothing to do: the project is up to date")


def summary(plan: Plan) -> str:
    """How many files an update changes, by what it does to them."""
    return _counted(_shown(plan, dry_run=False))


def _counted(shown: list[Outcome]) -> str:
    counts = Counter(outcome.fate for outcome in shown)
    return ", ".join(f"{counts[fate]} {fate.value}" for fate in Fate if counts[fate])


def _shown(plan: Plan, *, dry_run: bool) -> list[Outcome]:
    """A dry run answers for every file; afterwards only what happened is of interest."""
    return [
        outcome
        for outcome in plan.outcomes
        if outcome.fate is not Fate.UNCHANGED or outcome.note or dry_run
    ]


def print_left(plan: Plan, *, dry_run: bool) -> None:
    """Print each file and line that is left to resolve, and how to go on."""
    fates = {outcome.path: outcome.fate for outcome in plan.outcomes}
    for path, line in plan.left():
        place = f"{path}:{line}" if line else path
        click.echo(f"{place}: {fates[path].value}", err=True)
    if not dry_run:
        click.echo("Resolve them, then `git add` the files and commit.", err=True)
