"""Templates of a few files, for tests of what goes on around them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from rendering import commit_all, git, render, started

QUESTIONS = """\
_subdirectory: template
_envops: {keep_trailing_newline: true}
_exclude: ["{% if license == 'Proprietary' %}/LICENSE{% endif %}"]
project_name: {type: str, default: Small}
package_name: {type: str, default: small}
license: {type: str, default: MIT}
"""
ANSWERS_FILE = """\
# Written by Copier.
{% if _copier_conf.vcs_ref_hash -%}
# Commit of the template: {{ _copier_conf.vcs_ref_hash }}
{% endif -%}
{{ _copier_answers | to_nice_yaml -}}
"""
FILES = {
    "LICENSE": "License: {{ license }}\n",
    "README.md": "# {{ project_name }}\n\nOne.\n\nTwo.\n\nThree.\n",
    "src/{{ package_name }}/model.py": "".join(f"line_{n} = {n}\n" for n in range(12)),
    "src/{{ package_name }}/task.py": "".join(f"task_{n} = {n}\n" for n in range(12)),
}
TASK = "src/{{ package_name }}/task.py"
MODEL = "src/{{ package_name }}/model.py"

Texts = Mapping[str, str | None]


def small_template(folder: Path) -> Path:
    """A template with one version, v1.0.0."""
    folder.mkdir(parents=True)
    git("init", cwd=folder)
    (folder / "copier.yml").write_text(QUESTIONS)
    release(
        folder,
        "v1.0.0",
        {**FILES, "{{_copier_conf.answers_file}}": ANSWERS_FILE, "plain": "plain\n"},
    )
    return folder


def release(
    template: Path, tag: str, texts: Texts, moves: Mapping[str, str | None] | None = None
) -> None:
    """Write files of the template, or remove them (None), and tag that as a version.

    Args:
        template: The template's repository.
        tag: Of the version.
        texts: By path in a rendered project.
        moves: Rows of the table of moves, from old path to new path.
    """
    for path, text in texts.items():
        place = template / "template" / path
        place = place.with_name(f"{place.name}.jinja") if "{{" in (text or "") else place
        if text is None:
            place.unlink()
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    if moves is not None:
        (template / "hooks").mkdir(exist_ok=True)
        rows = [{"from": old, "to": new} for old, new in moves.items()]
        (template / "hooks" / "moves.yml").write_text(yaml.safe_dump({tag.lstrip("v"): rows}))
    commit_all(template, tag)
    git("tag", tag, cwd=template)


def small_project(template: Path, folder: Path, ref: str = "v1.0.0") -> Path:
    """A project of it with one commit."""
    return started(render(template, folder, ref=ref))


def write(project: Path, texts: Texts) -> None:
    """Write files of a project, or remove them (None), and commit that."""
    for path, text in texts.items():
        if text is None:
            (project / path).unlink()
            continue
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, "utf-8", newline="")
    commit_all(project)
