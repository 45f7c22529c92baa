"""Copier, without the work that it does again for every file and every rendering."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from copier._main import Worker


def do_nothing_twice(patch: pytest.MonkeyPatch) -> None:
    """Hundreds of renderings of one template: three quarters of the time was the same work again.

    Jinja compiles a piece of text once. Copier does not ask Git, once for every file, whether it
    keeps the bits of a file, which it does here; nor does it render, for every part of every path,
    the name of the answers file, which is no expression here.
    """
    compile_anew = jinja2.Environment.compile
    compiled: dict[Any, Any] = {}

    def compile_once(self: jinja2.Environment, source: Any, *rest: Any, **named: Any) -> Any:
        if not isinstance(source, str):
            return compile_anew(self, source, *rest, **named)
        # Jinja has one lexer for all environments with the same delimiters
        key = (self.lexer, *sorted(self.extensions), source, rest, *sorted(named.items()))
        if key not in compiled:
            compiled[key] = compile_anew(self, source, *rest, **named)
        return compiled[key]

    patch.setattr(jinja2.Environment, "compile", compile_once)
    patch.setattr(Worker, "answers_relpath", property(_answers_relpath))
    if not sys.platform.startswith("win"):
        patch.setattr(Worker, "_sync_git_index_executable_bit", lambda *_: None, raising=False)


def _answers_relpath(self: Worker) -> Path:
    return Path(self.answers_file or self.template.answers_relpath)
