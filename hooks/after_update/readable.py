"""Say which merged files no longer parse; a merge knows lines, not syntax.

Files with conflict markers are left out: those are reported anyway. Nothing is refused, since the
edits are the user's.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml

from tp35 import git
from tp35.conflicts import marker_lines
from tp35.trees import read_tree

PARSERS: dict[str, Callable[[str], object]] = {
    ".py": ast.parse,
    ".json": json.loads,
    ".toml": tomllib.loads,
    # A file may hold several documents, as Kubernetes manifests do.
    ".yaml": lambda text: list(yaml.safe_load_all(text)),
    ".yml": lambda text: list(yaml.safe_load_all(text)),
}

for path, entry in read_tree(Path.cwd(), git.changed_files(Path.cwd())).items():
    parse = PARSERS.get(Path(path).suffix)
    if parse is None or entry.text is None or marker_lines(entry):
        continue
    try:
        parse(entry.text)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        print(f"warning: {path} does not parse after the update: {reason}", file=sys.stderr)
