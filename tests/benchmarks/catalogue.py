"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import loading, packing

__all__ = ["loading", "packing"]
