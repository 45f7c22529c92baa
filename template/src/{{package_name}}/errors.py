"""Errors a user can cause and mend: the command line prints them as one line."""

from __future__ import annotations


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
    """The data folder or manifest is missing, empty or damaged."""


class ModelError(ProjectError):
    """The network cannot be found, built, or called with what a batch offers."""


class TrainingError(ProjectError):
    """A run cannot go on, or cannot be found."""


class ExportError(ProjectError):
    """A bundle cannot be written, or an artifact disagrees with the model it came from."""
