"""Tells answers that were edited by hand from answers that an update wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tp35 import answers_file, git, new
from tp35.template import Source
from tp35.trees import Entry, Tree, read_tree


def _versions(project: Path) -> list[dict[str, Any]]:
    """The answers file now and in its two last commits, newest first, without repetitions."""
    commits = git.run("log", "-2", "--format=%H", "--", answers_file.NAME, cwd=project).split()
    texts = [(project / answers_file.NAME).read_text("utf-8")]
    texts += [git.run("show", f"{commit}:./{answers_file.NAME}", cwd=project) for commit in commits]
    versions: list[dict[str, Any]] = []
    for text in texts:
        parsed = answers_file.parse(text, answers_file.NAME)
        if parsed not in versions:
            versions.append(parsed)
    return versions


def _still_old(mine: Entry | None, then: Entry | None, now: Entry | None) -> bool:
    """Whether the project's file holds nothing of what the new answer renders."""
    if mine is None or mine == now:
        return False
    if mine == then or then is None or now is None:
        return mine == then
    texts = (mine.text, then.text, now.text)
    if None in texts:
        return False
    mine_lines, then_lines, now_lines = (set(str(text).splitlines()) for text in texts)
    return not ((now_lines - then_lines) & mine_lines)


def edited_by_hand(project: Path, source: Source) -> dict[str, tuple[Any, Any]]:
    """The answers that changed in the answers file while the files they render did not.

    An update that changes an answer changes what it renders as well. An edit of the answers file
    alone is undone by the next update, without a word from Copier.
    """
    if git.top_of_repository(project) is None:
        return {}
    versions = _versions(project)
    if len(versions) < 2:
        return {}
    now, then = versions[0], versions[1]
    changed = {
        key: (then.get(key), now.get(key))
        for key in answers_file.answers({**then, **now})
        if then.get(key) != now.get(key)
    }
    if not changed or now.get("_commit") != then.get("_commit"):
        return {}
    with tempfile.TemporaryDirectory(prefix="tp35-answers-") as scratch:
        trees: list[Tree] = []
        for name, recorded in (("then", then), ("now", now)):
            folder = Path(scratch) / name
            new.render(source, folder, answers_file.answers(recorded), defaults=True)
            trees.append(read_tree(folder))
    rendered_then, rendered_now = trees
    differing = {
        path
        for path in rendered_then.keys() | rendered_now.keys()
        if path != answers_file.NAME and rendered_then.get(path) != rendered_now.get(path)
    }
    mine = read_tree(project, differing)
    if any(
        _still_old(mine.get(path), rendered_then.get(path), rendered_now.get(path))
        for path in differing
    ):
        return changed
    return {}
