"""How many cores this process may use, which in a container are fewer than the host has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_cores(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that affinity and the CPU quotas of control groups leave, rounded up; at least 1.

    Args:
        proc: where the kernel shows processes.
        cgroups: where it shows control groups, of version 2 or of version 1.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # neither macOS nor Windows
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = min(_quotas(proc, cgroups), default=math.inf)
    return max(1, min(cores, math.ceil(quota)) if math.isfinite(quota) else cores)


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """Cores that each control group allows which this process is in, or lies in."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for group in _groups(cgroups, path):
                yield from _quota(_read(group / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for root in (cgroups / controllers, cgroups / "cpu"):
                for group in _groups(root, path):
                    quota, period = (
                        _read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")
                    )
                    yield from _quota(f"{quota} {period}")


def _groups(root: Path, path: str) -> Iterator[Path]:
    """A control group and those it lies in; where a container's own is the root, that alone."""
    inside = PurePosixPath(path.lstrip("/"))
    for group in (inside, *inside.parents):
        if ".." not in group.parts:
            yield root / group


def _quota(text: str) -> Iterator[float]:
    """Cores in `<quota> <period>`, both in microseconds; none for `max`, -1, or no such file."""
    quota, _, period = text.partition(" ")
    if quota.strip().isdecimal() and period.strip().isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
