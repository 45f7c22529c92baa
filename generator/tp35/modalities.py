"""What the template says about its modalities: each is a row of a table and a folder."""

from __future__ import annotations

from typing import Any

import yaml

from tp35 import questions, template


def names() -> list[str]:
    """The modalities in the order of `copier.yml`'s table."""
    return list(questions.table("modalities"))


def part(modality: str, name: str) -> dict[str, Any]:
    """A YAML file of a modality's `_parts/`, where what the template does not render lies."""
    folder = template.root() / "template" / f"{{{{overlay.{modality}}}}}" / "_parts"
    loaded: dict[str, Any] = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    return loaded
