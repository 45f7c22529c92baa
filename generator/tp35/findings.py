"""What `tp35 doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is; only a problem makes the command fail."""

    GOOD = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, how it is, and what to do about it."""

    level: Level
    subject: str
    state: str
    remedy: str = ""


def good(subject: str, state: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.GOOD, subject, state)


def warning(subject: str, state: str, remedy: str) -> Finding:
    """Worth knowing; nothing fails yet."""
    return Finding(Level.WARNING, subject, state, remedy)


def problem(subject: str, state: str, remedy: str) -> Finding:
    """Something fails or will fail."""
    return Finding(Level.PROBLEM, subject, state, remedy)
