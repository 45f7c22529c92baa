"""`tp35 update`: three sides of every file, merged beside the project, and written as a whole.

Copier renders the project as the recorded version made it and as the new one does; what lies
between is merged into the user's files. Plain `copier update` gives the same where nothing is at
stake. Where something is, it drops edits, and exits with 0 on conflicts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tp35 import (
    answers_file,
    answers_history,
    git,
    hooks,
    merge,
    moves,
    origin,
    template,
    template_repository,
    versions,
)
from tp35.dropped_edits import dropped_edits, put_back
from tp35.problems import Misuse, Problem
from tp35.project import Project
from tp35.questions import Answers
from tp35.renderings import Renderer, scratch_folder
from tp35.replacement import Change, check_ways
from tp35.template import Source
from tp35.template_repository import TemplateRepository
from tp35.trees import Tree, read_tree, write_entry
from tp35.update_plan import AnswerChange, Plan, outcomes

WHEEL = "tp35"  # what a project records that was made from a wheel without an address


@dataclass(frozen=True)
class Version:
    """A version of the template: the commit, and what a project records of it."""

    commit: str
    ref: str


def prepare(
    folder: Path,
    answers: Answers,
    source: Source,
    *,
    allow_dirty: bool,
    hooks_folder: Path,
    skip_hooks: bool = False,
    answers_name: str = answers_file.NAME,
) -> Plan:
    """Work out an update without touching the project.

    Args:
        folder: The project's folder.
        answers: The answers to change.
        source: The version to update to; a location only where the template moved.
        allow_dirty: Take uncommitted work into account instead of refusing it.
        hooks_folder: Holds the scripts to run.
        skip_hooks: Run no script.
        answers_name: The answers file, where the project has several.

    Raises:
        Misuse: An answer is refused.
        Problem: The project cannot be updated, or the template cannot be rendered.
    """
    project = Project.open(folder, answers_name)
    if not allow_dirty and git.is_dirty(project.folder):
        raise Problem("the project has uncommitted changes; commit or stash them first")
    scripts = None if skip_hooks else hooks_folder
    with scratch_folder() as scratch:
        repository = template_repository.fetch(location(project, source), scratch)
        renderer = Renderer(repository, answers_name, scratch)
        remarks = list(project.remarks)
        old = recorded_version(project, repository, remarks)
        new = next_version(old, repository, source.ref, remarks)
        history = answers_history.past(project.folder, answers_name)
        since = _oldest(project, history)
        _check_tp35(repository, new, hooks_folder, since, remarks)

        base = _base(project, renderer, old, history, answers)
        theirs = renderer.anew(new.commit, project.recorded, answers)
        recorded = _answers_of(theirs, answers_name)
        changed = _changed_answers(project.recorded, recorded, answers, new.ref)
        table = moves.parse(repository.text(new.commit, moves.FILE) or "")
        successors = moves.successors(table, base, theirs, project.recorded, recorded)
        dropped = list(dropped_edits(project, renderer, history, table, base))
        mine = project.tree(base, theirs)
        _check_present(project, base, theirs)

        there, stage = mine, scratch / "project"
        if scripts:
            _lay_out(stage, mine)
            hooks.run("before_update", stage, hooks=scripts, old=since, new=new.ref)
            mine = _read_back(stage)
        sides = merge.Sides(base, mine, theirs, successors, answers_name)
        merged = merge.merge(sides, project.folder)
        for edit in dropped:
            put_back(edit, merged)
        changes = {
            path: Change(there.get(path), merged.tree.get(path))
            for path in there.keys() | merged.tree.keys()
            if there.get(path) != merged.tree.get(path)
        }
        check_ways(project.folder, changes)
        if scripts:
            _lay_out(stage, merged.tree)
            hooks.run("after_update", stage, hooks=scripts, old=since, new=new.ref)
            merged.tree = _read_back(stage)
        return Plan(
            project,
            outcomes(there, sides, merged),
            old.ref,
            new.ref,
            changed,
            repository.changes(old.commit, new.commit, released=new.ref in repository.tags),
            tuple(remarks),
            merged.stages,
        )


# --- versions -----------------------------------------------------------------------------------


def location(project: Project, source: Source) -> str:
    """Where the project's template is, a path from the root.

    Raises:
        Problem: The project does not say so.
    """
    if source.location:
        return origin.absolute(source.location)
    recorded = str(project.recorded.get("_src_path") or "")
    if not recorded or (recorded == WHEEL and not Path(recorded).exists()):
        raise Problem("the project came from a wheel; say where the template is: --template URL")
    if origin.is_local(recorded) and not Path(recorded).expanduser().is_absolute():
        # Plain Copier records a path as it was given, seen from a folder that nobody knows.
        for folder in (Path.cwd(), project.folder, project.folder.parent):
            if (folder / recorded).exists():
                return str((folder / recorded).resolve())
    return origin.absolute(recorded)


def recorded_version(
    project: Project, repository: TemplateRepository, remarks: list[str]
) -> Version:
    """The version that the project came from, even where its tag was deleted or moved.

    Raises:
        Problem: The project does not say, or the template no longer has it.
    """
    ref = project.recorded.get("_commit")
    if not ref:
        raise Problem(
            f"{project.answers_name} does not say which version the project came from; "
            "add `_commit: <tag>` to it and commit"
        )
    known = answers_file.recorded_commit(project.answers_text)
    known = known and repository.commit(known)
    tagged = repository.commit(ref)
    if known and tagged and known != tagged:
        remarks.append(f"{ref} was moved since the project was made from it, which {known[:9]} is")
    elif known and not tagged:
        remarks.append(f"{ref} was deleted in the template; the project is of {known[:9]}")
    commit = known or tagged
    if not commit:
        raise Problem(
            f"the template at {repository.location} has no {ref} any more; "
            f"write the commit that it was into {project.answers_name} (`_commit: <commit>`), or "
            "name another place with --template"
        )
    return Version(commit, ref)


def next_version(
    old: Version, repository: TemplateRepository, ref: str | None, remarks: list[str]
) -> Version:
    """The version to go to: the one asked for, else the newest release, else the newest commit."""
    wanted = ref or versions.newest(repository.tags, old.ref) or "HEAD"
    commit = repository.commit(wanted)
    if commit is None:
        raise Problem(f"the template at {repository.location} has no version {wanted}")
    new = Version(commit, repository.describe(commit))
    if commit == old.commit:
        return new
    if not ref and repository.contains(old.commit, commit):
        remarks.append(f"the project is past {wanted}, the newest release")
        return old
    older, newer = versions.version(old.ref), versions.version(new.ref)
    if older and newer and newer < older:
        raise Problem(
            f"{new.ref} is older than the project's {old.ref}. Downgrades are not supported"
        )
    if ref and repository.contains(old.commit, commit):
        raise Problem(
            f"{wanted} is older than the project's {old.ref}. Downgrades are not supported"
        )
    return new


def _oldest(project: Project, history: list[answers_history.Past]) -> str | None:
    """The version since which migrations may be due.

    Plain Copier runs none, and nobody records which ran. None, for all, where the history does not
    say, and a migration that has nothing to do does nothing.
    """
    if not history:
        return None
    refs = [str(project.recorded["_commit"])]
    refs += [str(past.recorded["_commit"]) for past in history if past.recorded.get("_commit")]
    known = {ref: found for ref in refs if (found := versions.version(ref))}
    return min(known, key=lambda ref: known[ref]) if len(known) == len(set(refs)) else None


def _check_tp35(
    repository: TemplateRepository,
    new: Version,
    hooks_folder: Path,
    since: str | None,
    remarks: list[str],
) -> None:
    """A template can need more than this installation knows."""
    offered = repository.files(new.commit, "hooks")
    if hooks.missing(offered, hooks=hooks_folder, old=since, new=new.ref):
        raise Problem(
            f"{new.ref} of the template needs a newer tp35 than {template.version()}, for its "
            f"migrations; take that one: uvx --from git+URL@{new.ref} tp35 update"
        )
    installed, wanted = versions.version(template.version()), versions.version(new.ref)
    if installed and wanted and not installed.is_devrelease and installed < wanted:
        remarks.append(f"this tp35, {installed}, is older than the template's {new.ref}")


# --- sides --------------------------------------------------------------------------------------


def _base(
    project: Project,
    renderer: Renderer,
    old: Version,
    history: list[answers_history.Past],
    answers: Answers,
) -> Tree:
    """As the template rendered the project last."""
    recorded = answers_file.answers(project.recorded)
    try:
        base = renderer.recorded(old.commit, recorded)
    except Misuse as refusal:
        raise Problem(
            f"{project.answers_name} holds an answer that {old.ref} does not accept: "
            f"{refusal.message}; restore it from Git, then update with --data"
        ) from refusal
    edits = answers_history.edited_by_hand(
        project.recorded,
        history,
        project.tree(base),
        lambda other: renderer.recorded(old.commit, other),
    )
    if edits and not edits.keys() <= answers.keys():
        raise Problem(hand_edit_remedy(project.answers_name, edits))
    if edits:
        then = {key: before for key, (before, _) in edits.items()}
        base = renderer.recorded(old.commit, {**recorded, **then})
    return _with_recorded_origin(base, project)


def hand_edit_remedy(name: str, edits: Mapping[str, tuple[Any, Any]]) -> str:
    """What to say of answers that were edited by hand."""
    said = ", ".join(f"{key}: {before} -> {now}" for key, (before, now) in edits.items())
    data = " ".join(data_option(key, now) for key, (_, now) in edits.items())
    back = " ".join(data_option(key, before) for key, (before, _) in edits.items())
    return (
        f"{name} was edited by hand ({said}), and the files are of the old answers; run: "
        f"tp35 update {data} (or, to stay with the old: {back})"
    )


def data_option(key: str, value: Any) -> str:
    """An answer as a shell takes it."""
    return f"--data {shlex.quote(f'{key}={_given(value)}')}"


def _given(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _with_recorded_origin(base: Tree, project: Project) -> Tree:
    """The base with the origin that the user's answers file has, which is no edit of the user's."""
    name = project.answers_name
    text = answers_file.with_origin(
        base[name].text or "",
        str(project.recorded.get("_src_path", "")),
        str(project.recorded["_commit"]),
        answers_file.recorded_commit(project.answers_text),
    )
    return base | {name: replace(base[name], content=text.encode())}


def _answers_of(tree: Tree, name: str) -> dict[str, Any]:
    return answers_file.parse(tree[name].text or "", name)


def _check_present(project: Project, base: Tree, theirs: Tree) -> None:
    changing = {path for path in base.keys() | theirs.keys() if base.get(path) != theirs.get(path)}
    if absent := project.absent(changing):
        raise Problem(
            f"a sparse checkout leaves out {absent[0]}, which the update changes; "
            "run: git sparse-checkout disable"
        )


def _changed_answers(
    before: Mapping[str, Any], after: Mapping[str, Any], asked: Answers, ref: str
) -> dict[str, AnswerChange]:
    """What became of each answer.

    Raises:
        Misuse: Copier would replace an answer that is accepted no longer by the default.
    """
    old, new = (answers_file.answers(dict(recorded)) for recorded in (before, after))
    found = {}
    for key in {**old, **new}:
        if key not in new:
            found[key] = AnswerChange(old[key], None, "asked no longer")
        elif key not in old:
            found[key] = AnswerChange(None, new[key], "a new question")
        elif _given(old[key]) != _given(new[key]) and key not in asked:
            raise Misuse(
                f"{key}: {ref} of the template no longer accepts {_given(old[key])!r}; choose "
                f"another, such as its default: tp35 update {data_option(key, new[key])}"
            )
        elif old[key] != new[key]:
            found[key] = AnswerChange(old[key], new[key], "")
    return found


# --- scripts ------------------------------------------------------------------------------------


def _lay_out(stage: Path, tree: Tree) -> None:
    """Make a folder, a repository of its own, hold these files."""
    env = git.own_environment()
    if not stage.exists():
        stage.mkdir()
        git.run("init", "--quiet", cwd=stage, env=env)
    there = read_tree(stage)
    for path in there.keys() - tree.keys():
        (stage / path).unlink()
    for path, entry in tree.items():
        if there.get(path) != entry:
            write_entry(stage / path, entry)
    if not there:
        git.run("add", "--all", "--force", cwd=stage, env=env)
        git.run("commit", "--quiet", "--message", "before updating", cwd=stage, env=env)


def _read_back(stage: Path) -> Tree:
    return read_tree(stage)
