"""Places in which an update runs, and whether it ends there as it does in a plain one.

Each place is tried four times: a dry run and an update, without a clash and with one. Each ends as
in a plain repository or is refused in one clear line, and nothing else has changed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .stage import Node, Ran, Skipped, Snapshot, Stage, Wrong, differences, staged
from .subjects import real_subject, toy_subject
from .toy import ANSWERS_FILE, CLASHING, UPDATED, GitFailed, Subject, git

AS_PLAIN = "as plain"


@dataclass(frozen=True)
class Plain:
    """How a plain repository's update ends, with or without a clash."""

    before: Snapshot  # the project's files by their path in it
    after: Snapshot
    dry: Ran
    real: Ran
    unmerged: frozenset[str]


@dataclass(frozen=True)
class Index:
    """What Git has registered of the project, and where."""

    folders: tuple[Path, ...]  # Git's own and the common one of all worktrees
    file: Path
    entries: frozenset[str]  # each with its flags, mode, object and stage

    @classmethod
    def of(cls, project: Path) -> Index:
        """Read it, without refreshing it."""
        places = (["--absolute-git-dir"], ["--git-common-dir"], ["--git-path", "index"])
        try:
            folder, common, file = (
                project / git("rev-parse", *place, cwd=project).removesuffix("\n")
                for place in places
            )
            listed = git("ls-files", "-v", "--stage", "-z", "--full-name", ":/", cwd=project)
        except (GitFailed, OSError):
            return cls((), project / ".git" / "index", frozenset())
        return cls((folder, common), file.resolve(), frozenset(filter(None, listed.split("\0"))))

    @property
    def unmerged(self) -> frozenset[str]:
        """The paths that conflict, and how, from the top of the repository."""
        return frozenset(entry.split("\t")[1] for entry in self.entries if _stage_of(entry) != "0")

    def outside(self, paths: frozenset[str]) -> frozenset[str]:
        """The entries of all other paths."""
        return frozenset(entry for entry in self.entries if entry.split("\t")[1] not in paths)


def without_git_variables(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which Git finds the repository by itself."""
    return {key: value for key, value in environment.items() if not key.startswith("GIT_")}


def _stage_of(entry: str) -> str:
    return entry.split("\t", maxsplit=1)[0].rsplit(maxsplit=1)[-1]


@dataclass(frozen=True)
class Trial:
    """One run of the command in a place."""

    stage: Stage
    dry: bool
    ran: Ran
    before: Snapshot
    after: Snapshot
    index: Index  # before the run
    plain: Plain


Check = Callable[[Trial], Iterator[str]]
Run = Callable[[Stage, bool], Ran]


@dataclass(frozen=True)
class Place:
    """A setting or place.

    What is allowed there beyond an end as in a plain repository: a refusal that says this
    (a regular expression), lines that end in other ways, other modes, files of another content.
    """

    name: str
    prepare: Callable[[Stage], None]
    refusal: str = ""
    line_ends: bool = False
    modes: bool = False
    words: bool = False
    plain_stages: bool = False
    check: Check | None = None
    run: Run = field(default=lambda stage, dry: stage.update(*(["--dry-run"] if dry else [])))
    real: bool = False  # with the real template


PLACES: dict[str, Place] = {}


def place(
    name: str, refusal: str = "", *, check: Check | None = None, run: Run | None = None,
    line_ends: bool = False, modes: bool = False, words: bool = False, real: bool = False,
    plain_stages: bool = False,
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:  # fmt: skip
    """Add what prepares a place to the table."""

    def add(prepare: Callable[[Stage], None]) -> Callable[[Stage], None]:
        assert name not in PLACES
        found = Place(
            name, prepare, refusal, line_ends, modes, words, plain_stages, check, real=real
        )
        PLACES[name] = found if run is None else Place(**{**vars(found), "run": run})
        return prepare

    return add


def nothing(stage: Stage) -> None:
    """Prepare nothing: what is special is how the command is run."""


# --- how a run is judged -------------------------------------------------------------------------


def judge(place: Place, trial: Trial) -> tuple[str, list[str]]:
    """How a run ended, and what is wrong with it."""
    ran = trial.ran
    if "Traceback" in ran.out + ran.err:
        return "traceback", [ran.err.strip().splitlines()[-1]]
    if ran.refusal:
        wrong = [f"changed: {path}" for path in differences(trial.before, trial.after)]
        if not (place.refusal and re.search(place.refusal, ran.refusal)):
            wrong.append(f"refused: {ran.refusal}")
        line = ran.refusal.removeprefix("tp35: ").replace(str(trial.stage.root), "")
        return f"refused: {line}", wrong
    if place.check:
        wrong = list(place.check(trial))
    else:
        wrong = [*_said(place, trial)]
        if not trial.dry:
            wrong += _files(place, trial)
    wrong += _elsewhere(place, trial)
    return "done" if place.check else AS_PLAIN, wrong


def _said(place: Place, trial: Trial) -> Iterator[str]:
    """What is wrong with the exit code and the words."""
    ran, plain = trial.ran, trial.plain.dry if trial.dry else trial.plain.real
    if ran.code != plain.code:
        yield f"exit code {ran.code} instead of {plain.code}: {ran.err.strip()[-300:]}"
    if ran.conflicts != plain.conflicts:
        yield f"conflicts {sorted(ran.conflicts)} instead of {sorted(plain.conflicts)}"
    if not place.words and ran.out.split() != plain.out.split():
        lost, more = _unlike(plain.out, ran.out)
        yield f"says {more} instead of {lost}"


def _unlike(one: str, other: str) -> tuple[list[str], list[str]]:
    """The lines that only one of two has, folded into single blanks."""
    first, second = (
        {" ".join(line.split()) for line in text.splitlines()} for text in (one, other)
    )
    return sorted(first - second), sorted(second - first)


def _files(place: Place, trial: Trial) -> Iterator[str]:
    """What is wrong with the project's files after an update."""
    plain, stage = trial.plain, trial.stage
    mine = stage.files(trial.after)
    before = stage.files(trial.before)
    for path in sorted(plain.before.keys() | plain.after.keys()):
        expected, found = plain.after.get(path), mine.get(path)
        if expected is None or found is None:
            if (expected is None) != (found is None):
                yield f"{path} is {'there' if found else 'missing'}"
            continue
        content = found.content.replace(
            stage.origin.encode(), stage.subject.template.as_posix().encode()
        )
        if place.line_ends:
            yield from _line_ends(path, before.get(path), found)
        content, wanted = _comparable(place, content), _comparable(place, expected.content)
        if found.kind != expected.kind or content != wanted:
            yield f"{path} holds something else: {content[:400]!r} instead of {wanted[:400]!r}"
        if not place.modes:
            yield from _mode(path, before.get(path), found, expected)


def _comparable(place: Place, content: bytes) -> bytes:
    """The content, without what the place may change of it."""
    return content.replace(b"\r\n", b"\n") if place.line_ends else content


def _line_ends(path: str, before: Node | None, found: Node) -> Iterator[str]:
    """Lines end as they did in that file, and all alike."""
    if b"\0" in found.content:
        return
    crlf, all_lines = found.content.count(b"\r\n"), found.content.count(b"\n")
    if crlf not in (0, all_lines):
        yield f"{path} has {crlf} lines of {all_lines} with a carriage return"
    elif (
        before
        and b"\n" in before.content
        and all_lines
        and (b"\r\n" in before.content) != bool(crlf)
    ):
        yield f"{path} has other line ends than before"


def _mode(path: str, before: Node | None, found: Node, expected: Node) -> Iterator[str]:
    if bool(found.mode & 0o100) != bool(expected.mode & 0o100):
        yield f"{path} has mode {found.mode:o} instead of {expected.mode:o}"
    elif (
        before
        and found.mode != before.mode
        and bool(before.mode & 0o100) == bool(found.mode & 0o100)
    ):
        yield f"{path} has mode {found.mode:o}, before {before.mode:o}"


def _elsewhere(place: Place, trial: Trial) -> Iterator[str]:
    """What is wrong with everything but the project's files."""
    stage = trial.stage
    changed = differences(trial.before, trial.after)
    if trial.dry:
        yield from (f"changed by a dry run: {path}" for path in changed)
        return
    files = trial.plain.before.keys() | trial.plain.after.keys()
    folders = {str(parent) for path in files for parent in (stage.project / path).parents}
    index = trial.index
    registered = {
        entry.split()[2] for entry in Index.of(stage.project).entries if _stage_of(entry) != "0"
    } if changed else set()  # fmt: skip
    for path in changed:
        inside = os.path.relpath(path, stage.project)
        if inside in files or (path in folders and stage.project.as_posix() in path):
            continue
        beside = any(inside.startswith(f"{file}.") for file in files)  # what is put aside
        if place.check and beside and path not in trial.before:
            continue
        if path == str(index.file):
            continue
        name = Path(path)
        if any(folder in name.parents for folder in index.folders) and path not in trial.before:
            kept = trial.after[path].kind == "folder"  # objects/ab
            if kept or name.parent.name + name.name in registered:
                continue
        yield f"changed: {path}"
    yield from _index(place, trial)


def _index(place: Place, trial: Trial) -> Iterator[str]:
    """What is wrong with what Git has registered."""
    stage, before = trial.stage, trial.index
    if not before.folders:
        return
    after = Index.of(stage.project)
    inside = git("rev-parse", "--show-prefix", cwd=stage.project)[:-1]
    unmerged = after.unmerged - before.unmerged
    if place.check is None:
        expected = frozenset(inside + path for path in trial.plain.unmerged)
        if unmerged != expected:
            yield f"unmerged: {sorted(unmerged)} instead of {sorted(expected)}"
    if before.outside(unmerged) != after.outside(unmerged):
        differing = sorted(before.outside(unmerged) ^ after.outside(unmerged))
        yield f"the index differs: {differing[:4]}"
    if place.plain_stages:
        return
    for path in sorted(unmerged):
        # what `git checkout --ours` would write has to be what the user had
        kept = subprocess.run(
            ["git", "-c", "safe.directory=*", "cat-file", "--filters", f":2:{path}"],
            cwd=stage.project, capture_output=True, env=without_git_variables(stage.environment),
        )  # fmt: skip
        mine = trial.before[str(stage.project / path.removeprefix(inside))].content
        if _comparable(place, kept.stdout) != _comparable(place, mine):
            yield f":2:{path} is not the user's file: {kept.stdout[:60]!r} {kept.stderr[:200]!r}"


# --- running them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A place's four ends, and all that was wrong."""

    name: str
    ends: tuple[str, ...]
    wrong: tuple[str, ...]


COLUMNS = ("dry run", "dry run, clash", "update", "update, clash")


def plain_update(root: Path, subject: Subject, clashing: bool) -> Plain:
    """Update where nothing is special."""
    with staged(root, subject, clashing) as stage:
        before = stage.files(stage.snapshot())
        dry = stage.update("--dry-run")
        real = stage.update()
        after = stage.files(stage.snapshot())
        index = Index.of(stage.project)
        return Plain(before, after, dry, real, index.unmerged)


def check_plain(plain: Plain, clashing: bool) -> Iterator[str]:
    """What is wrong with a plain update of the toy, by what is known of it by heart."""
    if clashing:
        for ran in (plain.dry, plain.real):
            if ran.code != 1 or f"{CLASHING}:4: conflict" not in ran.err:
                yield f"a clash ends with {ran.code}: {ran.err}"
        text = plain.after[CLASHING].content.decode()
        mine, theirs = text.find("config_3 = 'mine'\n"), text.find("config_3 = 'theirs'\n")
        if (
            not 0
            < text.find("<<<<<<< ")
            < mine
            < text.find("=======\n")
            < theirs
            < text.find(">>>>>>> ")
        ):
            yield f"no conflict: {text}"
        if plain.unmerged != {CLASHING}:
            yield f"unmerged: {sorted(plain.unmerged)}"
        if b"mine = 'legacy'" not in b"".join(found.content for found in plain.after.values()):
            yield "an edit of a removed file is lost"
        return
    for ran in (plain.dry, plain.real):
        if ran.code or ran.err:
            yield f"ends with {ran.code}: {ran.err}"
    if plain.unmerged:
        yield f"unmerged: {sorted(plain.unmerged)}"
    ignored = {path for path in plain.before if path.startswith("runs/") or path.endswith(".log")}
    found = {path: node for path, node in plain.after.items() if path not in ignored}
    for path in sorted(found.keys() ^ {*UPDATED, ANSWERS_FILE}):
        yield f"{path} is {'there' if path in found else 'missing'}"
    for path in sorted(found.keys() & UPDATED.keys()):
        expected = UPDATED[path]
        if found[path].content != expected.content:
            yield f"{path} holds something else: {found[path].content[-300:]!r}"
        if bool(found[path].mode & 0o100) != expected.executable:
            yield f"{path} has mode {found[path].mode:o}"


def try_place(place: Place, root: Path, subject: Subject, plain: dict[bool, Plain]) -> Row:
    """Run a dry run and an update in a place, for each plain one that there is."""
    ends, wrong = dict.fromkeys(COLUMNS, ""), list[str]()
    for clashing, reference in plain.items():
        for dry in (True, False):
            column = COLUMNS[2 * (not dry) + clashing]
            name = re.sub(r"\W+", "-", f"{place.name} {column}")
            try:
                with staged(root / name, subject, clashing) as stage:
                    place.prepare(stage)
                    before, index = stage.snapshot(), Index.of(stage.project)
                    ran = place.run(stage, dry)
                    trial = Trial(stage, dry, ran, before, stage.snapshot(), index, reference)
                    end, found = judge(place, trial)
            except Skipped as reason:
                end, found = f"skipped: {reason}", []
            except Wrong as what:
                end, found = "not as it must be", [str(what)]
            except (OSError, AssertionError) as what:
                end, found = "could not be made", [f"{type(what).__name__}: {what}"]
            except subprocess.TimeoutExpired:
                end, found = "hung", ["did not end"]
            ends[column] = f"WRONG ({end})" if found else end
            here = str(root / name)
            wrong += [f"{column}: {line.replace(here, '')}" for line in found]
    return Row(place.name, tuple(ends.values()), tuple(wrong))


def try_places(names: list[str], root: Path, jobs: int) -> Iterator[Row]:
    """Run what is named, the plain one first."""
    subjects = {False: toy_subject(root / "toy")}
    if any(PLACES[name].real for name in names):
        subjects[True] = real_subject(root / "real")
    plain = {
        real: {
            clashing: plain_update(root / f"plain-{real}-{clashing}", subject, clashing)
            for clashing in (False, True)
        }
        for real, subject in subjects.items()
    }
    wrong = tuple(
        line for clashing in (False, True) for line in check_plain(plain[False][clashing], clashing)
    )
    yield Row("a plain repository, by heart", ("WRONG" if wrong else "as written",) * 4, wrong)

    def try_one(name: str) -> Row:
        real = PLACES[name].real
        return try_place(PLACES[name], root / "stages", subjects[real], plain[real])

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(try_one, names)
