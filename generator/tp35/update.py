"""`tp35 update`: Copier's update, made safe.

Everything happens in a scratch clone of the project; the project itself is written once, at the
end, as a whole. Copier alone drops edits, reverts answers that were edited by hand, and exits 0 on
conflicts. So its result is compared with the two renderings it came from, and completed.
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tp35 import answers_file, git, hooks, moves, new
from tp35.answers_history import edited_by_hand
from tp35.problems import Problem, copier_errors_in_one_line
from tp35.questions import Answers
from tp35.template import Source
from tp35.trees import Tree, read_tree
from tp35.update_merge import Merged, Sides, complete
from tp35.update_plan import Plan, conflict_stages, outcomes


@dataclass(frozen=True)
class _Origin:
    """What a project is rendered from: a version of the template, and answers."""

    location: str
    ref: str
    answers: Answers

    @property
    def source(self) -> Source:
        """The version of the template."""
        return Source(self.location, self.ref)


@dataclass(frozen=True)
class _Project:
    """A project that can be updated."""

    folder: Path
    repository: Path  # the folder itself or one above it
    origin: _Origin
    template_moved: bool  # the answers file names another location


@dataclass(frozen=True)
class _Clone:
    """A throw-away clone at a commit that holds the project's working tree as it is."""

    folder: Path
    commit: str
    files: frozenset[str]  # what that commit holds: all but the ignored files


def prepare(
    project: Path,
    answers: Answers,
    source: Source,
    *,
    allow_dirty: bool,
    hooks_folder: Path,
    skip_hooks: bool = False,
) -> Plan:
    """Work out an update without touching the project.

    Args:
        project: The project's folder.
        answers: The answers to change.
        source: The version to update to; a location only where the template moved.
        allow_dirty: Take uncommitted work into account instead of refusing it.
        hooks_folder: Holds the scripts to run and the table of moved files.
        skip_hooks: Run no script.

    Raises:
        Misuse: An answer is refused.
        Problem: The project cannot be updated, or the template cannot be rendered.
    """
    checked = _check(project.resolve(), source, allow_dirty=allow_dirty)
    scripts = None if skip_hooks else hooks_folder
    with _scratch_clone(checked) as clone, _process_beside() as beside:
        _prepare_clone(clone, checked, scripts)
        base = beside.submit(_render, checked.origin.source, checked.origin.answers)
        likely = beside.submit(
            _render,
            Source(checked.origin.location, source.ref),
            {**answers_file.answers(answers_file.read(clone.folder)), **answers},
        )
        origin = _update_clone(clone, checked, answers, source.ref, scripts)
        theirs = _rendering_of(origin, likely)
        sides, copied = _compare(
            clone, checked, origin, _base(checked.origin, base), theirs, hooks_folder
        )
    merged = complete(copied, sides, checked.folder)
    return _plan(checked, origin, sides, merged)


# --- the project --------------------------------------------------------------------------------


def _check(folder: Path, source: Source, *, allow_dirty: bool) -> _Project:
    """Refuse a project whose update could not be undone or would revert an answer."""
    recorded = answers_file.read(folder)
    repository = _repository(folder, allow_dirty=allow_dirty)
    origin = _origin(recorded, source)
    if edits := edited_by_hand(folder, Source(origin.location, origin.ref)):
        data = " ".join(f"--data {key}={now}" for key, (_, now) in edits.items())
        raise Problem(
            f"{answers_file.NAME} was edited by hand ({', '.join(edits)}), which an update would "
            f"revert; restore it from Git and run: tp35 update {data}"
        )
    moved = origin.location != recorded.get("_src_path")
    return _Project(folder, repository, origin, template_moved=moved)


def _repository(folder: Path, *, allow_dirty: bool) -> Path:
    if not git.available():
        raise Problem("git is not installed; an update needs it")
    top = git.top_of_repository(folder)
    if top is None or not git.succeeds("rev-parse", "HEAD", cwd=folder):
        raise Problem(
            f"{folder} is not committed to Git; run: git init && git add -A && git commit -m Start"
        )
    if not allow_dirty and git.is_dirty(folder):
        raise Problem("the project has uncommitted changes; commit or stash them first")
    return top


def _origin(recorded: dict[str, Any], source: Source) -> _Origin:
    location = source.location or recorded.get("_src_path") or ""
    ref = recorded.get("_commit")
    if not ref:
        raise Problem(
            f"{answers_file.NAME} does not say which version the project came from; "
            "add `_commit: <tag>` to it and commit"
        )
    if not location or (location == "tp35" and not Path(location).exists()):
        raise Problem("the project came from a wheel; say where the template is: --template URL")
    return _Origin(location, str(ref), answers_file.answers(recorded))


# --- the clone ----------------------------------------------------------------------------------


@contextmanager
def _scratch_clone(project: _Project) -> Iterator[_Clone]:
    top = project.repository
    with tempfile.TemporaryDirectory(prefix="tp35-update-") as scratch:
        cloned = Path(scratch) / "project"
        # A commit of everything that is not ignored, written beside the user's index and branches.
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git.run("read-tree", "HEAD", cwd=top, env=index)
        git.run("add", "--all", "--", ".", cwd=top, env=index)
        tree = git.run("write-tree", cwd=top, env=index).strip()
        commit = git.run("commit-tree", "-m", "before updating", tree, cwd=top).strip()
        git.run("clone", "--quiet", "--shared", "--no-checkout", str(top), str(cloned), cwd=top)
        git.run("checkout", "--quiet", "--detach", commit, cwd=cloned)
        folder = cloned / project.folder.relative_to(top)
        yield _Clone(folder, commit, frozenset(git.own_files(folder)))


def _prepare_clone(clone: _Clone, project: _Project, scripts: Path | None) -> None:
    """Make the clone what Copier is to update."""
    before = project.origin
    if project.template_moved:
        path = clone.folder / answers_file.NAME
        text = answers_file.with_origin(path.read_text("utf-8"), before.location, before.ref)
        path.write_text(text, encoding="utf-8", newline="\n")
    if scripts:
        hooks.run("before_update", clone.folder, hooks=scripts, old=before.ref)
    _commit_all(clone.folder, "prepared")


def _update_clone(
    clone: _Clone, project: _Project, answers: Answers, ref: str | None, scripts: Path | None
) -> _Origin:
    """Run Copier and the hooks behind it; gives what the clone is rendered from then."""
    before = project.origin
    _run_copier(clone.folder, answers, ref)
    recorded = answers_file.read(clone.folder)
    after = _Origin(before.location, str(recorded["_commit"]), answers_file.answers(recorded))
    if scripts:
        hooks.run("after_update", clone.folder, hooks=scripts, old=before.ref, new=after.ref)
    return after


def _commit_all(folder: Path, message: str) -> None:
    if git.is_dirty(folder):
        git.run("add", "--all", "--", ".", cwd=folder)
        git.run("commit", "--quiet", "--no-verify", "-m", message, cwd=folder)


def _run_copier(folder: Path, answers: Answers, ref: str | None) -> None:
    import copier

    with copier_errors_in_one_line(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copier.run_update(
            folder,
            data=answers,
            vcs_ref=ref,
            defaults=True,
            overwrite=True,
            quiet=True,
        )


# --- the comparison -----------------------------------------------------------------------------


def _compare(
    clone: _Clone,
    project: _Project,
    after: _Origin,
    base: Tree,
    theirs: Tree,
    hooks_folder: Path,
) -> tuple[Sides, Tree]:
    """The sides of the merge, and the files as Copier and the hooks left them."""
    before = project.origin
    touched = {*base, *theirs, *git.changed_files(clone.folder, clone.commit)}
    mine = read_tree(project.folder, touched & clone.files)
    successors = moves.successors(hooks_folder, base, theirs, before.answers, after.answers)
    return Sides(base, mine, theirs, successors), read_tree(clone.folder, touched)


@contextmanager
def _process_beside() -> Iterator[ProcessPoolExecutor]:
    """A process that renders while Copier updates, which renders three times itself."""
    beside = ProcessPoolExecutor(
        1,
        multiprocessing.get_context("spawn"),
        # Ctrl-C reaches this process, too, which ends the other one.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield beside
    finally:
        beside.shutdown(cancel_futures=True)


def _base(origin: _Origin, rendered: Future[Tree]) -> Tree:
    """What the project came from; here, where the process beside has died."""
    try:
        return rendered.result()
    except BrokenExecutor:
        return _render(origin.source, origin.answers)


def _rendering_of(origin: _Origin, likely: Future[Tree]) -> Tree:
    """The template rendered so: the likely rendering, where that came out as this one."""
    if likely.exception() is None:
        tree = likely.result()
        recorded = answers_file.parse(tree[answers_file.NAME].text or "", answers_file.NAME)
        if _Origin(origin.location, recorded["_commit"], answers_file.answers(recorded)) == origin:
            return tree
    try:
        return _render(origin.source, origin.answers)
    except Problem as problem:
        raise Problem(
            f"the template at {origin.location} has no commit {origin.ref}; "
            "commit its changes, or name a version with --ref"
        ) from problem


def _render(source: Source, answers: Answers) -> Tree:
    with tempfile.TemporaryDirectory(prefix="tp35-render-") as scratch:
        project = Path(scratch) / "project"
        new.render(source, project, answers, defaults=True)
        return read_tree(project)


def _plan(project: _Project, after: _Origin, sides: Sides, merged: Merged) -> Plan:
    before, found = project.origin, outcomes(sides, merged)
    changed_answers = {
        key: (before.answers.get(key), after.answers.get(key))
        for key in {**before.answers, **after.answers}
        if before.answers.get(key) != after.answers.get(key)
    }
    return Plan(
        project.folder,
        found,
        before.ref,
        after.ref,
        changed_answers,
        rendered=frozenset(sides.base.keys() | sides.theirs.keys()),
        stages=conflict_stages(found, sides),
    )
