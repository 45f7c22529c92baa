"""What a run ran on, and what came of compiling: kept with it, for its report."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch

from ..atomic import write_whole

FACTS_FILE = "facts.json"

RECORDED = ("torch", "lightning", "torchvision", "transformers", "timm", "datasets", "numpy")


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run that no setting says.

    Attributes:
        environment: versions and devices, by name.
        compilation: whether the network was compiled and why, in a sentence; empty until that is
            known.
    """

    environment: dict[str, str]
    compilation: str = ""

    @classmethod
    def now(cls, device: torch.device, processes: int) -> Self:
        """Of this process.

        Args:
            device: that the network lies on.
            processes: how many train together.
        """
        environment = {
            "python": platform.python_version(),
            "system": platform.platform(),
            "device": _device_name(device),
            "processes": str(processes),
        }
        for name in RECORDED:
            try:
                environment[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return cls(environment)

    def save(self, run_dir: Path) -> None:
        """Write them into a run's folder."""
        write_whole(run_dir / FACTS_FILE, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, run_dir: Path) -> Self | None:
        """Inverse of `save`; None where they were not kept, or are damaged."""
        try:
            return cls(**json.loads((run_dir / FACTS_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
