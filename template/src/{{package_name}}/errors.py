"""Errors a user can cause and mend: the command line prints them as one line."""

from __future__ import annotations

import errno
import signal

# what the system says of a file that cannot be written
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class ProjectError(Exception):
    """Something outside the code is wrong; the message names it and the remedy."""

    exit_code = 1


class ConfigError(ProjectError, ValueError):
    """Unknown fields or bad values in the configuration, all of them together."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(ProjectError):
    """The data folder or table is missing, empty or damaged."""


class BadSamples(DataError):
    """Samples that cannot be used; `problems` has a line for each, the message the first of them.

    Args:
        data: where they lie.
        problems: one line each, beginning with where the sample is.
    """

    SHOWN = 10

    def __init__(self, data: str, problems: list[str]) -> None:
        self.data, self.problems = data, problems
        noun = "sample" if len(problems) == 1 else "samples"
        lines = [f"{len(problems)} {noun} in {data} cannot be used:", *problems[: self.SHOWN]]
        if (more := len(problems) - self.SHOWN) > 0:
            lines.append(f"and {more} more; `data check` lists them all")
        super().__init__("\n".join(lines))


class ModelError(ProjectError):
    """The network cannot be found, built, or called with what a batch offers."""


class TrainingError(ProjectError):
    """A run cannot go on, or cannot be found."""


class ProcessLost(TrainingError):
    """Another process of the run has ended; that one knows why."""


class ExportError(ProjectError):
    """A bundle cannot be written, or an artifact disagrees with the model it came from."""


class IncompleteBundle(ExportError):
    """A bundle was written, but some of the formats asked for could not hold the network.

    Args:
        failures: one line for each format that is not in the bundle.
        bundle: where the others are.
    """

    def __init__(self, failures: list[str], bundle: str) -> None:
        super().__init__("\n".join(failures))
        self.failures, self.bundle = failures, bundle


class Stopped(BaseException):
    """A signal ends the program; `exit_code` is a shell's for it.

    No `Exception`: nothing that handles errors may take it for one.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        name = signal.Signals(number)
        super().__init__(f"stopped by {name.name}")
        self.exit_code = 128 + int(name)
