"""The processor as files, inside a checkpoint or a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class KeepsProcessor(Protocol):
    """What a modality's `data/reading.py` provides for that, without waiting for torch."""

    PROCESSOR_FILES: tuple[str, ...]
    """Names of the files that `save_processor` writes."""

    def save_processor(self, processor: Any, folder: Path) -> None:
        """Write the processor into a run or a bundle."""

    def load_processor(self, folder: Path) -> Any:
        """The processor kept with a run; None in modalities that have none."""


def processor_files(modality: KeepsProcessor, processor: Any) -> dict[str, bytes]:
    """The files of a processor, by name; empty where there is none."""
    if processor is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        modality.save_processor(processor, Path(folder))
        return {name: (Path(folder) / name).read_bytes() for name in modality.PROCESSOR_FILES}


def processor_from(modality: KeepsProcessor, files: Mapping[str, bytes]) -> Any:
    """Inverse of `processor_files`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return modality.load_processor(Path(folder)) if files else None
