"""All benchmarks, in the order of the page: importing their modules fills `BENCHMARKS`."""

# ruff: noqa: F401, I001  (the order is that of the page)
from . import loading
from . import scaling
from . import steps
from . import compiling
from . import packing
from . import generating
from . import bundles
from . import serving
from . import starting
from . import tables
from . import templates
from . import gpu
from .harness import BENCHMARKS

__all__ = ["BENCHMARKS"]
