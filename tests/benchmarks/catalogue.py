"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import loading, steps

__all__ = ["loading", "steps"]
