"""How several processes share a run: torchrun, SLURM, or processes that Lightning starts."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_only

from ..config import TrainingConfig
from ..errors import ConfigError


def process_rank() -> int:
    """Number of this process among all, known before they are connected; 0 is the first."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank


class UnevenDDPStrategy(DDPStrategy):
    """DDP whose validation may have a batch more on one process than on another.

    In DDP's own forward every process waits for buffers of the first, and the one with a batch more
    would wait for ever. Validation needs no gradients, so it goes past DDP.
    """

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own validation step."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)


def processes(config: TrainingConfig) -> tuple[int | str, int]:
    """Processes on one machine, and machines; what torchrun has started wins over `auto`."""
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // per_node if per_node else config.num_nodes
    if config.devices != "auto":
        return config.devices, nodes
    if per_node:
        return per_node, nodes
    on_cpu = config.accelerator == "cpu" or not torch.cuda.is_available()
    return (1 if on_cpu else "auto"), nodes


def choose_strategy(config: TrainingConfig) -> Strategy | str:
    """Lightning's strategy for a configuration.

    Raises:
        ConfigError: ddp or fsdp in a notebook.
    """
    if config.strategy != "auto" and is_interactive():
        raise ConfigError(
            [
                f"strategy: {config.strategy} starts this program once more for every process, and "
                "a notebook or prompt cannot be started again; give auto, or train from a terminal"
            ]
        )
    count, nodes = processes(config)
    if config.strategy == "fsdp":
        return FSDPStrategy(state_dict_type="full")
    several = count not in (1, "auto") or nodes > 1
    several |= count == "auto" and torch.cuda.device_count() > 1 and not is_interactive()
    return UnevenDDPStrategy() if config.strategy == "ddp" or several else "auto"


def is_interactive() -> bool:
    """Whether a person types into this process: a notebook or a prompt."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)
