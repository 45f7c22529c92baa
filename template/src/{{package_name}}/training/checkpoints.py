"""Checkpoints: writing them whole, reading them again, and finding the right one of a run."""

from __future__ import annotations

import errno
import math
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch

from ..atomic import whole_file
from ..data.description import DATA_FILE
from ..errors import TrainingError
from .row_file import ROWS, TABLE
from .runs import FOLDER, latest_run

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# counts up when what a checkpoint holds changes, so that code can tell old ones apart
CHECKPOINT_VERSION = 4
MODEL_PREFIX = "model."  # the adapter's name for the network


@contextmanager
def whole_checkpoint(path: Path) -> Iterator[Path]:
    """`whole_file`, with one line for a disk that is full or may not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            yield partial
    # torch.save raises RuntimeError where the file under it could not take everything
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _free_space(path.parent)
        raise TrainingError(
            f"cannot write {path}: {reason}; earlier checkpoints are intact"
        ) from error


def _free_space(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    return f"{os.strerror(errno.ENOSPC)} ({free / 2**20:.0f} MiB are free)"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Weights and plain data of a checkpoint; nothing in it is executed.

    Raises:
        TrainingError: missing, cut off, or no checkpoint of this project.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise TrainingError(f"{path} is damaged: {name} in it has changed")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist") from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{path} is damaged: {reason}") from error
    if not isinstance(checkpoint, dict) or "task_spec" not in checkpoint:
        raise TrainingError(f"{path} is not a checkpoint of this project")
    if (version := checkpoint.get("checkpoint_version")) != CHECKPOINT_VERSION:
        raise TrainingError(
            f"{path} was written by another version of this project: it has checkpoint_version "
            f"{version}, and {CHECKPOINT_VERSION} can be read"
        )
    return checkpoint


# --- Which is best -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """What the validation samples say of some weights.

    Attributes:
        metric: what is monitored.
        mode: `min` or `max` of it is best.
        score: its value.
        loss: of the validation samples.
    """

    metric: str
    mode: str
    score: float
    loss: float

    def beats(self, other: Judgement | None) -> bool:
        """Whether these weights are better than others.

        Ties go to the lower loss: it goes on falling where a share of hits cannot rise. Whatever
        there is beats nothing, and a number beats what is none.
        """
        return other is None or self._rank() > other._rank()

    def _rank(self) -> tuple[float, float]:
        score = self.score if self.mode == "max" else -self.score
        return tuple(-math.inf if math.isnan(n) else n for n in (score, -self.loss))  # type: ignore[return-value]


@dataclass(frozen=True)
class Whole:
    """A checkpoint that can be read.

    Attributes:
        path: its file.
        run_id: of the run that wrote it.
        serial: number of the checkpoint within that run, from 1.
        judged: what its weights are worth; None between two validations.
    """

    path: Path
    run_id: str
    serial: int
    judged: Judgement | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Look into a file.

        Raises:
            TrainingError: as `read_checkpoint`.
        """
        checkpoint = read_checkpoint(path)
        judged = checkpoint["judged"]
        return cls(
            path,
            checkpoint["run_id"],
            checkpoint["serial"],
            None if judged is None else Judgement(**judged),
        )


@dataclass(frozen=True)
class RunSurvey:
    """The checkpoints of a run.

    Attributes:
        whole: those that can be read, by the names of their files.
        problems: what is wrong with the others, by name.
    """

    whole: Mapping[str, Whole]
    problems: Mapping[str, str]

    @classmethod
    def of(cls, run_dir: Path) -> Self:
        """Read all of them.

        Raises:
            TrainingError: they come from different runs.
        """
        whole: dict[str, Whole] = {}
        problems: dict[str, str] = {}
        for name in (LAST, PREVIOUS, BEST):
            path = run_dir / FOLDER / name
            if path.exists():
                try:
                    whole[name] = Whole.read(path)
                except TrainingError as error:
                    problems[name] = str(error)
            else:
                problems[name] = f"{path} does not exist"
        _refuse_two_runs(whole.values())
        return cls(whole, problems)

    @property
    def last(self) -> Whole | None:
        """The newest that is whole."""
        return max(self.whole.values(), key=lambda one: one.serial, default=None)

    @property
    def best(self) -> Whole | None:
        """The best that is whole, `best.ckpt` unless another beats it; else the last."""
        found = self.whole.get(BEST)
        for one in self.whole.values():
            if one.judged and (found is None or one.judged.beats(found.judged)):
                found = one
        return found or self.last


def _refuse_two_runs(found: Iterable[Whole]) -> None:
    for first, other in pairwise(found):
        if other.run_id != first.run_id:
            raise TrainingError(
                f"{other.path} and {first.path} come from different runs; move away the one that "
                "does not belong there"
            )


# --- Finding -------------------------------------------------------------------------------------


def find_checkpoint(output_dir: str | Path, place: str = "last", which: str = "last") -> Path:
    """A checkpoint file.

    Args:
        output_dir: folder of all runs.
        place: `last` for the newest run; a run's folder, another folder with checkpoints, or a
            file itself.
        which: `best` or `last` of them. One that is damaged or missing gives way to the best or
            last that is whole, with a warning.

    Raises:
        TrainingError: no such run or file.
    """
    found = latest_run(output_dir) if place == "last" else Path(place)
    if found.is_file():
        return found
    if not found.is_dir():
        raise TrainingError(f"{found} does not exist; give last, a run's folder or a file")
    run_dir = found.parent if found.name == FOLDER else found
    if not any((run_dir / FOLDER / name).exists() for name in (LAST, PREVIOUS, BEST)):
        return _only_file(found)
    survey = RunSurvey.of(run_dir)
    wanted = f"{which}.ckpt"
    chosen = survey.best if which == "best" else survey.last
    if chosen is None:
        raise TrainingError(f"{survey.problems[wanted]}; a run writes it at the end of an epoch")
    if chosen.path.name != wanted:
        is_other = f"{chosen.path} is {'better' if which == 'best' else 'newer'} than {wanted}"
        reason = survey.problems.get(wanted, is_other)
        doubt = ", which was never validated" if chosen.judged is None and which == "best" else ""
        warnings.warn(f"{reason}; taking {chosen.path}{doubt}", stacklevel=2)
    return chosen.path


def _only_file(folder: Path) -> Path:
    """The checkpoint of a folder that is no run's."""
    files = sorted(folder.glob("*.ckpt"))
    if len(files) == 1:
        return files[0]
    found = f"{len(files)} checkpoints; name one" if files else "no checkpoint"
    raise TrainingError(
        f"{folder} is no run with a checkpoint, and holds {found}; a run writes its first at the "
        "end of an epoch"
    )


def run_of(path: Path) -> Path | None:
    """The folder of the run that a checkpoint lies in; None where it lies elsewhere."""
    run_dir = path.absolute().parent.parent
    is_run = any((run_dir / name).exists() for name in (ROWS, TABLE, DATA_FILE))
    return path.parent.parent if is_run and path.absolute().parent.name == FOLDER else None


def keep_copy(path: Path, copy: Path) -> None:
    """Copy a checkpoint: of one file with two names, damage to either would cost both.

    Raises:
        TrainingError: the disk is full or may not be written.
    """
    with whole_checkpoint(copy) as partial:
        shutil.copyfile(path, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())


def mend_best(run_dir: Path) -> RunSurvey:
    """Let `best.ckpt` be the best checkpoint that is whole; gives the survey from before.

    A run that was killed between `last` and `best`, or whose files were damaged, has another. What
    a kill has left half-written goes.

    Raises:
        TrainingError: checkpoints come from different runs.
    """
    survey = RunSurvey.of(run_dir)
    best = survey.best
    if best is not None and best.judged is not None and best.path.name != BEST:
        keep_copy(best.path, best.path.with_name(BEST))
    for partial in (run_dir / FOLDER).glob("*.partial"):
        partial.unlink(missing_ok=True)
    return survey
