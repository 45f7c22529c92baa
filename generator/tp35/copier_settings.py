"""Copier's settings of this user, which it reads without a word of its own on what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from tp35.problems import Problem
from tp35.yaml_files import parse_mapping, read_text

VARIABLE = "COPIER_SETTINGS_PATH"
REMEDY = f"correct it, or set {VARIABLE} to another file"


def check() -> None:
    """Raise `Problem` where Copier would stop at its settings, or pass over them with a warning."""
    from platformdirs import user_config_path

    given = os.environ.get(VARIABLE)
    path = Path(given) if given else user_config_path("copier", appauthor=False) / "settings.yml"
    if not path.is_file():
        if given:
            raise Problem(f"{VARIABLE} names {given}, which is no file; correct or unset it")
        return
    name = f"Copier's settings file {path}"
    settings = parse_mapping(read_text(path, REMEDY), name, REMEDY)
    defaults, trust = settings.get("defaults", {}), settings.get("trust", [])
    if not isinstance(defaults, dict) or not all(isinstance(key, str) for key in defaults):
        raise Problem(f"{name} has `defaults` that are no answers by their keys; {REMEDY}")
    if not isinstance(trust, list) or not all(isinstance(item, str) for item in trust):
        raise Problem(f"{name} has a `trust` that is no list of addresses; {REMEDY}")
