"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import generating, loading

__all__ = ["generating", "loading"]
