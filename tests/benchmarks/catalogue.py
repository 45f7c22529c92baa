"""Importing this fills `harness.BENCHMARKS`, in the order of the page."""

from . import compiling, loading

__all__ = ["compiling", "loading"]
