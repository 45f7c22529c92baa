"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import loading, scaling

__all__ = ["loading", "scaling"]
