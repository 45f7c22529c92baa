"""What became of a user's edits in the updates since a commit of the project.

Plain `copier update` drops the edits of files that a release moved or removed, without a word, and
a bot's request does not show it. So the edits at that commit are looked for in the files of now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tp35 import answers_file, conflicts, moves
from tp35.drift import BESIDE, Comparison
from tp35.merge import same
from tp35.past_project import PastProject
from tp35.problems import Problem
from tp35.trees import Entry


@dataclass(frozen=True)
class Loss:
    """An edit of the user's that an update lost or put beside."""

    path: str
    what: str


def lost_since(project: Comparison, ref: str) -> Iterator[Loss]:
    """The user's edits at a commit of the project that are not in its files now.

    Raises:
        Problem: There is no such commit, or it had no answers.
    """
    past = PastProject.read(project.project, ref)
    known = past.commit_of_template and project.repository.commit(past.commit_of_template)
    commit = known or project.repository.commit(str(past.recorded.get("_commit")))
    if commit is None:
        raise Problem(f"the template has no {past.recorded.get('_commit')}, as {ref} records")
    base = project.renderer.recorded(commit, answers_file.answers(past.recorded))
    table = moves.parse(project.repository.text(project.version.commit, moves.FILE) or "")
    successors = moves.successors(
        table, base, project.base, past.recorded, project.project.recorded
    )
    everywhere = {line for entry in project.mine.values() for line in _lines(entry)}
    for path in sorted(base.keys() | (past.paths & project.base.keys())):
        if path == project.project.answers_name:
            continue
        then = past.entry(path)
        if same(then, base.get(path)):
            continue
        yield from _lost(project, path, base.get(path), then, successors.get(path), everywhere)


def _lost(
    project: Comparison,
    path: str,
    base: Entry | None,
    then: Entry | None,
    successor: str | None,
    everywhere: set[str],
) -> Iterator[Loss]:
    places = [place for place in (path, successor) if place and place in project.mine]
    if then is None:
        if places and same(project.mine[places[0]], project.base.get(places[0])):
            yield Loss(path, "you had deleted it, and it is back")
        return
    now = [project.mine[place] for place in places]
    where = "" if path in project.mine else f"; {_gone(successor)}"
    if then.text is None or any(entry.text is None for entry in now):
        if not any(same(entry, then) for entry in project.mine.values()):
            yield Loss(path, f"your version is in no file any more{where}")
        return
    added = _lines(then) - _lines(base)
    missing = added - {line for entry in now for line in _lines(entry)}
    beside = {
        place: missing & _lines(entry)
        for place, entry in project.mine.items()
        if place not in places and missing & _lines(entry) and _is_beside(place, path)
    }
    for place, lines in beside.items():
        yield Loss(path, f"{_count(lines)} put beside, into {place}")
        missing = missing - lines
    if missing:
        elsewhere = "" if missing - everywhere else " (each is in another file)"
        yield Loss(path, f"{_count(missing)} gone{elsewhere}{where}")
    marked = [place for place in places if conflicts.marker_lines(project.mine[place])]
    if marked:
        yield Loss(path, f"between conflict markers in {marked[0]}")
    removed = _lines(base) - _lines(then)
    back = removed & {line for entry in now for line in _lines(entry)}
    if back and not marked:
        yield Loss(path, f"{_count(back)} that you had removed back")


def _lines(entry: Entry | None) -> set[str]:
    text = "" if entry is None else entry.text or ""
    return {line for line in text.splitlines() if line.strip()}


def _count(lines: set[str]) -> str:
    return "1 line is" if len(lines) == 1 else f"{len(lines)} lines are"


def _is_beside(place: str, path: str) -> bool:
    return any(place.startswith(f"{path}{ending}") for ending in BESIDE)


def _gone(successor: str | None) -> str:
    return f"the template has {successor} instead" if successor else "the template dropped the file"
