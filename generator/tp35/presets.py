"""Presets: named rows of answers for `tp35 new --preset`, from each modality's `presets.yml`."""

from __future__ import annotations

from dataclasses import dataclass

from tp35 import modalities
from tp35.problems import Misuse, nearest
from tp35.questions import Answers


@dataclass(frozen=True)
class Preset:
    """Answers that belong together; every other question keeps its default."""

    summary: str
    answers: Answers


def presets() -> dict[str, Preset]:
    """Every preset by its name, in the order of the modalities."""
    return {
        name: Preset(row["summary"], {"modality": modality, **row["answers"]})
        for modality in modalities.names()
        for name, row in modalities.part(modality, "presets.yml").items()
    }


def preset(name: str) -> Preset:
    """The preset of that name; raises `Misuse` with the nearest one when there is none."""
    known = presets()
    if name not in known:
        raise Misuse(f"there is no preset {name!r}; {nearest(name, known)}")
    return known[name]
