"""Puts the one-line faults of faults.yml into product code and says which the default tests find.

    python tests/faults.py [--repository PATH] [--workers N] [--output FILE] [NAME ...]

Run it where the development environment is active. Every fault goes into a fresh copy of the
repository, one at a time. One in the template is looked for by the default tests of the project
that the copy renders (of every project that has the line), those named in the
list first, then all others, but for files that the gate runs in the first project only; any other
by the tests of the repository that the list names. A test that hangs, and a rendering that fails,
find a fault too. Nothing here is part of the default tests: a fault that is missed runs whole
suites, so the whole list takes hours.

The tests are those of the repository given, which may be an older one: a fault is located by its
line, wherever that stands now.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import yaml

LIST = Path(__file__).with_name("faults.yml")
ROOT = LIST.parents[1]

PRODUCT = ("copier.yml", "generator", "hooks", "template")
MODALITIES = ("vision", "text", "audio", "tabular")
# Files of slow tests that the gate runs all the same, in one project.
CONTAINERS = {"vision": "docker", "text": "torchserve"}
# made by tools, or of no use to a test
NOT_COPIED = (".git", ".venv", "__pycache__", ".*_cache", ".coverage*", "build", "demo", "dist")

# longer than any default test takes, also on a busy machine
TEST_SECONDS = 600
# a process that pytest-timeout cannot end; a project's whole suite takes less
PROCESS_SECONDS = 3600

# of pytest: all passed, and nothing to run
FINDS_NOTHING = (0, 5)
USAGE_ERROR = 4


@dataclass(frozen=True)
class Fault:
    """A row of the list; faults.yml says what each field means."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


class Verdict(StrEnum):
    """What became of a fault."""

    FOUND = "found"
    MISSED = "missed"
    ABSENT = "not there"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """A fault, what became of it, and the test that found it."""

    name: str
    verdict: Verdict
    by: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.verdict:9} {self.seconds:6.0f} s  {self.name}  {self.by}".rstrip()


class CannotRunError(Exception):
    """The tests could not be started, which says nothing of the fault."""


# --- The list, and where its lines are ------------------------------------------------------------


def read_faults() -> list[Fault]:
    """The rows of the list, in order."""
    rows = yaml.safe_load(LIST.read_text("utf-8"))
    return [Fault(**row | {"tests": tuple(row["tests"])}) for row in rows]


def product_files(repository: Path) -> dict[str, str]:
    """The text of every file of the product by its POSIX path."""
    found = {}
    for part in PRODUCT:
        root = repository / part
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and "__pycache__" not in path.parts:
                with suppress(UnicodeDecodeError):
                    found[path.relative_to(repository).as_posix()] = path.read_text("utf-8")
    return found


def place(fault: Fault, files: Mapping[str, str]) -> str | None:
    """The file in which the fault's line stands; None unless it does so exactly once."""
    places = [path for path, text in files.items() for _ in range(text.count(fault.before))]
    return places[0] if len(places) == 1 else None


def modalities(path: str) -> tuple[str, ...]:
    """The modalities whose projects have a file of the template."""
    overlay = Path(path).parts[1]
    return tuple(name for name in MODALITIES if name in overlay) or MODALITIES


def same_for_all(repository: Path) -> list[str]:
    """Test files that the gate runs in the first modality's project only; an old gate has none."""
    module = ast.parse((repository / "tests" / "test_projects.py").read_text("utf-8"))
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name("SAME_FOR_ALL")], value=value):
                return sorted(ast.literal_eval(value))
    return []


# --- Running tests --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scratch:
    """Folders of one fault, and a cache of compiled kernels that all share."""

    folder: Path
    kernels: Path

    def environment(self, sources: Path) -> dict[str, str]:
        """For processes that are to import a package from there, and keep to this folder."""
        temporary = self.folder / "tmp"
        settings = self.folder / "settings.yml"
        temporary.mkdir(exist_ok=True)
        settings.write_text("{}\n", "utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        return kept | {
            "COPIER_SETTINGS_PATH": str(settings),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(sources),
            "TMPDIR": str(temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(self.kernels),
        }

    def run(self, command: Sequence[str], cwd: Path, sources: Path) -> tuple[int | None, str]:
        """Run Python; gives its exit code, None where it hung, and all that it printed."""
        log = self.folder / "log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, *command],
                cwd=cwd,
                env=self.environment(sources),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            code: int | None
            try:
                code = process.wait(PROCESS_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            with suppress(ProcessLookupError):  # what a failed test left behind
                os.killpg(process.pid, signal.SIGKILL)
        return code, log.read_text("utf-8", "replace")

    def finder(self, folder: Path, sources: Path, *arguments: str) -> str | None:
        """The first test that fails; None where none does.

        Raises:
            CannotRunError: pytest refuses its arguments.
        """
        plain = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        limits = [f"--timeout={TEST_SECONDS}", f"--basetemp={self.folder / 'pytest'}"]
        code, printed = self.run([*plain, *limits, *arguments], folder, sources)
        if code in FINDS_NOTHING:
            return None
        if code is None:
            return "timeout"
        last = (printed.strip().splitlines() or ["no message"])[-1]
        if code == USAGE_ERROR and "conftest" not in printed:
            raise CannotRunError(last)
        if failed := re.search(r"(?m)^(?:FAILED|ERROR) (\S+?\.py(?:::.+?)?)(?: - (.*))?$", printed):
            hung = " (timeout)" if "pytest-timeout" in (failed[2] or "") else ""
            return f"{failed[1]}{hung}"
        return f"exit code {code}: {last}"


def find_in_projects(path: str, fault: Fault, copy: Path, scratch: Scratch) -> str | None:
    """Look for a fault of the template with the tests of the projects that have it."""
    projects = []
    for modality in modalities(path):
        project = scratch.folder / modality
        answers = ["-d", f"modality={modality}", "-d", f"project_name={modality.title()} Project"]
        command = ["-m", "copier", "copy", "--defaults", "--quiet", *answers]
        code, _ = scratch.run([*command, str(copy), str(project)], scratch.folder, copy)
        if code:
            return f"rendering ({modality})"
        projects.append(project)
    without = ["-p", "no:xdist", "-p", "no:cov"]
    first, others = [], []
    for project in projects:
        left_out = [] if project.name == MODALITIES[0] else same_for_all(copy)
        gated = [name for name in fault.tests if name not in left_out]
        hinted = [f"tests/{name}" for name in gated if (project / "tests" / name).is_file()]
        first += [(project, hinted)] if hinted else []
        kind = CONTAINERS.get(project.name)
        if kind is not None and f"test_{kind}.py" in fault.tests:
            first.append((project, ["-m", kind, f"tests/test_{kind}.py"]))
        ignored = [*hinted, *(f"tests/{name}" for name in left_out)]
        others.append((project, [f"--ignore={name}" for name in ignored]))
    for project, arguments in first + others:
        if by := scratch.finder(project, project / "src", *without, *arguments):
            return f"{by} ({project.name})"
    return None


def find_in_repository(fault: Fault, copy: Path, scratch: Scratch) -> str | None:
    """Look for a fault of anything else with the tests that its row names."""
    names = [f"tests/{name}" for name in fault.tests if (copy / "tests" / name).is_file()]
    if not names:
        raise CannotRunError(f"no such tests: {', '.join(fault.tests)}")
    one_process = ["-n0"] if importlib.util.find_spec("xdist") else []
    unmeasured = ["--no-cov"] if importlib.util.find_spec("pytest_cov") else []
    options = [*one_process, *unmeasured, "-m", "not slow"]
    return scratch.finder(copy, copy / "generator", *options, *names)


def judge(fault: Fault, repository: Path, path: str | None, kernels: Path) -> Outcome:
    """Put a fault into a copy of the repository and look for it."""
    if path is None:
        return Outcome(fault.name, Verdict.ABSENT)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fault-", ignore_cleanup_errors=True) as folder:
        scratch, copy = Scratch(Path(folder), kernels), Path(folder) / "repository"
        shutil.copytree(repository, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        faulty = copy / path
        faulty.write_text(faulty.read_text("utf-8").replace(fault.before, fault.after), "utf-8")
        try:
            if path.startswith("template/"):
                by = find_in_projects(path, fault, copy, scratch)
            else:
                by = find_in_repository(fault, copy, scratch)
        except CannotRunError as reason:
            return Outcome(fault.name, Verdict.NOT_RUN, str(reason))
    verdict = Verdict.FOUND if by else Verdict.MISSED
    return Outcome(fault.name, verdict, by or "", round(time.monotonic() - started, 1))


# --- The command ----------------------------------------------------------------------------------


def _write(outcomes: Sequence[Outcome], output: Path) -> None:
    rows = [asdict(outcome) | {"verdict": str(outcome.verdict)} for outcome in outcomes]
    output.write_text(yaml.safe_dump(rows, sort_keys=False, width=1000), "utf-8")


def _chosen(names: Sequence[str], parser: argparse.ArgumentParser) -> list[Fault]:
    faults = read_faults()
    if unknown := sorted(set(names) - {fault.name for fault in faults}):
        parser.error(f"no such fault: {', '.join(unknown)}")
    return [fault for fault in faults if not names or fault.name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each fault as it ends, then how many there were of each verdict."""
    parser = argparse.ArgumentParser(description="Which one-line faults do the default tests find?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to try (all)")
    parser.add_argument("--repository", type=Path, default=ROOT, help="a checkout (this one)")
    parser.add_argument("--workers", type=int, default=1, help="faults to try at a time (1)")
    parser.add_argument("--output", type=Path, help="write the outcomes to this file, as YAML")
    options = parser.parse_args(arguments)
    faults = _chosen(options.names, parser)
    repository = options.repository.resolve()
    files = product_files(repository)

    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory(prefix="kernels-") as kernels,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        running = [
            pool.submit(judge, fault, repository, place(fault, files), Path(kernels))
            for fault in faults
        ]
        try:
            for done in as_completed(running):
                outcomes.append(done.result())
                print(outcomes[-1], flush=True)
                if options.output:
                    _write(outcomes, options.output)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    counts = Counter(outcome.verdict for outcome in outcomes)
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
