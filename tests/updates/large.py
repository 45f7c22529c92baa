"""What an update takes in a large repository, beside what it takes in a small one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .stage import Stage, Wrong, staged
from .subjects import toy_subject
from .toy import commit_all

MOST = 2.0
IN_A_FOLDER = 100


@dataclass(frozen=True)
class Times:
    """Seconds in the small and in the large repository, in the order of rounds."""

    what: str
    small: list[float]
    large: list[float]

    @property
    def ratio(self) -> float:
        """How much longer the large one takes, by medians."""
        return statistics.median(self.large) / statistics.median(self.small)

    def __str__(self) -> str:
        small, large = (statistics.median(times) for times in (self.small, self.large))
        return (
            f"{self.what:8} {small:.2f} s, {large:.2f} s in the large one: {self.ratio:.2f} times"
        )


def _build(stage: Stage, files: int) -> None:
    """Put the project into a repository with so many other files, all committed."""
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    for number in range(files):
        folder = repository / f"other/{number // IN_A_FOLDER}"
        if number % IN_A_FOLDER == 0:
            folder.mkdir(exist_ok=True)
        (folder / f"{number}.py").write_text(f"number = {number}\n")
    commit_all(repository)


def _timed(stage: Stage, *options: str) -> float:
    started = time.perf_counter()
    ran = stage.update(*options)
    taken_s = time.perf_counter() - started
    if ran.code:
        raise Wrong(f"an update fails: {ran.err}")
    return taken_s


def _reset(stage: Stage) -> None:
    stage.git("reset", "--quiet", "--hard")
    stage.git("clean", "--quiet", "--force", "-d", ".")
    stage.git("status", "--porcelain")  # which refreshes the index


def measure(root: Path, files: int, rounds: int) -> Iterator[Times]:
    """Dry runs and updates in turn, in the small repository and in the large one."""
    subject = toy_subject(root / "toy")
    with ExitStack() as both:
        stages = [
            both.enter_context(staged(root / name, subject, clashing=False))
            for name in ("small", "large")
        ]
        for stage, count in zip(stages, (0, files), strict=True):
            _build(stage, count)
        for what, options in (("dry run", ["--dry-run"]), ("update", [])):
            times: list[list[float]] = [[], []]
            for _ in range(rounds + 1):  # the first is for the caches of the machine
                for stage, found in zip(stages, times, strict=True):
                    found.append(_timed(stage, *options))
                    _reset(stage)
            yield Times(what, *(found[1:] for found in times))
