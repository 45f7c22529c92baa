"""Contenders that are measured in turns, what is claimed of them, and how it came out."""

from __future__ import annotations

import datetime
import gc
import importlib
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Self

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: of all contenders in turns, after one that does not count; with 0 the contenders
            are only checked against each other.
        toy: sizes at which a check takes seconds; figures mean nothing then.
    """

    rounds: int = 7
    toy: bool = False

    @property
    def is_real(self) -> bool:
        """Whether the figures are worth keeping."""
        return self.rounds > 0 and not self.toy


@dataclass(frozen=True)
class Way:
    """A contender.

    Attributes:
        name: of it.
        version: of the packages it consists of; "ours" for the project's own code.
        values: what was measured in each round, in the row's unit.
    """

    name: str
    version: str
    values: Sequence[float]


@dataclass(frozen=True)
class Target:
    """What is claimed: a way's value, as it is or over another's of the same round, is in bounds.

    Attributes:
        way: whose value.
        against: over whose; None for the value itself.
        least, most: the bounds; None for none.
    """

    way: str
    against: str | None = None
    least: float | None = None
    most: float | None = None

    def ratios(self, ways: Sequence[Way]) -> list[float]:
        """What is compared with the bounds, of every round."""
        values = {way.name: way.values for way in ways}
        if self.against is None:
            return [*values[self.way]]
        return [a / b for a, b in zip(values[self.way], values[self.against], strict=True)]

    def is_met(self, ways: Sequence[Way]) -> bool:
        """Whether the median is in bounds."""
        ratio = statistics.median(self.ratios(ways))
        return (self.least is None or ratio >= self.least) and (
            self.most is None or ratio <= self.most
        )


@dataclass(frozen=True)
class Row:
    """One line of comparison: what was measured, of whom, and what was claimed.

    Attributes:
        what: was measured, in words that stand alone.
        unit: of the values, as in "images/s".
        ways: the contenders; ours first.
        targets: what is claimed of them.
        note: why a target is missed, or what a reader must know; Markdown.
    """

    what: str
    unit: str
    ways: Sequence[Way]
    targets: Sequence[Target] = ()
    note: str = ""

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """From plain data, as `asdict` makes it."""
        ways = [Way(**way) for way in kept["ways"]]
        targets = [Target(**target) for target in kept["targets"]]
        return cls(**{**kept, "ways": ways, "targets": targets})


@dataclass(frozen=True)
class Benchmark:
    """Rows that are measured in one process.

    Attributes:
        name: what it is called on the command line.
        run: checks the contenders and measures them; yields rows as they are done.
        title: above its rows.
        minutes: that it takes on 2 idle cores, about.
        is_gpu: it needs a GPU, but for toy sizes.
    """

    name: str
    run: Callable[[Scale], Iterator[Row]]
    title: str
    minutes: float
    is_gpu: bool = False


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(
    title: str, *, minutes: float, is_gpu: bool = False
) -> Callable[[Callable[[Scale], Iterator[Row]]], Callable[[Scale], Iterator[Row]]]:
    """Add a function to BENCHMARKS under its name, with hyphens."""

    def add(run: Callable[[Scale], Iterator[Row]]) -> Callable[[Scale], Iterator[Row]]:
        name = run.__name__.replace("_", "-")
        BENCHMARKS[name] = Benchmark(name, run, title, minutes, is_gpu)
        return run

    return add


# --- measuring -----------------------------------------------------------------------------------


def interleave(ways: Mapping[str, Callable[[], float]], scale: Scale) -> dict[str, list[float]]:
    """Measure every way once in each round, one after the other, each round in another order.

    Args:
        ways: functions that do the work once and return what they measured.
        scale: says how many rounds.
    """
    values: dict[str, list[float]] = {name: [] for name in ways}
    if not scale.rounds:
        return values
    names = list(ways)
    for number in range(scale.rounds + 1):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            value = ways[name]()
            if number:
                values[name].append(value)
    return values


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def rate(count: float, action: Callable[[], object]) -> Callable[[], float]:
    """What measures how many of `count` things a second it gets done."""
    return lambda: count / seconds(action)


def versions(*distributions: str) -> str:
    """Packages and their versions, as in "torch 2.10.0"."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)


def peak_memory(command: Sequence[str], **options: Any) -> int:
    """Bytes of memory that a command held at most; it must succeed.

    Args:
        command: with its arguments.
        options: of `subprocess.Popen`.
    """
    process = subprocess.Popen(command, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- what is measured on -------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """A rendered project whose package can be imported here.

    Attributes:
        folder: of the project.
        package: its name.
    """

    folder: Path
    package: str

    def module(self, name: str = "") -> ModuleType:
        """A module of it, such as "data.module"; the package itself without a name."""
        return importlib.import_module(".".join(filter(None, (self.package, name))))

    def config(self, **settings: Any) -> Any:
        """Its configuration with other values for some settings."""
        kept = self.module("config").TrainingConfig
        return kept.from_dict(settings)

    @property
    def environment(self) -> dict[str, str]:
        """For processes that import the package."""
        return os.environ | {"PYTHONPATH": str(self.folder / "src")}

    def command(self, *arguments: str) -> list[str]:
        """The project's command with arguments, to run inside its folder."""
        return [sys.executable, "-m", self.package, *arguments]


@contextmanager
def project(modality: str, **answers: str) -> Iterator[Project]:
    """Render a project into a folder of its own, be inside, and have its package importable."""
    before = Path.cwd()
    with temporary_folder() as folder:
        rendered = folder / modality
        render(rendered, modality=modality, **answers)
        sys.path.insert(0, str(rendered / "src"))
        os.chdir(rendered)
        try:
            yield Project(rendered, f"{modality}_project")
        finally:
            os.chdir(before)


def render(destination: Path, **answers: str) -> None:
    """`tp35 new`, from this clone as it is."""
    data = [f"--data={key}={value}" for key, value in answers.items()]
    name = f"--data=project_name={answers['modality'].title()} Project"
    command = [sys.executable, "-m", "tp35", "new", str(destination), "--defaults", name, *data]
    ours = os.environ | {"PYTHONPATH": str(ROOT / "generator")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=ours)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


# --- the machine ---------------------------------------------------------------------------------


@cache
def machine() -> str:
    """The processor, its cores and the system, in words."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{_processor()}, {cores} cores, {system}{_gpu()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True)
    return f", {found.stdout.splitlines()[0]}" if found.returncode == 0 else ""


@dataclass(frozen=True)
class Outcome:
    """What a benchmark gave.

    Attributes:
        benchmark: its name.
        date: when, ISO.
        machine: on what.
        took: minutes.
        rows: what was measured.
    """

    benchmark: str
    date: str
    machine: str
    took: float
    rows: Sequence[Row] = field(default_factory=list)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """From plain data, as `to_dict` makes it."""
        return cls(**{**kept, "rows": [Row.of(row) for row in kept["rows"]]})

    def to_dict(self) -> dict[str, Any]:
        """Plain data; figures with as many digits as they deserve."""
        kept = asdict(self)
        for row in kept["rows"]:
            for way in row["ways"]:
                way["values"] = [float(f"{value:.4g}") for value in way["values"]]
        return kept


def measure(found: Benchmark, scale: Scale) -> Outcome:
    """Run a benchmark in this process."""
    started = time.perf_counter()
    rows = list(found.run(scale))
    minutes = (time.perf_counter() - started) / 60
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Outcome(found.name, today, machine(), round(minutes, 1), rows)
