"""A project as it was at one of its own commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tp35 import answers_file, git
from tp35.problems import Problem
from tp35.project import Project
from tp35.trees import Entry


@dataclass(frozen=True)
class PastProject:
    """A project as it was at a commit of its own."""

    project: Project
    ref: str
    recorded: Mapping[str, Any]
    commit_of_template: str | None  # where the answers file had it
    paths: frozenset[str]

    @classmethod
    def read(cls, project: Project, ref: str) -> PastProject:
        """What Git has of a project at a commit.

        Raises:
            Problem: There is no such commit, or no project in it.
        """
        folder = project.folder
        if not git.has_commit(folder, ref):
            raise Problem(f"the project has no commit {ref}; in a shallow checkout, fetch it first")
        place = f"{ref}:./{project.answers_name}"
        if not git.has_file(ref, project.answers_name, folder):
            raise Problem(f"{ref} has no {project.answers_name}")
        text = git.run("show", place, cwd=folder)
        recorded, known = answers_file.parse(text, place), answers_file.recorded_commit(text)
        listed = git.run("ls-tree", "-r", "-z", "--name-only", ref, "--", ".", cwd=folder)
        return cls(project, ref, recorded, known, frozenset(filter(None, listed.split("\0"))))

    def entry(self, path: str) -> Entry | None:
        """A file as it would be checked out."""
        if path not in self.paths:
            return None
        folder = self.project.folder
        facts = git.run("ls-tree", "-z", self.ref, "--", path, cwd=folder)
        mode = facts.partition(" ")[0]
        content = git.output("cat-file", "--filters", f"{self.ref}:./{path}", cwd=folder)
        return Entry(content, executable=mode == "100755", link=mode == "120000")
