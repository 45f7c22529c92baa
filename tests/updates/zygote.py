"""Runs `tp35` up to its first change of a folder, and from there once for every fault.

At each change from that one on (opening a file to write, renaming, linking, making, removing,
changing a mode, calling a program) this process splits, and in the copy that change fails. What
the copy leaves is recorded, the folder is put back as it was, and the next copy is made.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

CHANGES = {
    f"os.{name}"
    for name in ("chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink")
} | {"os.truncate", "os.utime", "subprocess.Popen"}
MADE = {"open", "write", "os.mkdir", "os.link", "os.symlink"}  # what takes room
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _full_disk() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _denied() -> NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _sends(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


FAULTS: dict[str, Callable[[], None]] = {
    "no space left": _full_disk,
    "no space left from then on": _full_disk,
    "permission denied": _denied,
    "SIGINT": _sends(signal.SIGINT),
    "SIGTERM": _sends(signal.SIGTERM),
    "SIGKILL": _sends(signal.SIGKILL),
}
LASTING = {"no space left from then on"}


@dataclass(frozen=True)
class Ending:
    """How a copy ended, and where it left the folder."""

    fault: str
    number: int
    event: str
    code: int  # minus the signal that killed it
    out: str
    err: str
    kept: str  # a copy of the folder as it was left


@dataclass
class Injection:
    """Counts changes in one folder; in a copy of this process one of them fails."""

    folder: Path
    results: Path
    events: int = 0
    fault: str = ""
    at: int = -1
    busy: bool = False
    original: Path = Path()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What Python calls before whatever it does (`sys.addaudithook`)."""
        if self.busy or not self._counts(event, arguments):
            return
        self.busy = True
        try:
            if not self.events and not self.fault:
                self._run_all(f"{event} {arguments[:2]}")
        finally:
            self.busy = False
        number = self.events
        self.events += 1
        if number == self.at or (self.fault in LASTING and number > self.at and event in MADE):
            with (self.results / "event").open("a") as noted:
                noted.write(f"{event} {arguments[:2]}\n")
            FAULTS[self.fault]()

    def _counts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return bool(flags & WRITING) and self._inside(path)
        if event == "subprocess.Popen":
            return self.events > 0
        if event == "os.mkdir" and os.path.lexists(arguments[0]):
            return False  # refused for that, and nothing is changed
        return event in {*CHANGES, "write"} and any(self._inside(path) for path in arguments)

    def _inside(self, path: object) -> bool:
        return isinstance(path, (str, bytes, os.PathLike)) and (
            os.fsdecode(path).startswith(f"{self.folder}/")
        )

    def _run_all(self, first: str) -> None:
        """One copy for each change and fault, until a copy has no more changes."""
        self.original = self.results / "original"
        shutil.copytree(self.folder, self.original, symlinks=True)
        endings = []
        for fault in FAULTS:
            for number in range(10_000):
                ending = self._run_one(fault, number)
                if self.fault:
                    return  # this is the copy
                if ending is None:
                    break
                endings.append(asdict(ending))
        (self.results / "endings.json").write_text(json.dumps(endings))
        os._exit(0)

    def _run_one(self, fault: str, number: int) -> Ending | None:
        """One copy, and where it left the folder; None where it made fewer changes."""
        noted = self.results / "event"
        noted.unlink(missing_ok=True)
        streams = [self.results / name for name in ("out", "err")]
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            for path, descriptor in zip(streams, (1, 2), strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            self.fault, self.at = fault, number
            return None  # and go on with the change before which it split
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        ending = None
        if noted.exists():
            kept = self.results / f"{fault} {number}"
            self.folder.rename(kept)
            out, err = (path.read_text() for path in streams)
            ending = Ending(fault, number, noted.read_text(), code, out, err, str(kept))
        else:
            shutil.rmtree(self.folder)
        shutil.copytree(self.original, self.folder, symlinks=True)
        return ending


class WatchedFile:
    """A file whose writing is a change, too; where it fails, half is written."""

    def __init__(self, file: Any, path: object, injection: Injection) -> None:
        self._file, self._path, self._injection = file, path, injection

    def write(self, content: Any) -> Any:
        """Write, unless this is where it fails."""
        try:
            self._injection("write", (self._path,))
        except OSError:
            self._file.write(content[: len(content) // 2])
            raise
        return self._file.write(content)

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.__exit__(*raised)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _watch_writing(injection: Injection) -> None:
    """Let whatever is opened for writing be watched."""
    really_open = open

    def watched_open(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        opened = really_open(file, mode, *rest, **named)
        return opened if mode in ("r", "rb", "rt") else WatchedFile(opened, file, injection)

    builtins.open = io.open = watched_open


def main() -> None:
    """`python -m tests.updates.zygote FOLDER RESULTS ARGUMENT...`."""
    folder, results, *arguments = sys.argv[1:]
    from tp35 import cli

    sys.argv = ["tp35", *arguments]
    injection = Injection(Path(folder), Path(results))
    sys.addaudithook(injection)
    _watch_writing(injection)
    cli.main()


if __name__ == "__main__":
    main()
