"""How a project differs from what its recorded version renders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from tp35 import answers_file, answers_history, conflicts, update
from tp35.merge import same
from tp35.problems import Problem
from tp35.project import Project
from tp35.renderings import Renderer, scratch_folder
from tp35.template import Source
from tp35.template_repository import TemplateRepository, fetch
from tp35.trees import Tree

# What updates and merges put beside a file.
BESIDE = (".new", ".saved", ".rej", ".orig")


class Difference(StrEnum):
    """How a file of the project differs from the rendering."""

    EDITED = "edited"
    DELETED = "deleted"
    IN_THE_WAY = "in the way"  # the user's, under a name that a newer version uses
    NOT_MERGED = "not merged"  # holds nothing of what the recorded version changed
    CONFLICT = "conflict"
    BESIDE = "beside"  # what an update put beside a file, still there


TO_DO = frozenset({Difference.NOT_MERGED, Difference.CONFLICT, Difference.BESIDE})


@dataclass(frozen=True)
class Drift:
    """One file, and how it differs."""

    path: str
    difference: Difference
    line: int = 0
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A project beside its template."""

    project: Project
    repository: TemplateRepository
    renderer: Renderer
    remarks: list[str]

    @cached_property
    def version(self) -> update.Version:
        """The version that the project came from."""
        return update.recorded_version(self.project, self.repository, self.remarks)

    @cached_property
    def newest(self) -> str:
        """The newest version that an update would go to."""
        return update.next_version(self.version, self.repository, None, []).ref

    @property
    def has_newer(self) -> bool:
        """Whether there is a version after the project's."""
        return self.newest != self.version.ref

    @cached_property
    def base(self) -> Tree:
        """What that version renders."""
        answers = answers_file.answers(self.project.recorded)
        return self.renderer.recorded(self.version.commit, answers)

    @cached_property
    def new(self) -> Tree:
        """What the newest version renders."""
        version = update.next_version(self.version, self.repository, None, [])
        if version.commit == self.version.commit:
            return self.base
        return self.renderer.anew(version.commit, self.project.recorded, {})

    @cached_property
    def mine(self) -> Tree:
        """The project's own files."""
        return self.project.tree(self.base)

    @cached_property
    def history(self) -> list[answers_history.Past]:
        """The answers file in the project's commits, newest first."""
        return answers_history.past(self.project.folder, self.project.answers_name)

    def edited_answers(self) -> dict[str, tuple[Any, Any]]:
        """The answers that were edited by hand: what the files are of, and what is recorded."""
        return answers_history.edited_by_hand(
            self.project.recorded,
            self.history,
            self.mine,
            lambda answers: self.renderer.recorded(self.version.commit, answers),
        )

    def files(self) -> Iterator[Drift]:
        """Every file that differs from the rendering of the recorded version."""
        stale = self._not_merged()
        for path in sorted(self.base.keys() - {self.project.answers_name}):
            mine = self.mine.get(path)
            if mine is None:
                yield Drift(path, Difference.DELETED)
            elif lines := conflicts.marker_lines(mine):
                yield from (Drift(path, Difference.CONFLICT, line) for line in lines)
            elif path in stale:
                yield Drift(path, Difference.NOT_MERGED, note=f"as {stale[path]} rendered it")
            elif not same(mine, self.base[path]):
                yield Drift(path, Difference.EDITED)
        for path in sorted(self.mine.keys() - self.base.keys()):
            lines = conflicts.marker_lines(self.mine[path])
            yield from (Drift(path, Difference.CONFLICT, line) for line in lines)
            if path in self.new and not same(self.mine[path], self.new[path]):
                note = f"{self.newest} has a file of that name"
                yield Drift(path, Difference.IN_THE_WAY, note=note)
            elif path.endswith(BESIDE) and path.rpartition(".")[0] in self.mine:
                yield Drift(path, Difference.BESIDE, note="merge what it holds, then delete it")

    def _not_merged(self) -> dict[str, str]:
        """Edited files that are as an earlier version rendered them, by path: that version."""
        edited = {
            path
            for path, entry in self.mine.items()
            if path in self.base and not same(entry, self.base[path])
        }
        refs = [str(past.recorded.get("_commit")) for past in self.history]
        earlier = next((n for n, ref in enumerate(refs) if ref != self.version.ref), None)
        if not edited or earlier is None:
            return {}
        commit = self.repository.commit(refs[earlier])
        if commit is None:
            return {}
        try:
            answers = answers_file.answers(self.history[earlier].recorded)
            then = self.renderer.recorded(commit, answers)
        except Problem:
            return {}  # that version does not accept what was recorded then
        changed = {path for path in edited if not same(then.get(path), self.base[path])}
        return {path: refs[earlier] for path in changed if same(self.mine[path], then.get(path))}


@contextmanager
def compared(project: Project, source: Source) -> Iterator[Comparison]:
    """A project beside its template, for as long as the scratch folder lasts.

    Raises:
        Problem: The project does not say where its template is, or that cannot be read.
    """
    with scratch_folder() as scratch:
        repository = fetch(update.location(project, source), scratch)
        renderer = Renderer(repository, project.answers_name, scratch)
        yield Comparison(project, repository, renderer, [])
