"""Edits that plain `copier update` dropped when it crossed a version that moved their file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tp35 import answers_file, git
from tp35.answers_history import Past
from tp35.conflicts import marker_lines
from tp35.merge import Left, Merged, same, three_way
from tp35.moves import Moves, successors
from tp35.past_project import PastProject
from tp35.problems import Problem
from tp35.project import Project
from tp35.renderings import Renderer
from tp35.trees import Entry, Tree


@dataclass(frozen=True)
class Dropped:
    """An edit of a file that is gone, and the file that took its place."""

    path: str
    successor: str
    base: Entry
    mine: Entry


def dropped_edits(
    project: Project, renderer: Renderer, history: Sequence[Past], table: Moves, now: Tree
) -> Iterator[Dropped]:
    """The edits that the update to the recorded version dropped; none where tp35 made it.

    Args:
        project: The project.
        renderer: Renders versions of its template.
        history: The answers file in the project's commits, newest first.
        table: Which file became which.
        now: What the recorded version renders.
    """
    ref = project.recorded.get("_commit")
    since = [past for past in history if past.recorded.get("_commit") != ref]
    if not since or len(since) == len(history):
        return
    before, crossing = since[0], history[history.index(since[0]) - 1]
    parent = f"{crossing.commit}^"
    if not git.has_commit(project.folder, parent):
        return
    then, after = (PastProject.read(project, at) for at in (parent, crossing.commit))
    # Most crossings move nothing, and need no rendering to tell.
    if not _may_have_moved(then.paths - after.paths, table, before):
        return
    commit = renderer.repository.commit(str(before.recorded.get("_commit")))
    if commit is None:
        return
    try:
        base = renderer.recorded(commit, answers_file.answers(before.recorded))
    except Problem:
        return  # that version does not accept what was recorded then
    found = successors(table, base, now, before.recorded, project.recorded)
    for path, successor in sorted(found.items()):
        if path in then.paths and path not in after.paths:
            mine = then.entry(path)
            if mine is not None and not same(mine, base[path]):
                yield Dropped(path, successor, base[path], mine)


def _may_have_moved(gone: frozenset[str], table: Moves, before: Past) -> bool:
    package = str(before.recorded.get("package_name"))
    old = {place.replace("{{ package_name }}", package) for place, new in table.items() if new}
    return bool(gone & old)


def put_back(dropped: Dropped, merged: Merged) -> None:
    """Merge a dropped edit into the file that took its place, unless it is there already."""
    there = merged.tree.get(dropped.successor)
    if there is None or _holds(there, dropped):
        return
    joined = three_way(dropped.successor, dropped.base, dropped.mine, there, None)
    if joined is None:
        return
    merged.put(dropped.successor, joined)
    said = f"your edits of {dropped.path}, which an earlier update dropped, are back"
    merged.notes[dropped.successor] = said
    if marker_lines(joined) and not marker_lines(there):
        merged.left[dropped.successor] = Left.MARKERS
        merged.stages[dropped.successor] = (dropped.base, dropped.mine, there)


def _holds(there: Entry, dropped: Dropped) -> bool:
    """Whether a file has every line that the user had added."""
    lines = [set((entry.text or "").splitlines()) for entry in (dropped.mine, dropped.base, there)]
    return not (lines[0] - lines[1]) - lines[2]
