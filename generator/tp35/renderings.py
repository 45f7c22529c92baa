"""A project as versions of its template render it, apart from anybody's settings of Git."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tp35 import answers_file, copier_settings, git
from tp35.problems import Problem, copier_errors_in_one_line
from tp35.questions import Answers
from tp35.stopping import to_the_end
from tp35.template_repository import TemplateRepository
from tp35.trees import Entry, Tree, read_tree


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in which everything temporary lies, Copier's clones included."""
    before, folder = tempfile.tempdir, tempfile.mkdtemp(prefix="tp35-")
    tempfile.tempdir = folder
    try:
        yield Path(folder)
    finally:
        with to_the_end():
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Renderer:
    """Renders versions of one template; the same twice costs nothing."""

    repository: TemplateRepository
    answers_name: str
    scratch: Path
    _seen: dict[str, Tree] = field(default_factory=dict)

    def recorded(self, commit: str, answers: Answers) -> Tree:
        """What a project with these answers was rendered as.

        Raises:
            Misuse: That version does not accept an answer.
        """
        key = repr((commit, sorted(answers.items())))
        if key not in self._seen:
            self._seen[key] = self._copier(commit, answers, {})
        return self._seen[key]

    def anew(self, commit: str, recorded: Mapping[str, Any], answers: Answers) -> Tree:
        """What a version renders of recorded answers and changes to them, as `copier update` does.

        Answers that it does not accept are replaced by its defaults, those it does not ask are
        dropped: what came out stands in the rendered answers file.
        """
        before = answers_file.answers(dict(recorded))
        origin = {"_commit": commit, "_src_path": str(self.repository.folder)}
        return self._copier(commit, answers, {**before, **origin})

    def _copier(self, commit: str, answers: Answers, recorded: Mapping[str, Any]) -> Tree:
        import copier

        copier_settings.check()
        folder = Path(tempfile.mkdtemp(prefix="render-", dir=self.scratch))
        if recorded:
            text = yaml.safe_dump(dict(recorded), allow_unicode=True)
            path = folder / self.answers_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        with (
            git.in_environment(git.own_environment()),
            copier_errors_in_one_line(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            options: dict[str, Any] = {
                "data": answers,
                "vcs_ref": commit,
                "answers_file": self.answers_name,
                "defaults": True,
                "overwrite": True,
                "quiet": True,
            }
            if recorded:
                copier.run_recopy(folder, **options)
            else:
                copier.run_copy(str(self.repository.folder), folder, **options)
        return self._with_origin(read_tree(folder), commit)

    def _with_origin(self, tree: Tree, commit: str) -> Tree:
        """The rendering with an answers file that names the template, not our clone of it."""
        location, ref = self.repository.location, self.repository.describe(commit)
        rendered = tree.get(self.answers_name)
        if rendered is None or rendered.text is None:
            raise Problem(f"{ref} of the template at {location} renders no answers file")
        if answers_file.parse(rendered.text, self.answers_name).get("_commit") != ref:
            # Copier takes a repository that Git does not open just then for a plain folder.
            raise Problem(f"Copier did not render {ref} of the template at {location}; try again")
        known = answers_file.recorded_commit(rendered.text)
        text = answers_file.with_origin(rendered.text, location, ref, known)
        return tree | {self.answers_name: Entry(text.encode())}
