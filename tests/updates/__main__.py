"""`python -m tests.updates PART`: try what `tp35 update` promises."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .catalogue import PLACES
from .edits import Result, try_scripts
from .faults import try_faults
from .large import MOST, measure
from .places import COLUMNS, Row, try_places

MOST_SHOWN = 8  # of what is wrong in one place


def main() -> int:
    """Run one part; the exit code is 1 where anything is wrong."""
    arguments = parser().parse_args()
    part: int = arguments.part(arguments)
    return part


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m tests.updates", description=__doc__)
    parts = found.add_subparsers(required=True, metavar="PART")

    trying = parts.add_parser("places", help="settings and places in which an update runs")
    trying.add_argument(
        "names", nargs="*", metavar="TEXT", help="only those with this in their name"
    )
    trying.add_argument("--list", action="store_true", help="show the names")
    trying.set_defaults(part=places)
    scripts = parts.add_parser("edits", help="random edits against random changes of a template")
    scripts.add_argument("--scripts", type=int, default=500, help="default: %(default)s")
    scripts.add_argument("--first", type=int, default=0, help="the number of the first")
    scripts.add_argument("--real", type=int, default=20, help="how many more of the real template")
    scripts.set_defaults(part=edits)
    timing = parts.add_parser("large", help="the time it takes in a repository of many files")
    timing.add_argument("--files", type=int, default=100_000, help="default: %(default)s")
    timing.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    timing.set_defaults(part=large)
    failing = parts.add_parser("faults", help="faults at every change and every call of Git")
    failing.set_defaults(part=faults)
    for part in (trying, scripts, failing):
        part.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: %(default)s")
    return found


def places(arguments: argparse.Namespace) -> int:
    """Print a row per place, and what is wrong there."""
    names = [
        name
        for name in sorted(PLACES)
        if not arguments.names or any(text.lower() in name.lower() for text in arguments.names)
    ]
    if arguments.list:
        print(*names, sep="\n")
        return 0
    started, rows = time.monotonic(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="updates-") as folder:
        Path(folder).chmod(0o755)
        for row in try_places(names, Path(folder), arguments.jobs):
            rows.append(row)
            print_row(row)
    wrong = [row for row in rows if row.wrong]
    ends = Counter(end.split(":")[0].split(" (")[0] for row in rows for end in row.ends)
    said = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    print(
        f"\n{len(rows)} places, wrong in {len(wrong)}: {said}; {time.monotonic() - started:.0f} s"
    )
    return int(bool(wrong))


def edits(arguments: argparse.Namespace) -> int:
    """Run the scripts; print those that end wrong, and the share that needed nobody."""
    numbers = list(range(arguments.first, arguments.first + arguments.scripts))
    more = list(range(arguments.first, arguments.first + arguments.real))
    results = list[Result]()
    for real, chosen in ((False, numbers), (True, more)):
        with tempfile.TemporaryDirectory(prefix="updates-") as folder:
            for result in try_scripts(chosen, Path(folder), arguments.jobs, real=real):
                results.append(result)
                if result.wrong:
                    shown = f"{'real ' if real else ''}{result.script}"
                    print(
                        shown, *(f"WRONG: {line}" for line in result.wrong), sep="\n  ", flush=True
                    )
    wrong = sum(bool(result.wrong) for result in results)
    unaided = sum(result.unaided for result in results)
    both = sum(result.files_of_both for result in results)
    merged = sum(result.files_unaided for result in results)
    print(
        f"{len(results)} scripts, {wrong} wrong; {unaided} ({unaided / len(results):.0%}) left "
        f"nothing to do; of {both} files that both sides changed, {merged} ({merged / both:.0%}) "
        "merged unaided"
    )
    return int(bool(wrong))


def faults(arguments: argparse.Namespace) -> int:
    """Print a row per kind of fault, and what is wrong there."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="updates-") as folder:
        Path(folder).chmod(0o755)
        for tally in try_faults(Path(folder), arguments.jobs):
            print(tally, *tally.wrong[:MOST_SHOWN], sep="\n    ", flush=True)
            wrong += len(tally.wrong)
    return int(bool(wrong))


def large(arguments: argparse.Namespace) -> int:
    """Print the times, and whether one is more than twice the other."""
    with tempfile.TemporaryDirectory(prefix="updates-") as folder:
        found = list(measure(Path(folder), arguments.files, arguments.rounds))
    print(*found, sep="\n")
    return int(any(times.ratio > MOST for times in found))


def print_row(row: Row) -> None:
    """A place's name and its four ends, alike ones once; then what is wrong."""
    ends = dict.fromkeys(row.ends)
    shown = (
        next(iter(ends))
        if len(ends) == 1
        else "; ".join(f"{name}: {end}" for name, end in zip(COLUMNS, row.ends, strict=True))
    )
    print(f"{row.name[:60]:60} {shown}", *row.wrong[:MOST_SHOWN], sep="\n    ", flush=True)


if __name__ == "__main__":
    sys.exit(main())
