"""`tp35 new`: a project in a fresh folder, whole or not at all."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from tp35 import copier_settings, git, hooks, provenance, template
from tp35.problems import Misuse, Problem, copier_errors_in_one_line
from tp35.questions import Answers
from tp35.template import Source


def check_destination(destination: Path) -> None:
    """Only a folder that is missing, empty, or a Git repository without files is written to."""
    if destination.is_symlink() and not destination.exists():
        raise Misuse(f"{destination} is a broken link; choose another folder")
    if not destination.exists():
        return
    if not destination.is_dir():
        raise Misuse(f"{destination} is a file; give a folder")
    try:
        others = sorted(item.name for item in destination.iterdir() if item.name != ".git")
    except PermissionError as error:
        raise Problem(f"no permission to read {destination}") from error
    if others:
        raise Misuse(f"{destination} is not empty (it holds {others[0]}); give a new folder")


def render(source: Source, destination: Path, answers: Answers, *, defaults: bool) -> None:
    """Let Copier render a template, quietly and without trust."""
    import copier
    from copier.errors import DirtyLocalWarning, ShallowCloneWarning

    copier_settings.check()
    with (
        copier_errors_in_one_line(),
        warnings.catch_warnings(),
        git.in_environment(git.fetching_environment()),
    ):
        warnings.simplefilter("ignore", DirtyLocalWarning)
        warnings.simplefilter("ignore", ShallowCloneWarning)
        copier.run_copy(
            source.location,
            destination,
            data=answers,
            vcs_ref=source.ref,
            defaults=defaults,
            quiet=True,
        )


def _put_in_place(made: Path, destination: Path) -> None:
    if not destination.exists():
        destination.parent.mkdir(parents=True, exist_ok=True)
        made.rename(destination)
        return
    moved: list[Path] = []
    try:
        for item in sorted(made.iterdir()):
            target = destination / item.name
            item.rename(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            target.rename(made / target.name)
        raise


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)


def create(
    destination: Path,
    answers: Answers,
    *,
    defaults: bool,
    source: Source | None = None,
    hooks_folder: Path | None = None,
) -> None:
    """Render a project into a folder beside the destination, then move it there in one step."""
    source = source or template.own_source()
    provenance.check_version(source)
    check_destination(destination)
    destination = destination.resolve()
    beside = _nearest_existing(destination if destination.is_dir() else destination.parent)
    if not beside.is_dir():
        raise Misuse(f"{beside} is a file; {destination} cannot lie in it")
    try:
        with tempfile.TemporaryDirectory(dir=beside, prefix=".tp35-") as scratch:
            made = Path(scratch) / "project"
            if hooks_folder:
                hooks.run("before_new", beside, hooks=hooks_folder)
            render(source, made, answers, defaults=defaults)
            provenance.record(made, source)
            if hooks_folder:
                hooks.run("after_new", made, hooks=hooks_folder)
            _put_in_place(made, destination)
    except OSError as error:
        where = error.filename or destination
        raise Problem(f"cannot write {destination}: {where}: {error.strerror}") from error
