"""A small world for one update: a project, what lies around it, and an environment."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .toy import Subject, commit_all, git

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 180


class Skipped(Exception):  # noqa: N818 (no error)
    """This machine cannot make that place; the message says why."""


class Wrong(Exception):  # noqa: N818 (not of this program)
    """Something is not as it must be; the message says what."""


@dataclass(frozen=True)
class Node:
    """What lies at a path."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: bytes = b""


Snapshot = dict[str, Node]


def node(path: str | Path) -> Node | None:
    """What lies at a path; None where nothing does."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kind, content = "other", b""
    if stat.S_ISREG(found.st_mode):
        kind, content = "file", Path(path).read_bytes()
    elif stat.S_ISLNK(found.st_mode):
        kind, content = "link", os.fsencode(Path(path).readlink())
    elif stat.S_ISDIR(found.st_mode):
        kind = "folder"
    return Node(kind, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid), content)


def snapshot(*roots: Path) -> Snapshot:
    """Everything under folders, by absolute path."""
    found = {str(root): here for root in roots if (here := node(root))}
    for root in roots:
        for parent, folders, names in os.walk(root):
            for name in (*folders, *names):
                path = os.path.join(parent, name)  # noqa: PTH118 (names that are not UTF-8)
                if here := node(path):
                    found[path] = here
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths that are not as they were."""
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )


@cache
def unprivileged() -> tuple[str, ...]:
    """What runs a command without root's powers, which would write into read-only files."""
    if os.geteuid() != 0:
        return ()
    if not (setpriv := shutil.which("setpriv")):
        raise Skipped("needs setpriv where tests run as root")
    return (setpriv, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--")


@dataclass(frozen=True)
class Ran:
    """What the command did."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str | None:
        """The one line with which it refused; None where it did something else."""
        said = self.err.strip().splitlines()
        return said[0] if self.code and len(said) == 1 and said[0].startswith("tp35: ") else None

    @property
    def conflicts(self) -> set[str]:
        """The conflicts it named."""
        return set(re.findall(r"(?m)^\S.*: conflict$", self.err))


@dataclass
class Stage:
    """The world: `home`, `tmp`, and `work` with the project in it."""

    root: Path
    subject: Subject
    clashing: bool
    project: Path = field(init=False)
    argument: str = field(init=False)  # how the project is named on the command line
    origin: str = field(init=False)  # where the project says that its template is
    cwd: Path = field(init=False)
    environment: dict[str, str] = field(init=False)
    wrapper: list[str] = field(default_factory=list)
    outside: list[Path] = field(default_factory=list)  # folders elsewhere that belong to it, too
    undo: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "work"):
            (self.root / name).mkdir(parents=True)
        self.cwd = self.work
        self.project = self.work / "project"
        self.argument = str(self.project)
        self.origin = str(self.subject.template)
        source = self.subject.clashing if self.clashing else self.subject.quiet
        shutil.copytree(source, self.project, symlinks=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(ROOT / "generator"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LANG": "C.UTF-8",
        }

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def git(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run Git in the project, untouched by the place's own settings."""
        return git(*arguments, cwd=cwd or self.project)

    def globally(self, settings: Mapping[str, str]) -> None:
        """Put settings into the user's own Git configuration."""
        for key, value in settings.items():
            self.git("config", "--file", self.home / ".gitconfig", "--add", key, value)

    def locally(self, settings: Mapping[str, str]) -> None:
        """Put settings into the project's repository."""
        for key, value in settings.items():
            self.git("config", key, value)

    def move_project(self, place: Path) -> None:
        """Put the project elsewhere."""
        place.parent.mkdir(parents=True, exist_ok=True)
        self.project.rename(place)
        self.project = place
        self.argument = str(place)

    def move_into_repository(self, repository: Path, folder: str = "apps/project") -> None:
        """Make the project a folder of a larger repository."""
        shutil.rmtree(self.project / ".git")
        self.move_project(repository / folder)
        (repository / "README").write_text("many things\n")
        (repository / "other").mkdir()
        for number in range(20):
            (repository / "other" / f"{number}.txt").write_text(f"{number}\n")
        self.git("init", "--quiet", cwd=repository)
        commit_all(repository)

    def script(self, path: Path, text: str) -> Path:
        """An executable shell script."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def tp35(self) -> list[str]:
        """The beginning of every command line."""
        return [sys.executable, "-m", "tp35", "update"]

    def command(self, *options: str) -> list[str]:
        """The command line of an update."""
        return [*unprivileged(), *self.wrapper, *self.tp35(), *options, "--", self.argument]

    def update(self, *options: str) -> Ran:
        """Run `tp35 update`."""
        done = subprocess.run(
            self.command(*options),
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        out, err = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
        return Ran(done.returncode, out, err)

    def snapshot(self) -> Snapshot:
        """Everything that an update could reach and must not touch, and what it may."""
        return snapshot(self.root, self.subject.template, *self.outside)

    def files(self, world: Snapshot) -> Snapshot:
        """The project's own files, by their path in the project; Git's left out."""
        start = f"{self.project}/"
        return {
            path.removeprefix(start): found
            for path, found in world.items()
            if path.startswith(start)
            and not path.startswith(f"{start}.git/")
            and path != f"{start}.git"
            and found.kind != "folder"
        }


@contextmanager
def staged(root: Path, subject: Subject, clashing: bool) -> Iterator[Stage]:
    """A stage that is taken down again, whatever was mounted or made immutable there."""
    stage = Stage(root, subject, clashing)
    try:
        with stage.undo:
            yield stage
    finally:
        shutil.rmtree(root, ignore_errors=True)
