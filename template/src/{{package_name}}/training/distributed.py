"""How several processes share a run: torchrun, SLURM, or processes that Lightning starts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..config import TrainingConfig
from ..data.module import UniversalDataModule
from ..errors import ConfigError, DataError, TrainingError

FIND_UNUSED = "ddp_find_unused_parameters_true"

# tells the processes that Lightning starts which one has started them
FIRST_PROCESS = "FIRST_PROCESS_ID"
# for what a process still has to say once the first has gone
GRACE_SECONDS = 5.0


def of_all_processes(mine: Any) -> list[Any]:
    """What each process has, in the order of their numbers; every process must call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


class CheckedDDPStrategy(DDPStrategy):
    """DDP that misses no gradient in silence, and whose validation goes past it.

    In DDP's own forward every process gets the buffers of the first, for every batch; before a
    validation that has been done once for all.
    """

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own validation step."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)

    def wrap_again(self) -> None:
        """Let DDP find what is trained now: it averages gradients of what it found first alone."""
        if isinstance(self.model, DistributedDataParallel):
            self.model = self.model.module
            self.configure_ddp()

    def post_backward(self, closure_loss: Tensor) -> None:
        """Make sure that gradients were averaged over the processes.

        Where a parameter was not used, DDP leaves out those of others with it. It says so in the
        next forward only, which is an optimizer step too late, and never after the last one.

        Raises:
            TrainingError: parameters were not used, and the strategy does not look for them.
        """
        super().post_backward(closure_loss)
        model = self.model
        if not isinstance(model, DistributedDataParallel) or not model.require_backward_grad_sync:
            return
        try:
            model._check_reducer_finalized()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise TrainingError(
                f"{_unused(self.lightning_module)} not used in every step, and other processes "
                f"wait for the gradients; give --strategy {FIND_UNUSED}"
            ) from error


def _unused(module: LightningModule | None) -> str:
    assert module is not None
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    unused = [name.removeprefix("model.") for name, p in trained if p.grad is None]
    if not unused:  # they were in an earlier micro-batch of the window
        return "parameters of the network are"
    others = f" (and {len(unused) - 1} more) are" if len(unused) > 1 else " is"
    return f"{unused[0]}{others}"


# --- How many, and by whom started ---------------------------------------------------------------


def processes(config: TrainingConfig) -> tuple[int | str, int]:
    """Processes on one machine, and machines; torchrun has the say where it has started them.

    Raises:
        ConfigError: the settings say otherwise than torchrun.
    """
    if "LOCAL_WORLD_SIZE" in os.environ:
        return _started_by_torchrun(config)
    if config.devices != "auto":
        return config.devices, config.num_nodes
    on_cpu = config.accelerator == "cpu" or not torch.cuda.is_available()
    return (1 if on_cpu else "auto"), config.num_nodes


def _started_by_torchrun(config: TrainingConfig) -> tuple[int, int]:
    count, world_size = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", world_size // count))
    problems = []
    if config.devices not in ("auto", count):
        problems.append(
            f"devices: {config.devices} processes a machine, but torchrun has started {count}; "
            f"give --devices auto, or torchrun --nproc-per-node={config.devices}"
        )
    if config.num_nodes not in (TrainingConfig.defaults()["num_nodes"], nodes):
        problems.append(
            f"num_nodes: {config.num_nodes} machines, but torchrun has started on {nodes}; "
            f"leave it out, or give torchrun --nnodes={config.num_nodes}"
        )
    if count * nodes != world_size:
        problems.append(
            f"devices: torchrun has started {world_size} processes on {nodes} machines, {count} on "
            "this one; give --nproc-per-node the same number on every machine"
        )
    if problems:
        raise ConfigError(problems)
    return count, nodes


def choose_strategy(config: TrainingConfig) -> Strategy | str:
    """Lightning's strategy for a configuration.

    Raises:
        ConfigError: ddp or fsdp in a notebook, or settings that torchrun contradicts.
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
    if config.strategy == FIND_UNUSED:
        return CheckedDDPStrategy(find_unused_parameters=True)
    several = count not in (1, "auto") or nodes > 1
    several |= count == "auto" and torch.cuda.device_count() > 1 and not is_interactive()
    return CheckedDDPStrategy() if config.strategy == "ddp" or several else "auto"


def is_interactive() -> bool:
    """Whether a person types into this process: a notebook or a prompt."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def check_processes(trainer: Trainer, data: UniversalDataModule) -> None:
    """Whether so many processes can be started, and have something to do.

    Raises:
        ConfigError: nothing says where the other machines are, or SLURM starts other processes
            than the settings say.
        DataError: there are more processes than training samples.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)  # one process has none
    if environment is not None:
        if trainer.num_nodes > 1 and (
            isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ
        ):
            raise ConfigError(
                [
                    f"num_nodes: {trainer.num_nodes} machines, but nothing says where they are; "
                    "start with torchrun or under SLURM, as the README shows"
                ]
            )
        try:
            environment.validate_settings(trainer.num_devices, trainer.num_nodes)
        except ValueError as error:
            raise ConfigError([" ".join(str(error).split())]) from error
    if data.micro_batches_per_epoch(trainer.world_size) == 0:
        count = data.samples_per_epoch
        raise DataError(
            f"{count} training samples are too few for {trainer.world_size} processes; "
            f"give --devices {max(1, count // trainer.num_nodes)} or fewer"
        )


# --- Once they are connected ---------------------------------------------------------------------


class SameEverywhere(Callback):
    """Makes sure that all processes have the same run before them.

    One that has read fewer samples would end an epoch early, and the others wait for it.

    Args:
        config, data: what this process has read.
    """

    def __init__(self, config: TrainingConfig, data: UniversalDataModule) -> None:
        self.config, self.data = config, data

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare.

        Raises:
            DataError: they differ; the same error on all processes.
        """
        if trainer.world_size == 1:
            return
        splits = self.data.splits
        assert splits is not None
        mine = {
            "training samples": len(splits.train),
            "validation samples": len(splits.val),
            "classes and inputs": self.data.task_spec.to_dict(),
            "settings": self.config.to_dict() | {"resume": None},
        }
        found: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(found, mine)
        for name, value in mine.items():
            values = [one[name] for one in found]
            if any(one != values[0] for one in values):
                told = ", ".join(map(str, values)) if isinstance(value, int) else ""
                raise DataError(
                    f"the processes do not have the same {name}{told and f': {told}'}; all "
                    "machines need the same data and settings"
                )


@contextmanager
def ending_together(trainer: Trainer) -> Iterator[None]:
    """While Lightning's processes run: none outlives the first, which has started them.

    Where another one ends Lightning ends the first, within 5 seconds. torchrun and SLURM look after
    their processes themselves.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        yield
        return
    if not isinstance(launcher.cluster_environment, LightningEnvironment):
        yield
    elif launcher.cluster_environment.creates_processes_externally:
        first = int(os.environ.get(FIRST_PROCESS, os.getppid()))
        if first == os.getpid():  # its second run: Lightning has left its variables from the first
            yield
            return
        with _following(first):
            yield
    else:
        os.environ[FIRST_PROCESS] = str(os.getpid())
        try:
            yield
        except BaseException:
            launcher.kill(signal.SIGKILL)
            # or Lightning, which sees them end, would kill this process while it still cleans up
            launcher.procs.clear()
            raise


@contextmanager
def _following(first: int) -> Iterator[None]:
    """End this process, whatever it waits for, when the one that has started it has ended."""
    is_over = threading.Event()

    def watch() -> None:
        while os.getppid() == first:
            if is_over.wait(1.0):
                return
        time.sleep(GRACE_SECONDS)
        if not is_over.is_set():
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="first-process").start()
    try:
        yield
    finally:
        is_over.set()
