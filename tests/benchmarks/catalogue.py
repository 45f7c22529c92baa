"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import loading

__all__ = ["loading"]
