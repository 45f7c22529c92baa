"""The bundle's engine, as its own `inference.py` defines it: what all servers have in common."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

PORT = int(os.environ["PORT"])
BATCH = int(os.environ["BATCH"])
# how long a batch waits for company, in milliseconds; none of them can be told less
WAIT_MS = 1

sys.dont_write_bytecode = True  # a bundle holds what was recorded


class Served:
    """Answers images as the bundle does."""

    def __init__(self) -> None:
        sys.path.insert(0, os.environ["BUNDLE"])
        engine = importlib.import_module("inference").Engine
        self._engine = engine(os.environ["BUNDLE"], threads=int(os.environ["THREADS"]))
        self._engine.verify_example()

    def answer(self, image: bytes) -> dict[str, Any]:
        """One image."""
        return self.answer_all([image])[0]

    def answer_all(self, images: Sequence[bytes]) -> list[dict[str, Any]]:
        """Several images, in one run."""
        items = [self._engine.decode(image) for image in images]
        answers = map(self._engine.answer, items, self._engine.logits(items))
        return list(answers)
