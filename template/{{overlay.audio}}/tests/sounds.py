"""Sounds that tests write: tones of a pitch, in files of any format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile

RATE = 16_000


def tone(
    hertz: float, seconds: float = 0.5, rate: int = RATE, level: float = 0.3
) -> npt.NDArray[np.float64]:
    """A sine wave [T] that swells and fades."""
    time = np.arange(round(seconds * rate)) / rate
    envelope = np.sin(np.pi * np.arange(len(time)) / max(1, len(time) - 1))
    wave: npt.NDArray[np.float64] = level * envelope * np.sin(2 * np.pi * hertz * time)
    return wave


def save(
    path: Path, samples: npt.NDArray[Any], rate: int = RATE, subtype: str | None = None
) -> Path:
    """A file of samples [T] or [T, channels], in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def sound(path: Path, hertz: float = 440, **kwargs: Any) -> Path:
    """A file with a tone."""
    return save(path, tone(hertz, **kwargs), kwargs.get("rate", RATE))


def table(path: Path, *rows: dict[str, Any]) -> Path:
    """A table of these rows, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        pd.DataFrame(list(rows)).to_parquet(path)
    return path


def classes(root: Path, per_class: int = 6, **pitches: float) -> Path:
    """A folder for each class, with tones about its pitch."""
    for name, hertz in pitches.items():
        for number in range(per_class):
            sound(root / name / f"{number}.wav", hertz * (1 + number / 50))
    return root
