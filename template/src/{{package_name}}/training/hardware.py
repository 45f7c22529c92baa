"""Whether this machine can do what a configuration asks for."""

from __future__ import annotations

import torch

from ..config import TrainingConfig
from ..errors import ConfigError
from .distributed import processes


def check_hardware(config: TrainingConfig) -> None:
    """Say what the machine lacks before anything is read or built.

    Raises:
        ConfigError: with one line for each setting that needs what is not there.
    """
    gpu = torch.cuda.is_available()
    problems = []
    if config.accelerator == "gpu" and not gpu:
        problems.append("accelerator: this machine has no GPU that torch can use; give auto or cpu")
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        problems.append("accelerator: this machine has no Apple GPU (mps); give auto or cpu")
    if config.precision == "16-mixed" and not gpu:
        problems.append("precision: 16-mixed needs a GPU; give bf16-mixed or 32-true")
    if config.strategy == "fsdp" and not gpu:
        problems.append("strategy: fsdp needs GPUs; give ddp or auto")
    problems += _too_many_processes(config)
    if problems:
        raise ConfigError(problems)


def inference_device(config: TrainingConfig) -> torch.device:
    """Where a network runs that is looked at, not trained."""
    has_cuda = config.accelerator in ("auto", "gpu") and torch.cuda.is_available()
    return torch.device("cuda" if has_cuda else "cpu")


def _too_many_processes(config: TrainingConfig) -> list[str]:
    """Every process needs a GPU of its own where it runs on one."""
    count, _ = processes(config)
    if config.accelerator == "cpu" or count == "auto":
        return []
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if gpus == 0 or int(count) <= gpus:
        return []
    return [
        f"devices: {count} processes need a GPU each, and this machine has {gpus}; give "
        f"--devices {gpus}, or --accelerator cpu"
    ]
