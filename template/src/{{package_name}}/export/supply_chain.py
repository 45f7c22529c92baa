"""Optional proofs of origin: an OpenSSF signature over the bundle, a CycloneDX list of its parts.

Both tools are commands of their own, so that training needs neither installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..errors import ExportError

SIGNATURE = "model.sig"
SBOM = "sbom.cdx.json"


def sign(bundle: Path, private_key: Path) -> Path:
    """Sign every file of a finished bundle.

    Args:
        bundle: its folder; nothing in it may change afterwards.
        private_key: an elliptic curve key as PEM, without a password.

    Returns:
        path of the signature, which lies in the bundle.

    Raises:
        ExportError: the tool is not installed, or refuses the key.
    """
    if not private_key.is_file():
        raise ExportError(f"sign: {private_key} does not exist")
    signature = bundle / SIGNATURE
    key, target = ("--private_key", private_key), ("--signature", signature)
    ignored = ("--ignore-paths", signature)
    # 1.1.1 imports pyopenssl and does not ask for it
    package = "model-signing --with pyopenssl"
    _run("model_signing", package, "sign", "key", *key, *target, *ignored, bundle)
    return signature


def write_sbom(bundle: Path) -> Path:
    """List what requirements.txt installs, as CycloneDX JSON.

    Returns:
        path of the list, which lies in the bundle.

    Raises:
        ExportError: the tool is not installed, or cannot read requirements.txt.
    """
    path = bundle / SBOM
    options = ("--output-reproducible", "--short-PURLs", "--output-file", path)
    _run("cyclonedx-py", "cyclonedx-bom", "requirements", *options, bundle / "requirements.txt")
    return path


def _run(command: str, package: str, *arguments: str | Path) -> None:
    if shutil.which(command) is None:
        raise ExportError(f"{command} is not installed; uv tool install {package}")
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ExportError(f"{command} failed: {lines[-1]}")
