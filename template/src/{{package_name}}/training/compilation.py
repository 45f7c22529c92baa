"""The compile hook: a compiled network where that works and pays, the plain one where it does not.

`torch.compile` is lazy: nothing is compiled, and nothing can fail, before the first forward, and
the backward is compiled later still. So one real step is tried first, forward and backward, on a
real batch; gradients, buffers, weights and random state are afterwards as if it had not been. Where
the step fails, the same step is run without the compiler. If that fails too, the network is at
fault and its error is raised; if not, training goes on uncompiled, with one warning.

What was compiled is kept beside the runs, so that the next run of the same network begins at once.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch._functorch.config
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._dynamo.utils import get_compilation_metrics
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from ..terminal import waiting
from .distributed import of_all_processes
from .speaker import process_rank

Step = Callable[[], Tensor]
"""Forward on one real batch; returns the loss."""

# What compiling raises. Backends' own errors arrive wrapped in a TorchDynamoException.
COMPILE_ERRORS = (TorchDynamoException, FailOnRecompileLimitHit)

# A compiled step that was built but cannot run fails with a RuntimeError: a kernel too big for the
# device, an output of a CUDA graph overwritten. Only a second run without the compiler can tell
# it from an error of the network itself.
STEP_ERRORS = (*COMPILE_ERRORS, RuntimeError)

# `auto` tries to compile only where a gain of this share of a step ...
LIKELY_GAIN = 0.2
# ... would win back this many seconds. Both as measured on 2 CPU cores, without a warm cache.
LIKELY_COMPILE_SECONDS = 30.0
# then steps of both kinds are timed in turns: a few at least, and more while that takes no time
FEWEST_PAIRS, MOST_PAIRS = 5, 25
PAIRS_SECONDS = 5.0
# compiled code is chosen where it won so many of them: a machine that is busy with other things
# makes one of two equals look faster half of the time
WON_SHARE = 0.75
# ... and gains this share of a step: where their memory lies lets two equals differ by as much
LEAST_GAIN = 0.03

# where torch keeps what it has compiled; a place of the user's own stands
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
CACHE_FOLDER = ".compiled"


@dataclass(frozen=True)
class Compilation:
    """What came of trying to compile.

    Attributes:
        mode: mode of torch.compile in use; None where the network runs uncompiled.
        reason: why it does; empty where it is compiled.
        seconds: time the first step took more than the second.
        graphs: how many were compiled.
        eager_ms, compiled_ms: time of one forward and backward, where `auto` has measured it.
    """

    mode: str | None
    reason: str = ""
    seconds: float = 0.0
    graphs: int = 0
    eager_ms: float | None = None
    compiled_ms: float | None = None

    @property
    def break_even_steps(self) -> float | None:
        """Micro-batches after which compiling has paid; None where it never does."""
        if self.eager_ms is None or self.compiled_ms is None:
            return None
        return break_even(self.seconds, self.eager_ms, self.compiled_ms)

    def __str__(self) -> str:
        if self.mode is None:
            return f"not compiled: {self.reason}"
        text = f"compiled ({self.mode}) in {self.seconds:.1f} s, {self.graphs} graphs"
        if self.break_even_steps is not None:
            text += (
                f"; {self.eager_ms:.1f} -> {self.compiled_ms:.1f} ms a micro-batch, "
                f"paid back after {self.break_even_steps:,.0f}"
            )
        return text


def break_even(compile_seconds: float, eager_ms: float, compiled_ms: float) -> float | None:
    """Steps after which compiling has won back its own time; None where it never does."""
    gain = (eager_ms - compiled_ms) / 1000
    return compile_seconds / gain if gain > 0 else None


class CompileHook:
    """Compiles a network in place and guards it.

    In place means `module.compile`: the network keeps its type, its state_dict keys and its
    signature, so checkpoints and exports do not know whether it was compiled.

    Args:
        model: the inner network, before any strategy wraps it.
        mode: of torch.compile, `auto` to measure first, or None for no compiling at all.
        fullgraph: refuse graph breaks.
        dynamic: compile for changing shapes: axes that are left open from the first step on, others
            once they change.
        cache: folder in which what is compiled is kept for later runs; None for torch's own, which
            a restart of the machine empties.
        log: takes one line of text about what was done.
    """

    def __init__(
        self,
        model: nn.Module,
        mode: str | None,
        *,
        fullgraph: bool = False,
        dynamic: bool = True,
        cache: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model = model
        self.mode = mode
        self.fullgraph = fullgraph
        self.dynamic = dynamic
        self.cache = cache
        self.log = log
        self.compilation: Compilation | None = None
        self.wants_fallback = False
        self._frames_before = self._compiled_frames = 0
        self._warned_recompiles = False
        self._has_followed = False

    @property
    def is_active(self) -> bool:
        """Whether calls of the network go through compiled code."""
        return self.model._compiled_call_impl is not None

    @property
    def graphs(self) -> int:
        """How many graphs were compiled for this network, those for later shapes included."""
        return len(get_compilation_metrics()) - self._frames_before

    def compile(self, mode: str) -> None:
        """Mark the network for compiling at its next call."""
        if self.cache is not None:
            keep_compiled_code(self.cache, self.log)
            self.cache = None  # that is for good, and said once
        # Backward is compiled along with forward then, so that a failure shows in forward, before
        # anything has run that could not be undone.
        torch._functorch.config.force_non_lazy_backward_lowering = True
        dynamic = None if self.dynamic else False
        self.model.compile(mode=mode, fullgraph=self.fullgraph, dynamic=dynamic)

    def leave_open(self, inputs: Iterable[Tensor]) -> None:
        """Compile for any number of samples, and for tokens of any number in each.

        Every open axis costs, those of images too, which `dynamic=True` would open: a network that
        divides images into windows then takes torch minutes or hours of algebra.

        Args:
            inputs: of the network, in one batch; with samples along the first axis.
        """
        if not (self.dynamic and self.is_active):
            return
        for tensor in inputs:
            axes = min(tensor.ndim, 1) if tensor.is_floating_point() else tensor.ndim
            torch._dynamo.maybe_mark_dynamic(tensor, list(range(axes)))

    def revert(self) -> None:
        """Back to the plain network."""
        self.model._compiled_call_impl = None
        torch._dynamo.reset()

    def compile_anew(self) -> None:
        """Have all compiled again at the next call, as parameters are trained that were frozen.

        torch 2.10 does not look whether they require a gradient: they would stay as they are.
        """
        if self.is_active:
            torch._dynamo.reset()

    def warm_up(self, step: Step, *, remaining_steps: int | None = None) -> Compilation:
        """Try one step compiled and decide. Every process must call this.

        Args:
            step: runs forward on a real batch, on the device and in the precision of the training.
            remaining_steps: micro-batches still to come, for `auto`; None for very many.

        Raises:
            whatever the network itself raises.
        """
        if self.mode is None:
            self.compilation = Compilation(None, "compile_mode is none")
            return self.compilation
        self._frames_before = len(get_compilation_metrics())
        with unchanged(self.model):
            if self.mode == "auto":
                self.compilation = self._measure(step, remaining_steps)
            else:
                with waiting(self.log, f"compiling ({self.mode})"):
                    self.compilation = self._try(step, self.mode)
        self._compiled_frames = len(self._own_frames())
        if self.compilation.mode is None:
            self.revert()
        return self.compilation

    def _try(self, step: Step, mode: str, limit: float | None = None) -> Compilation:
        """One step compiled, and another.

        Args:
            step: as `warm_up` takes it.
            mode: of torch.compile.
            limit: seconds that it may take in all; None for any time.
        """
        error: BaseException | None = None
        self.compile(mode)
        try:
            with time_limit(limit):
                first = self._timed(step)
                second = self._timed(step)
        except STEP_ERRORS as caught:
            error = caught
        if error is not None:
            self.revert()
            self._timed(step)  # raises where the network is at fault
        if reason := first_given(describe(error) if error else ""):
            warn_once(reason)
            return Compilation(None, reason)
        return Compilation(mode, "", max(0.0, first - second), self.graphs)

    def _measure(self, step: Step, remaining_steps: int | None) -> Compilation:
        self._timed(step)
        likely = mean_over_processes(statistics.median(self._timed(step) for _ in range(3)))
        likely_saving = LIKELY_GAIN * likely * (remaining_steps or float("inf"))
        if likely_saving < LIKELY_COMPILE_SECONDS:
            reason = (
                f"auto: {remaining_steps} micro-batches of {1000 * likely:.1f} ms are too few "
                "to win back the time that compiling takes"
            )
            return Compilation(None, reason)
        limit = likely_saving if math.isfinite(likely_saving) else None
        upmost = "" if limit is None else f" (up to {limit:.0f} s)"
        with waiting(self.log, f"measuring whether compiling pays{upmost}"):
            tried = self._try(step, "default", limit)
            if tried.mode is None:
                return tried
            pairs = self._time_in_turns(step)
        eager, compiled = (
            1000 * mean_over_processes(statistics.median(times))
            for times in zip(*pairs, strict=True)
        )
        won = mean_over_processes(sum(b < a for a, b in pairs) / len(pairs))
        faster = compiled < (1 - LEAST_GAIN) * eager and won >= WON_SHARE
        reason = "" if faster else f"auto: {compiled:.1f} ms compiled, {eager:.1f} ms without"
        if compiled < eager and won < WON_SHARE:
            reason += f", and faster in only {won:.0%} of the steps"
        elif compiled < eager and not faster:
            reason += ", a gain too small to count on"
        mode = tried.mode if faster else None
        return Compilation(mode, reason, tried.seconds, tried.graphs, eager, compiled)

    def _time_in_turns(self, step: Step) -> list[tuple[float, float]]:
        """Seconds of a step without the compiler and of a compiled one, time after time.

        In turns, since what else the machine does comes and goes.
        """
        pairs: list[tuple[float, float]] = []
        started = time.perf_counter()
        compiled = self.model._compiled_call_impl
        while len(pairs) < FEWEST_PAIRS or (
            len(pairs) < MOST_PAIRS and time.perf_counter() - started < PAIRS_SECONDS
        ):
            self.model._compiled_call_impl = None
            try:
                eager = self._timed(step)
            finally:
                self.model._compiled_call_impl = compiled
            pairs.append((eager, self._timed(step)))
        return pairs

    def _timed(self, step: Step) -> float:
        """Seconds of one forward and backward; gradients go nowhere."""
        start = time.perf_counter()
        loss = step()
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        # unlike loss.backward() this leaves .grad and the hooks of DDP alone
        torch.autograd.grad(loss, trainable, allow_unused=True)
        if loss.is_cuda:
            torch.cuda.synchronize(loss.device)
        return time.perf_counter() - start

    # --- after the warm-up -----------------------------------------------------------------------

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The network's output. A shape that cannot be compiled ends compiling, not the run."""
        if not self.is_active:
            return self.model(*args, **kwargs)
        if not self.model.training:
            # validation would cost a compilation of its own, and could fail on its own
            with torch.compiler.set_stance("force_eager"):
                return self.model(*args, **kwargs)
        try:
            return self.model(*args, **kwargs)
        except COMPILE_ERRORS as error:
            with torch.compiler.set_stance("force_eager"):
                output = self.model(*args, **kwargs)  # raises where the network is at fault
            self._fall_back(describe(error))
            return output

    def watch(self) -> None:
        """Look for recompilations since the last call; says why when there are too many."""
        if not self.is_active:
            return
        metrics = get_compilation_metrics()
        if len(metrics) == self._compiled_frames:
            return
        self._compiled_frames = len(metrics)
        frames = self._own_frames()
        if not frames:
            return
        limit = torch._dynamo.config.recompile_limit
        count, reason = max(frames, key=lambda frame: frame[0])
        if count >= limit:
            self._fall_back(f"recompiled {count} times, the limit; the last cause: {reason}")
        elif count >= limit - 2 and not self._warned_recompiles:
            self._warned_recompiles = True
            self.log(f"compiled {count} times, of {limit} at most, because of {reason}")

    def finish(self) -> None:
        """Say how many graphs it took in the end, where more than the first step needed."""
        if line := self._more_graphs():
            self.log(line)

    def facts(self) -> tuple[str, ...]:
        """What came of compiling so far, in lines; none where nobody asked for it."""
        if self.mode is None or self.compilation is None:
            return ()
        return tuple(filter(None, (str(self.compilation), self._more_graphs())))

    def _more_graphs(self) -> str:
        if self.is_active and self.compilation and self.graphs > self.compilation.graphs:
            changed = "as sizes of inputs or what is trained changed"
            return f"compiled {self.graphs} graphs in all, {changed}"
        return ""

    def _own_frames(self) -> list[tuple[int, str]]:
        """For every function compiled again: how many times in all, and the last cause."""
        counts: dict[str, tuple[int, str]] = {}
        for entry in get_compilation_metrics():
            if entry.compile_id and entry.recompile_reason:
                frame, _, number = entry.compile_id.rpartition("/")
                cause = entry.recompile_reason.splitlines()[0]
                counts[frame] = (int(number.split("_")[0]) + 1, cause)
        return list(counts.values())

    def _fall_back(self, reason: str) -> None:
        self.revert()
        self.wants_fallback = True
        self.compilation = Compilation(None, reason)

    def follow(self) -> None:
        """Fall back where one process did, and say why. Every process must call this."""
        if self._has_followed:
            return
        self._has_followed = True
        mine = self.compilation.reason if self.wants_fallback and self.compilation else ""
        reason = first_given(mine)
        if self.is_active:
            self._fall_back(reason)
        warn_once(reason)


def keep_compiled_code(folder: Path, log: Callable[[str], None]) -> None:
    """Have torch keep what it compiles from now on in a folder, where nobody has chosen another.

    Processes may share it: torch writes under locks. Kernels are built for the processor at hand,
    so each kind has a folder of its own: `folder` may lie on a disk that several machines see.

    Args:
        folder: made where it is missing.
        log: takes a line where it cannot be used; torch's own folder is, then.
    """
    # torch sets it itself, to its own folder, as soon as parts of it are imported
    if os.environ.get(CACHE_VARIABLE) not in (None, default_cache_dir()):
        return
    place = folder.absolute() / processor()
    if problem := _why_unusable(place):
        log(f"compiled code is kept in the system's temporary folder: {place} {problem}")
        return
    os.environ[CACHE_VARIABLE] = str(place)


def _why_unusable(folder: Path) -> str:
    """Why compiled code cannot be kept in a folder; empty where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if sys.platform == "linux" and os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return "lies on a disk that runs no code (noexec)"
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return ""


def processor() -> str:
    """A name for this kind of processor; equal where the same instructions run."""
    described = [platform.system(), platform.machine(), platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        # what g++ makes of -march=native
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = cpuinfo.read_text("utf-8", errors="replace").splitlines()
        described += sorted({line for line in lines if line.startswith(wanted)})
    digest = hashlib.sha256("\n".join(described).encode()).hexdigest()
    return f"{platform.machine().lower() or 'cpu'}-{digest[:12]}"


class TooLong(RuntimeError):
    """Compiling takes more time than it could save."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `TooLong` where this takes longer; only in the main thread, and not on Windows.

    Args:
        seconds: None for any time.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"compiling took more than {seconds:.0f} s, all that it could save")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put weights, buffers, gradients and random state back as they were."""
    tensors = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in tensors]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            for module, training in modes:  # some parts may be in eval mode
                module.training = training
            with torch.no_grad():
                for tensor, copy in zip(tensors, copies, strict=True):
                    tensor.copy_(copy)
            for parameter, gradient in gradients:
                parameter.grad = gradient


def describe(error: BaseException) -> str:
    """The cause of a compile error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # BackendCompilerFailed begins with a line that only names the backend
    first = lines[1] if lines[0].startswith("backend=") and len(lines) > 1 else lines[0]
    return first if len(first) <= 200 else f"{first[:200]}..."


def warn_once(reason: str) -> None:
    """One warning, however many processes there are."""
    if process_rank() == 0:
        warnings.warn(f"torch.compile failed, training goes on without it: {reason}", stacklevel=3)


def first_given(mine: str) -> str:
    """The first text that is not empty among those of all processes; empty where none is."""
    return next(filter(None, of_all_processes(mine)), "")


def mean_over_processes(mine: float) -> float:
    """The mean of a number, equal on every process."""
    return float(np.mean(of_all_processes(mine)))
