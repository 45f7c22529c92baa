"""Many projects at once: `tp35 update --all`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tp35 import update_report
from tp35.problems import Misuse, Problem
from tp35.update_plan import Plan


@dataclass(frozen=True)
class Result:
    """What became of one project: a plan, or why there is none."""

    project: Path
    plan: Plan | None
    failure: str = ""

    @property
    def state(self) -> str:
        """The result in two or three words."""
        if self.plan is None:
            return "failed"
        if self.plan.left():
            return "to resolve"
        return "updated" if self.plan.changes_files else "up to date"


def projects(places: Iterable[Path], answers_name: str) -> list[Path]:
    """The projects that are meant.

    Args:
        places: Projects, folders whose subfolders are projects, and files that list either, one on
            a line.
        answers_name: What makes a folder a project.

    Raises:
        Misuse: A place is none of these.
    """
    found = [project for place in places for project in _at(place, answers_name)]
    return list(dict.fromkeys(found))


def _at(place: Path, answers_name: str) -> Iterator[Path]:
    if place.is_file():
        try:
            lines = place.read_text("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise Misuse(f"{place} is no list of folders") from error
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                yield from _at(place.parent / Path(line.strip()).expanduser(), answers_name)
        return
    if not place.is_dir():
        raise Misuse(f"{place} is neither a folder nor a file that lists folders")
    if (place / answers_name).is_file():
        yield place
        return
    below = sorted(folder for folder in place.iterdir() if (folder / answers_name).is_file())
    if not below:
        raise Misuse(f"neither {place} nor a folder in it has {answers_name}")
    yield from below


def update_all(
    projects: Iterable[Path], prepare: Callable[[Path], Plan], *, dry_run: bool
) -> Iterator[Result]:
    """Update one project after the other; one that fails stops no other."""
    for project in projects:
        try:
            plan = prepare(project)
            if not dry_run:
                plan.apply()
        except Problem as problem:
            yield Result(project, None, problem.message)
        except OSError as error:
            yield Result(project, None, f"{error.strerror}: {error.filename}")
        else:
            yield Result(project, plan)


def as_json(results: Iterable[Result], *, dry_run: bool) -> dict[str, Any]:
    """All of them for programs."""
    return {
        "projects": [
            {"state": result.state}
            | (
                update_report.as_json(result.plan, dry_run=dry_run)
                if result.plan
                else {"project": str(result.project), "failure": result.failure}
            )
            for result in results
        ]
    }


def print_result(result: Result) -> None:
    """A line of the table, as soon as it is known."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if result.plan is None:
        console.print(f"{result.state:10}  {result.project}  {result.failure}")
        return
    plan = result.plan
    versions = plan.old_ref if plan.old_ref == plan.new_ref else f"{plan.old_ref} -> {plan.new_ref}"
    left = ", ".join(f"{path}:{line}" if line else path for path, line in plan.left())
    counted = update_report.summary(plan)
    console.print(
        f"{result.state:10}  {result.project}  {versions}  {counted}"
        + (f"  ({left})" if left else "")
    )
