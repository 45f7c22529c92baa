"""How many processes load data, where nobody says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from ..config import TrainingConfig

# for one process that trains: more have not been seen to load faster, and each holds batches
MOST = 16
# what a container may use: microseconds of all cores together in a period, and that period
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def settled_workers(
    config: TrainingConfig, device: torch.device, processes: int, *, is_dear: bool
) -> int:
    """Processes that load data for each that trains: as configured, or as `auto` has it.

    Args:
        config: says how many, or `auto`.
        device: of the network.
        processes: that train on this machine.
        is_dear: samples take far longer to read than to hand over.
    """
    if config.num_workers != "auto":
        return config.num_workers
    return automatic_workers(device, processes, is_dear=is_dear)


def automatic_workers(device: torch.device, processes: int, *, is_dear: bool) -> int:
    """What `num_workers: auto` means: one for each core that is left over, at most MOST.

    None for a network on a CPU, whose own threads need the cores; none for samples that are cheap
    to read; none where a process has to import all libraries anew (macOS, Windows).

    Args:
        device: as `settled_workers` takes it, like the rest.
        processes: that train on this machine.
        is_dear: samples take far longer to read than to hand over.
    """
    if not is_dear or device.type == "cpu" or sys.platform != "linux":
        return 0
    return max(0, min(MOST, usable_cores() // processes - 1))


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer that a container is given."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(bound or 1, _container_cores() or bound or 1))


def _container_cores() -> int | None:
    try:
        quota, period = CGROUP_LIMIT.read_text("ascii").split()
    except (OSError, ValueError):  # no such limits here
        return None
    return None if quota == "max" else int(quota) // int(period)
