"""All benchmarks, in the order of the page: importing their modules fills `BENCHMARKS`."""

from . import loading as _loading  # noqa: F401
from . import templates as _templates  # noqa: F401
from .harness import BENCHMARKS

__all__ = ["BENCHMARKS"]
