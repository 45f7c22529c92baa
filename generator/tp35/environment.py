"""What a project will find on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import Version

from tp35 import git
from tp35.findings import Finding, good, problem, warning

# An environment with a CUDA build of torch takes about 6 GB; runs and bundles come on top.
DISK_GB = 10

# Runs in the project's own environment, where torch is; tp35 never imports it.
PROBE = """
import importlib.metadata as metadata, json, sys
found = {"python": list(sys.version_info[:3])}
for name in ("torch", "torchvision", "lightning"):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = None
if found["torch"]:
    try:
        import torch
        found["cuda"] = torch.cuda.is_available()
        found["gpu"] = torch.cuda.get_device_name() if found["cuda"] else None
    except (ImportError, OSError) as error:
        found["torch_error"] = str(error)
if found["torchvision"]:
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        found["torchvision_error"] = str(error)
print(json.dumps(found))
"""


def project_python(project: Path) -> Path | None:
    """The interpreter of the project's environment, once `uv sync` has made one."""
    for path in (".venv/bin/python", ".venv/Scripts/python.exe"):
        if (project / path).exists():
            return project / path
    return None


def _probe(python: Path) -> dict[str, Any] | None:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [str(python), "-c", PROBE], capture_output=True, text=True, timeout=120, env=env
        )
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError, IndexError):
        return None
    return found


def _packages(found: dict[str, Any]) -> Iterator[Finding]:
    if found["torch"] is None:
        yield warning("torch", "is not installed in the project's environment", "uv sync")
        return
    if "torch_error" in found:
        yield problem("torch", f"cannot be imported: {found['torch_error']}", "uv sync --reinstall")
        return
    yield good("torch", found["torch"])
    if "torchvision_error" in found:
        # A CUDA build of torchvision beside a CPU build of torch; it breaks Lightning too.
        yield problem(
            "torchvision",
            f"does not fit torch {found['torch']}: {found['torchvision_error']}",
            "install both from the same index: uv sync --reinstall-package torchvision",
        )
    if found["lightning"] in {"2.6.2", "2.6.3"}:
        yield problem(
            "lightning",
            f"{found['lightning']} is a malicious release (GHSA-w37p-236h-pfx3)",
            "uv sync --upgrade-package lightning, and change the secrets of this machine",
        )
    if found.get("gpu"):
        yield good("GPU", found["gpu"])
    elif shutil.which("nvidia-smi"):
        yield warning("GPU", "there is one, but torch does not see it", "install a CUDA torch")
    else:
        yield good("GPU", "none; training runs on the CPU")


def check_environment(project: Path) -> Iterator[Finding]:
    """Python, uv, Git, torch, compiler, GPU and disk."""
    python = project_python(project)
    found = _probe(python) if python else None
    version = ".".join(map(str, found["python"] if found else sys.version_info[:3]))
    if Version(version) < Version("3.11"):
        yield problem("Python", f"{version} is too old", "uv python install 3.12")
    else:
        yield good("Python", version)
    for tool, remedy in (("uv", "pip install uv"), ("git", "install Git")):
        if not shutil.which(tool):
            yield warning(tool, "is not on PATH", remedy)
    if python is None:
        yield good("environment", "none yet; uv run makes it")
    elif found is None:
        yield problem("environment", f"{python} does not run", "rm -r .venv && uv sync")
    else:
        yield from _packages(found)
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        yield warning(
            "compiler", "none found; torch.compile on a CPU needs one", "install g++ or clang"
        )
    free = shutil.disk_usage(project).free / 1e9
    if free < DISK_GB:
        yield warning("disk", f"{free:.0f} GB free", f"make room: about {DISK_GB} GB are needed")
    else:
        yield good("disk", f"{free:.0f} GB free")
    if git.available() and git.top_of_repository(project) is None:
        yield warning(
            "git",
            "the project is not in a repository, so it cannot be updated",
            "git init && git add -A && git commit -m 'Start from tp35'",
        )
