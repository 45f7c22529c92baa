"""What the bundle records about itself, and whether its files are as recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METADATA = "metadata.json"
# made after metadata.json, over all other files
SIGNATURE = "model.sig"
# what whoever deploys the bundle edits
DEPLOYMENT = {
    ".dockerignore",
    "Dockerfile",
    "MODEL_CARD.md",
    "README.md",
    "compose.yaml",
    "kubernetes.yaml",
    "torchserve/config.properties",
    "torchserve/model-config.yaml",
}


class BundleError(Exception):
    """The bundle is damaged, incomplete, or cannot run here; the message names what and why."""


def read_metadata(bundle: Path) -> dict[str, Any]:
    """What the bundle says about itself.

    Raises:
        BundleError: there is no metadata.json, or it is damaged.
    """
    try:
        metadata: dict[str, Any] = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{METADATA} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{METADATA} is damaged: {error}") from error
    return metadata


def verify_files(bundle: Path, *, only_model: bool = False) -> int:
    """Compare every file with its recorded hash.

    Until then `inference.py` and the files beside this one are all that has been executed.

    Args:
        bundle: its folder.
        only_model: accept extra files, which an archive of TorchServe has, and changes to the
            settings of a deployment, which are there to be changed.

    Returns:
        how many files were compared.

    Raises:
        BundleError: naming every changed, missing and extra file.
    """
    recorded = read_metadata(bundle)["files"]
    checked = set(recorded) - DEPLOYMENT if only_model else set(recorded)
    present = {path.relative_to(bundle).as_posix() for path in _files(bundle)}
    present -= {METADATA, SIGNATURE}
    problems = [f"{name} is missing" for name in sorted(checked - present)]
    problems += [
        f"{name} has changed"
        for name in sorted(checked & present)
        if file_hash(bundle / name) != recorded[name]["sha256"]
    ]
    if not only_model:
        problems += [f"{name} does not belong here" for name in sorted(present - set(recorded))]
    if problems:
        raise BundleError("; ".join(problems))
    return len(checked)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    # imported late: it loads OpenSSL, which a prediction has no use for
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(bundle: Path) -> Iterator[Path]:
    for path in sorted(bundle.rglob("*")):
        # Python's own cache, written when inference.py is imported
        if not path.is_dir() and "__pycache__" not in path.relative_to(bundle).parts:
            yield path
