"""The built-in sample set: tones in noise."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from ..task import WORDS
from .new_folder import new_folder

RATE = 16_000
PER_WORD = 40


def write_sample(destination: Path, task: str) -> int:
    """Write the sounds in the layout that `task` reads; the folder appears whole or not at all.

    Raises:
        DataError: the destination exists or cannot be written.
    """
    generator = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    rows: dict[str, list[list[str]]] = {"train": [], "val": []}
    with new_folder(destination) as folder:
        for number in range(PER_WORD * len(WORDS)):
            position = number % len(WORDS)
            pitch = float(generator.uniform(80, 300))
            sound = np.sin(2 * np.pi * pitch * time)
            sound += np.sin(2 * np.pi * (400 + 300 * position) * time)
            sound = 0.2 * sound + generator.normal(0, 0.02, len(time))
            split = "val" if number // len(WORDS) % 4 == 0 else "train"
            word = WORDS[position]
            if task == "audio_classification":
                path = folder / split / word / f"{number:04}.wav"
            else:
                path = folder / "sounds" / f"{number:04}.wav"
                extra = ["even"] * (position % 2 == 0) + ["large"] * (position >= 5)
                multi = task == "audio_multilabel"
                label = ";".join([word, *extra]) if multi else f"{pitch:.1f}"
                rows[split].append([f"sounds/{number:04}.wav", label, f"{split}{number % 3}"])
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, RATE, subtype="PCM_16")
        if task != "audio_classification":
            header = ["audio", "labels" if task == "audio_multilabel" else "pitch", "speaker"]
            for split, lines in rows.items():
                with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows([header, *lines])
    return PER_WORD * len(WORDS)
