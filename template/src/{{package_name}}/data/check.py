"""Whether every sample can be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..config import TrainingConfig
from ..errors import BadSamples, TrainingError
from ..task import TaskSpec
from .module import Modality, UniversalDataModule, load_modality
from .splits import Splits


def find_problems(modality: Modality, splits: Splits) -> list[str]:
    """Open every sample of all splits; one line for each that cannot be read, with its path."""
    return [
        problem
        for rows in (splits.train, splits.val, splits.test)
        if rows is not None
        for problem in modality.examine(rows).problems
    ]


def read_checked_splits(config: TrainingConfig) -> Splits:
    """Read `config.data` and open every sample.

    Raises:
        BadSamples: naming those that cannot be used.
        DataError: the data cannot be read at all.
    """
    modality = load_modality(TaskSpec.modality)
    splits = modality.read_splits(config)
    if problems := find_problems(modality, splits):
        raise BadSamples(config.data, problems)
    return splits


def check_samples(data: UniversalDataModule, config: TrainingConfig) -> None:
    """Open every sample before the first epoch, unless these very files were opened before.

    Raises:
        DataError: naming the samples that cannot be read.
        TrainingError: the output folder cannot be written.
    """
    assert data.splits is not None
    stamp = Path(config.output_dir) / ".checked"
    state = _files_state(Path(config.data))
    if state is not None and stamp.exists() and stamp.read_text(encoding="utf-8") == state:
        return
    if problems := find_problems(data.modality, data.splits):
        raise BadSamples(config.data, problems)
    if state is not None:
        try:
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(state, encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write {stamp}: {error.strerror}") from error


def _files_state(data: Path) -> str | None:
    """Digest of path, size and time of every file that belongs to the data; None off the disk."""
    root = data if data.is_dir() else data.parent  # a manifest's images lie beside it
    if not data.exists() or Path.cwd().is_relative_to(root.resolve()):
        return None
    digest = hashlib.blake2b(str(data.resolve()).encode(), digest_size=16)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
