"""What libraries raise while a run goes on, as one line with a remedy."""

from __future__ import annotations

import errno
import re
import traceback

import torch

from ..config import TrainingConfig
from ..errors import DISK_ERRORS, DataError, ModelError, ProcessLost, ProjectError, TrainingError
from ..terminal import pasteable

# a ProjectError of a process that loads data, at the end of that process's traceback
OF_A_LOADER = re.compile(
    rf"^{re.escape(DataError.__module__)}\.\w+: (.*)", re.MULTILINE | re.DOTALL
)
SHARED_MEMORY = re.compile(r"shared memory|Bus error|</torch_\d+")
# the module by which a process asks the one that loaded a batch for its tensors
HANDED_OVER_BY = "resource_sharer"
LOADER_ENDED = re.compile(r"DataLoader worker .*(exited unexpectedly|killed by signal)")
PORT_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)
CANNOT_MEET = re.compile(r"clients joined|trying to connect to|store.*timeout", re.IGNORECASE)
CONNECTION = re.compile(r"\bgloo/|NCCL|Connection (closed|reset) by peer|Broken pipe")
OTHER_NETWORK = re.compile(r"expects same model|appears not to match")


def explain(error: Exception, config: TrainingConfig) -> ProjectError | None:
    """What people can mend about an error; None where it is not known."""
    if isinstance(error, torch.OutOfMemoryError):
        return _out_of_memory(config)
    text = str(error)
    if "in DataLoader worker" in text and (found := OF_A_LOADER.search(text)):
        return DataError(found.group(1).strip())
    if isinstance(error, ProjectError):
        return None
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError) and _handed_over(error):
        return _loader_killed()
    if isinstance(error, OSError):
        return _of_the_system(error, config)
    return _of_processes(text) if isinstance(error, RuntimeError) else None


def _handed_over(error: Exception) -> bool:
    """Whether it was raised while a batch came from the process that had loaded it.

    A thread that pins memory raises the error again, with the first traceback as its text.
    """
    frames = traceback.walk_tb(error.__traceback__)
    places = [frame.f_code.co_filename for frame, _ in frames]
    return any(HANDED_OVER_BY in place for place in (str(error), *places))


def _loader_killed() -> TrainingError:
    return TrainingError(
        "a process that loads data was killed, as happens where memory is full; give fewer "
        "--num_workers, or a smaller --batch_size"
    )


def _out_of_memory(config: TrainingConfig) -> TrainingError:
    effective = config.batch_size * config.gradient_accumulation_steps
    smaller = max(1, config.batch_size // 2)
    return TrainingError(
        f"the GPU's memory is full with micro-batches of {config.batch_size} samples; "
        f"--batch_size {smaller} --gradient_accumulation_steps {-(-effective // smaller)} "
        f"keeps the effective batch of {effective} samples on a process"
    )


def _of_the_system(error: OSError, config: TrainingConfig) -> TrainingError | None:
    if error.errno == errno.EMFILE:
        return TrainingError(
            "too many files are open; raise the limit with ulimit -n, or give fewer --num_workers"
        )
    if SHARED_MEMORY.search(str(error)):
        return _shared_memory()
    if error.errno not in DISK_ERRORS:
        return None
    return TrainingError(
        f"cannot write {error.filename or config.output_dir}: {error.strerror}; "
        "earlier checkpoints are intact"
    )


def _shared_memory() -> TrainingError:
    return TrainingError(
        "shared memory (/dev/shm) is too small for the processes that load "
        "data; give fewer --num_workers (0 needs none), or a container more with --shm-size"
    )


def _of_processes(text: str) -> ProjectError | None:
    line = text.splitlines()[0] if text else ""
    if SHARED_MEMORY.search(text):
        return _shared_memory()
    if LOADER_ENDED.search(text):
        return _loader_killed()
    if PORT_TAKEN.search(text):
        return TrainingError(
            "another program uses the port by which the processes of this run would meet; set "
            "MASTER_PORT to a free one, or leave it out where nothing but this program sets it"
        )
    if OTHER_NETWORK.search(text):
        return ModelError(
            "the network has other parameters in this process than in the first; all of them need "
            "the same data, settings and code"
        )
    if CANNOT_MEET.search(text):
        return TrainingError(
            f"the processes of this run do not meet: {line}; all must be started, and MASTER_ADDR "
            "and MASTER_PORT say where the first one is"
        )
    if CONNECTION.search(text):
        return ProcessLost(
            "another process of this run has ended or does not answer; what it printed says why. "
            f"Go on with: {pasteable('train', '--resume', 'last')}"
        )
    return None
