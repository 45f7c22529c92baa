"""`tp35 doctor`: what is wrong with a project, or will be at its next update."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tp35 import answers_file, conflicts, git, new, template, template_repository, versions
from tp35.deprecations import deprecated_uses
from tp35.drift import compared
from tp35.environment import check_environment
from tp35.findings import Finding, good, problem, warning
from tp35.problems import Misuse, Problem, nearest
from tp35.project import Project
from tp35.project_files import more_files_than
from tp35.questions import Answers, check, questions
from tp35.template import Source
from tp35.update import data_option

FILES_TO_SEARCH = 2_000
NO_PROJECT = "name the folder of one, tp35 doctor FOLDER, or make one: tp35 new FOLDER"


def diagnose(project: Path, answers_name: str = answers_file.NAME) -> Iterator[Finding]:
    """Everything worth saying about a project, in the order in which to put it right."""
    if not project.is_dir():
        raise Misuse(f"{project} is no folder")
    project = project.resolve()
    if not _ever_had_answers(project, answers_name):
        yield problem("project", answers_file.missing(project, answers_name), NO_PROJECT)
        if more_files_than(FILES_TO_SEARCH, project):  # a home perhaps: it would take minutes
            yield warning(
                "deprecated",
                f"not searched for, among more than {FILES_TO_SEARCH} files",
                "name the folder of the code from before the template",
            )
        else:
            yield from _deprecated(project)
        return
    for path, line in conflicts.in_project(project):
        yield problem("conflict", f"{path}:{line}", "resolve it and remove the markers")
    yield from _deprecated(project)
    try:
        recorded = answers_file.read(project, answers_name)
    except Problem as unreadable:
        restored = f"git checkout HEAD -- {answers_name}"
        yield problem("answers", unreadable.message, restored)
    else:
        yield from _check_answers(answers_file.answers(recorded))
        yield from _check_origin(project, recorded, answers_name)
    yield from check_environment(project)


def _deprecated(project: Path) -> Iterator[Finding]:
    """What v3.4 called differently."""
    for use in deprecated_uses(project):
        yield warning("deprecated", f"{use.path}:{use.line}: {use.what}", f"use {use.instead}")


def _ever_had_answers(project: Path, answers_name: str) -> bool:
    """Whether there is, or Git still has, the answers file that makes a folder a project."""
    path = project / answers_name
    return path.is_file() or (
        git.available() and git.succeeds("cat-file", "-e", f"HEAD:./{answers_name}", cwd=project)
    )


def _check_answers(answers: Answers) -> Iterator[Finding]:
    """Answers to questions that are no longer asked, or that are no longer accepted."""
    for key in sorted(answers.keys() - questions().keys()):
        hint = nearest(key, questions())
        yield warning("answers", f"{key} is asked no longer; {hint}", "tp35 update drops it")
    sound: Answers = {}
    # In the order of asking: which values a question accepts can depend on the answers before it.
    for key in [key for key in questions() if key in answers]:
        try:
            check({**sound, key: answers[key]})
        except Misuse as refusal:
            yield problem("answers", refusal.message, f"tp35 update --data {key}=...")
        else:
            sound[key] = answers[key]
    with tempfile.TemporaryDirectory(prefix="tp35-doctor-") as scratch:
        # Validators are Jinja; Copier runs them, one refusal at a time.
        for attempt in range(len(sound)):
            try:
                new.render(
                    template.own_source(), Path(scratch) / str(attempt), sound, defaults=True
                )
            except Misuse as refusal:
                key = refusal.message.partition(":")[0]
                yield problem("answers", refusal.message, f"tp35 update --data {key}=...")
                del sound[key]
            else:
                break
    if sound == answers:
        yield good("answers", "are valid")


def _check_origin(project: Path, recorded: dict[str, Any], answers_name: str) -> Iterator[Finding]:
    """Whether the template can be found again, its version, and what was edited by hand."""
    location, ref = str(recorded.get("_src_path", "")), recorded.get("_commit")
    if not ref:
        yield problem(
            "template",
            f"{answers_name} names no version",
            "add `_commit: <tag>` with the version the project was made from",
        )
        return
    try:
        tags = template_repository.tags(location)
    except Problem as unreachable:
        yield problem(
            "template",
            f"{location or 'nowhere'} cannot be reached or has moved: {unreachable.message}",
            "tp35 update --template URL",
        )
        return
    yield good("template", location)
    yield _version_finding(str(ref), tags)
    if git.top_of_repository(project) is None or not git.has_commit(project):
        return  # without commits there is nothing to tell an edit from; the environment says so
    try:
        opened = Project.open(project, answers_name)
        with compared(opened, Source(location)) as comparison:
            edits = comparison.edited_answers()
    except Problem as gone:
        yield problem("template", f"cannot compare with {ref}: {gone.message}", "tp35 status")
        return
    for key, (before, now) in edits.items():
        yield problem(
            "answers",
            f"{key} was edited by hand: {before} -> {now}; the files are of {before}",
            f"tp35 update {data_option(key, now)}",
        )


def _version_finding(ref: str, tags: list[str]) -> Finding:
    newest = versions.newest(tags, ref)
    if newest is None:
        return good("version", f"{ref} (the template has no releases yet)")
    current, offered = versions.version(ref), versions.version(newest)
    if current is None or offered is None:
        return good("version", f"{ref}; the newest release is {newest}")
    if current < offered:
        remedy = "tp35 update --dry-run, then tp35 update"
        return warning("version", f"{ref}; {newest} is out", remedy)
    return good("version", f"{ref} is the newest")
