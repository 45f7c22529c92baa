"""`python -m tests.benchmarks [NAME ...]`: measure, and write `docs/benchmarks.md` anew."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

from .catalogue import BENCHMARKS
from .harness import Benchmark, Outcome, Scale, measure, temporary_folder
from .page import FIGURES, PAGE, PICTURE, path_in_clone, read_outcomes, section, write

WORKER = "--in-this-process"


def main() -> int:
    """Run what is named, each in a process of its own."""
    arguments = parser().parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
        return 2
    if arguments.list:
        for found in BENCHMARKS.values():
            print(f"{found.name:20} {found.minutes:4.0f} min{' GPU' if found.is_gpu else ''}")
        return 0
    scale = Scale(arguments.rounds, arguments.toy)
    if arguments.in_this_process:
        return in_this_process(BENCHMARKS[arguments.names[0]], scale, arguments.in_this_process)
    return in_processes([BENCHMARKS[name] for name in arguments.names or chosen()], scale)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    found.add_argument("names", nargs="*", metavar="NAME", help="all that this machine can measure")
    found.add_argument("--list", action="store_true", help="show the names and how long each takes")
    found.add_argument("--rounds", type=int, default=Scale.rounds, help="default: %(default)s")
    found.add_argument(
        "--toy", action="store_true", help="sizes that take seconds; writes no page, only prints"
    )
    found.add_argument(WORKER, type=Path, help=argparse.SUPPRESS)
    return found


def chosen() -> list[str]:
    """All that this machine can measure."""
    import torch

    has_gpu = torch.cuda.is_available()
    return [name for name, found in BENCHMARKS.items() if has_gpu or not found.is_gpu]


def in_this_process(found: Benchmark, scale: Scale, result: Path) -> int:
    """Measure one, and leave the figures in a file."""
    # what a benchmark has started ends with it, also where it is told to end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result.write_text(json.dumps(measure(found, scale).to_dict()), "utf-8")
    return 0


def in_processes(wanted: list[Benchmark], scale: Scale) -> int:
    """Measure each in turn; one that fails keeps its figures of before, and the rest go on."""
    outcomes, failed = read_outcomes(), []
    for found in wanted:
        print(f"{found.name}: about {found.minutes:g} minutes", flush=True)
        with temporary_folder() as folder:
            result = folder / "outcome.json"
            options = ["--rounds", str(scale.rounds), *(["--toy"] if scale.toy else [])]
            command = [sys.executable, "-m", "tests.benchmarks", found.name, *options]
            if subprocess.run([*command, WORKER, str(result)]).returncode:
                failed.append(found.name)
                continue
            outcome = Outcome.of(json.loads(result.read_text("utf-8")))
        for row in outcome.rows if scale.rounds else ():
            print(section(row), flush=True)
        if scale.is_real:
            outcomes[found.name] = outcome
            write(outcomes)
    if scale.is_real:
        print("written:", *(path_in_clone(path) for path in (PAGE, FIGURES, PICTURE)))
    if failed:
        print(f"failed: {', '.join(failed)}; what was measured before stays", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
