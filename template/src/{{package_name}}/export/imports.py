"""Which distributions code needs to be installed."""

from __future__ import annotations

from pathlib import Path

from ..architecture import Architecture
from ..errors import ExportError
from ..source_files import OWN_PACKAGE, distributions_of_modules, imported_modules, parse

REMEDY = "install it from a package index, or leave pytorch out of export_formats"


def distributions_of_file(path: Path) -> list[str]:
    """Distributions that a file of this project imports; its own package is none."""
    # relative imports count from nowhere here, and have no top
    tops = {name.partition(".")[0] for name in imported_modules(parse(path))} - {""}
    return [known[0] for known in distributions_of_modules(tops).values() if known]


def distributions_of_network(architecture: Architecture) -> list[str]:
    """Distributions to install before the network can be built elsewhere.

    Raises:
        ExportError: its code imports something that no package index has.
    """
    source = architecture.source
    if source is not None:
        found = source.distributions()
    else:
        found = distributions_of_modules({architecture.module.partition(".")[0]})
    for module, known in found.items():
        if not known or module == OWN_PACKAGE:
            raise ExportError(
                f"pytorch: {architecture.file or architecture.module} imports {module}, which a "
                f"bundle does not carry; {REMEDY}"
            )
    return sorted({known[0] for known in found.values()})
