"""What the project's own history says of its answers: edits by hand, and versions it was on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tp35 import answers_file, git
from tp35.problems import Problem
from tp35.questions import Answers
from tp35.trees import Entry, Tree

Rendering = Callable[[Answers], Tree]


@dataclass(frozen=True)
class Past:
    """The answers file at a commit."""

    commit: str
    recorded: dict[str, Any]


def past(project: Path, name: str) -> list[Past]:
    """The answers file in every commit that changed it, newest first; none in a shallow clone."""
    if not git.has_history(project):
        return []
    found = []
    for commit, text in git.past_versions(name, project):
        try:
            found.append(Past(commit, answers_file.parse(text, name)))
        except Problem:
            continue  # it was broken then, and is no more
    return found


def edited_by_hand(
    recorded: dict[str, Any], history: list[Past], mine: Tree, rendered: Rendering
) -> dict[str, tuple[Any, Any]]:
    """The answers that changed in the answers file while the files they render did not.

    An update that changes an answer changes what it renders as well. After an edit of the answers
    file alone, the project is none of what the template renders, and no merge can tell.

    Args:
        recorded: The answers file as it is.
        history: As it was, newest first.
        mine: The project's files.
        rendered: Renders the project's version of the template with other answers.

    Returns:
        By question, the answer that the files are of and the one that is recorded.
    """
    now = answers_file.answers(recorded)
    seen, found = [now], dict[str, tuple[Any, Any]]()
    for version in history:
        then = answers_file.answers(version.recorded)
        changed = {key: (then[key], now[key]) for key in then.keys() & now.keys()}
        changed = {key: pair for key, pair in changed.items() if pair[0] != pair[1]}
        earlier = {**now, **{key: pair[0] for key, pair in changed.items()}}
        if earlier in seen:
            continue
        seen.append(earlier)
        try:
            is_of_then = _is_of(mine, rendered(earlier), rendered(now))
        except Problem:
            continue  # an answer that is accepted no longer renders nothing
        if is_of_then:
            found |= changed
    return found


def _is_of(mine: Tree, then: Tree, now: Tree) -> bool:
    """Whether the files hold what one set of answers renders, and nothing of the other."""
    differing = {
        path
        for path in then.keys() | now.keys()
        if path != answers_file.NAME and then.get(path) != now.get(path)
    }
    present = [path for path in differing if path in mine or path not in then]
    return bool(present) and all(
        _still_old(mine.get(path), then.get(path), now.get(path)) for path in present
    )


def _still_old(mine: Entry | None, then: Entry | None, now: Entry | None) -> bool:
    """Whether the project's file holds nothing of what the new answer renders."""
    if mine is None or then is None or now is None:
        return mine == then or (mine is not None and then is not None)
    texts = (mine.with_lf().text, then.text, now.text)
    if mine.with_lf() == now or None in texts:
        return mine == then
    mine_lines, then_lines, now_lines = (set(str(text).splitlines()) for text in texts)
    old, new = then_lines - now_lines, now_lines - then_lines
    return not new & mine_lines and (not old or bool(old & mine_lines))
