"""Random edits of a user against random changes of a template: nothing may be lost on either side.

A script is made from its number alone: what the user did to a project, and what the template's new
version does. The update is run, and what it leaves is held against both.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from .stage import Ran
from .subjects import real_template, started
from .toy import (
    ANSWERS_FILE,
    GIT_ENVIRONMENT,
    NEW,
    File,
    Files,
    as_template,
    commit_all,
    differences,
    git,
    old_template,
    render,
    write,
)

MARKERS = re.compile(rb"(?m)^(<{7}|\|{7}|={7}|>{7})( .*)?\r?\n")
CONFLICT = re.compile(rb"(?m)^<{7}( .*)?\r?$")
POPULARITY = 0.7
SUFFIXES = (".rej", ".saved", ".new", ".orig")


def _base() -> Files:
    """The old version: files whose every line is unlike every other."""
    names = ["README.md", "config.yaml", "tools/run.sh", "tests/test_it.py"]
    names += [f"src/toy/{name}.py" for name in ("alpha", "beta", "gamma", "delta", "part/epsilon")]
    files = {}
    for number, name in enumerate(names):
        word = Path(name).stem.lower()
        text = "".join(f"    {word}_{line} = '{word} {line}'\n" for line in range(12 + 6 * number))
        files[name] = File(text.encode(), executable=name.endswith(".sh"))
    return files | {"logo.bin": File(bytes(range(256)))}


BASE = _base()


@dataclass
class Side:
    """What one side makes of the old version."""

    name: str
    random: random.Random
    files: Files
    done: list[str] = field(default_factory=list)
    moved: dict[str, str | None] = field(default_factory=dict)  # rows of the table of moves
    renamed: dict[str, str] = field(default_factory=dict)  # what a new name was in the old version
    old: Mapping[str, File] = field(default_factory=dict)
    popular: list[str] = field(default_factory=list)  # what both sides like to edit
    count: int = 0

    def line(self) -> str:
        """A line that nobody else has."""
        self.count += 1
        return f"    {self.name}_{self.count} = '{self.name}'\n"

    def text_file(self) -> str | None:
        """A text to edit."""
        texts = [path for path, file in sorted(self.files.items()) if is_text(file)]
        popular = [path for path in texts if path in self.popular]
        chosen = popular if popular and self.random.random() < POPULARITY else texts
        return self.random.choice(chosen) if chosen else None

    def do(self, what: Callable[[Side, str], str]) -> None:
        """Do something to a file, and write down what."""
        path = self.text_file()
        if path is not None:
            self.done.append(f"{what(self, path)} {path}")


def is_text(file: File) -> bool:
    return b"\0" not in file.content


def _edit(side: Side, path: str) -> str:
    """Insert, replace, drop or move lines somewhere."""
    lines = side.files[path].content.decode().splitlines(keepends=True)
    what = side.random.choice(["insert", "replace", "drop", "move"])
    at, count = side.random.randint(0, len(lines)), side.random.randint(1, 4)
    if what == "insert":
        lines[at:at] = [side.line() for _ in range(count)]
    elif what == "replace":
        lines[at : at + count] = [side.line() for _ in range(count)]
    elif what == "drop":
        del lines[at : at + count]
    else:
        block = lines[at : at + count]
        del lines[at : at + count]
        to = side.random.randint(0, len(lines))
        lines[to:to] = block
    side.files[path] = replace(side.files[path], content="".join(lines).encode())
    return what


def _remove(side: Side, path: str) -> str:
    del side.files[path]
    return "remove"


def _rename(side: Side, path: str) -> str:
    target = str(Path(path).with_name(f"{side.name}_{Path(path).name}"))
    side.files[target] = side.files.pop(path)
    if origin := side.renamed.pop(path, path if path in side.old else None):
        side.renamed[target] = origin
    return "rename"


def _rename_with_row(side: Side, path: str) -> str:
    target = str(Path(path).with_name(f"{side.name}_{Path(path).name}"))
    if path not in side.old:
        return "leave"
    side.files[target] = side.files.pop(path)
    side.moved[path.replace("src/toy/", "src/{{ package_name }}/")] = target.replace(
        "src/toy/", "src/{{ package_name }}/"
    )
    return "rename with a row"


def _change_mode(side: Side, path: str) -> str:
    side.files[path] = replace(side.files[path], executable=not side.files[path].executable)
    return "change the mode of"


# Both sides choose from these, so that now and then they choose alike.
NAMES = (
    "src/toy/zeta.py",
    "src/toy/eta.py",
    "docs/notes.md",
    "tests/test_more.py",
    "extra/one/two.py",
)


def _add(side: Side, path: str) -> str:
    target = side.random.choice(NAMES)
    if target in side.files:
        return "leave"
    lines = [side.line() for _ in range(side.random.randint(1, 20))]
    side.files[target] = File("".join(lines).encode())
    return f"add {target} beside"


def _change_binary(side: Side, path: str) -> str:
    side.files["logo.bin"] = File(bytes(range(256)) + side.name.encode())
    return "change logo.bin beside"


FORMATS: dict[str, Callable[[str], str]] = {
    "quotes": lambda text: text.replace("'", '"'),
    "narrower": lambda text: re.sub(r"(?m)^    ", "  ", text),
    "trailing blanks": lambda text: text.replace("\n", "  \n"),
    "wrapped": lambda text: re.sub(r"(?m)^( *)(\w+) = (.*)$", r"\1\2 = (\n\1    \3\n\1)", text),
    "line ends": lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n"),
}


def _format(side: Side, path: str) -> str:
    """Rewrite every line of a file."""
    how = side.random.choice(sorted(FORMATS))
    text = FORMATS[how](side.files[path].content.decode())
    side.files[path] = replace(side.files[path], content=text.encode())
    return f"format ({how})"


THEIR_WAYS = [_edit] * 8 + [
    _remove,
    _rename,
    _rename_with_row,
    _rename_with_row,
    _change_mode,
    _add,
    _add,
    _change_binary,
]
MY_WAYS = [_edit] * 8 + [
    _remove,
    _rename,
    _change_mode,
    _add,
    _add,
    _format,
    _format,
    _change_binary,
]


@dataclass(frozen=True)
class Script:
    """What both sides did."""

    number: int
    mine: Side
    theirs: Side

    @classmethod
    def of(cls, number: int, base: Mapping[str, File] = BASE) -> Script:
        """The script of that number."""
        chance = random.Random(number)  # noqa: S311 (no secret)
        popular = chance.sample(sorted(path for path in base if is_text(base[path])), 4)
        sides = []
        for name, ways in (("mine", MY_WAYS), ("theirs", THEIR_WAYS)):
            side = Side(f"{name}_{number}", chance, dict(base), old=base, popular=popular)
            for _ in range(chance.randint(3, 10)):
                side.do(chance.choice(ways))
            sides.append(side)
        return cls(number, *sides)

    def successor(self, path: str) -> str | None:
        """Where a file of the old version is in the new one."""
        if path in self.theirs.files:
            return path
        row = path.replace("src/toy/", "src/{{ package_name }}/")
        target = self.theirs.moved.get(row)
        while target in self.theirs.moved:  # renamed twice
            target = self.theirs.moved[target]
        target = target.replace("src/{{ package_name }}/", "src/toy/") if target else None
        return target if target in self.theirs.files else None

    def __str__(self) -> str:
        return f"script {self.number}\n  mine: {self.mine.done}\n  theirs: {self.theirs.done}"


# --- running one ---------------------------------------------------------------------------------


def run_here(*arguments: str | Path) -> Ran:
    """Run the command in this process."""
    from tp35 import cli

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        argv, sys.argv = sys.argv, ["tp35", *map(str, arguments)]
        code: object = 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                cli.main()
        except SystemExit as stopped:
            code = stopped.code
        finally:
            sys.argv = argv
        texts = []
        for file in (out, err):
            file.flush()
            file.seek(0)
            texts.append(file.read())
    return Ran(code if isinstance(code, int) else int(code is not None), *texts)


@dataclass(frozen=True)
class Result:
    """How a script ended."""

    script: str
    wrong: list[str]
    unaided: bool  # nothing was left to do
    files_of_both: int  # files that both sides changed ...
    files_unaided: int  # ... and of which nothing was left to do


def read_files(folder: Path) -> Files:
    """A project's files."""
    return {
        path.relative_to(folder).as_posix(): File(
            path.read_bytes(), bool(path.stat().st_mode & 0o100)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


@dataclass(frozen=True)
class Ground:
    """A template, a project of it, and those of its files that the template has as they are."""

    template: Path
    project: Path
    base: Files

    @classmethod
    def build(cls, root: Path, *, real: bool = False) -> Ground:
        """Make them, of the files above or of the real template."""
        template = (
            real_template(root / "template") if real else old_template(root / "template", BASE)
        )
        fresh = started(render(template, root / "project", package_name="toy"))
        sources = {"template/" + path for path in read_files(template / "template")}
        base = {
            path: file
            for path, file in read_files(fresh).items()
            if as_template({path: file}).keys() <= sources
        }
        return cls(template, fresh, base)


def try_script(number: int, ground: Ground) -> Result:
    """Run a script on copies of the ground."""
    template, project, base = ground.template, ground.project, ground.base
    script = Script.of(number, base)
    with tempfile.TemporaryDirectory(prefix="edits-") as scratch:
        folder = Path(scratch)
        _release(template, folder / "template", script, base)
        ours = shutil.copytree(project, folder / "project", symlinks=True)
        answers = ours / ANSWERS_FILE
        answers.write_text(
            answers.read_text("utf-8").replace(str(template), str(folder / "template")), "utf-8"
        )
        write(ours, differences(base, script.mine.files))
        commit_all(ours, "my work")
        before = read_files(ours)
        ran = run_here("update", ours)
        after = read_files(ours)
        wrong = [*check(script, ran, before, after, base), *_check_again(ours, after)]
        touched = [path for path in base if _touched_by_both(script, path, base)]
        left = [path for path in touched if _is_left(path, script, ran, after)]
    return Result(str(script), wrong, ran.code == 0, len(touched), len(touched) - len(left))


def _release(template: Path, copy: Path, script: Script, base: Mapping[str, File]) -> None:
    """The template with the new version."""
    shutil.copytree(template, copy, symlinks=True)
    write(copy, differences(as_template(base), as_template(script.theirs.files)))
    rows = [{"from": old, "to": new} for old, new in script.theirs.moved.items()]
    (copy / "hooks/moves.yml").write_text(yaml.safe_dump({"2.0.0": rows} if rows else {}))
    commit_all(copy, NEW)
    git("tag", NEW, cwd=copy)


def _check_again(project: Path, after: Files) -> Iterator[str]:
    """A second update, of what was resolved and committed, changes nothing."""
    for path, file in after.items():
        if CONFLICT.search(file.content):
            (project / path).write_bytes(MARKERS.sub(b"", file.content))
    commit_all(project, "updated")
    before = read_files(project)
    ran = run_here("update", project)
    if ran.code:
        yield f"a second update ends with {ran.code}: {ran.out[-300:]} {ran.err[-300:]}"
    changed = differences(before, read_files(project))
    if changed:
        yield f"a second update changes {sorted(changed)}"


# --- what has to hold ----------------------------------------------------------------------------


def lines_of(file: File | None) -> list[bytes]:
    """The lines, without their ends."""
    return file.content.splitlines() if file and is_text(file) else []


def check(
    script: Script, ran: Ran, before: Files, after: Files, base: Mapping[str, File]
) -> Iterator[str]:
    """What is wrong with an update."""
    if "Traceback" in ran.err or ran.refusal or ran.code not in (0, 1):
        yield f"ends with {ran.code}: {ran.err[-500:]}"
        return
    yield from _nothing_of_mine_is_lost(script, after, base)
    yield from _nothing_of_theirs_is_missing(script, ran, after, base)
    yield from _what_went_stays_gone(script, ran, after, base)
    yield from _modes(script, ran, after, base)
    yield from _exit_code(script, ran, before, after, base)
    yield from _conflicts_are_real(script, after, base)


def _nothing_of_mine_is_lost(
    script: Script, after: Files, base: Mapping[str, File]
) -> Iterator[str]:
    everywhere = {line for file in after.values() for line in lines_of(file)}
    contents = {file.content for file in after.values()}
    for path, file in script.mine.files.items():
        if path in base and file.content == base[path].content:
            continue
        if not is_text(file):
            if file.content not in contents:
                yield f"the user's {path} is lost"
            continue
        own = path not in {*base, *script.theirs.files, *script.mine.renamed}
        if own and file.content not in contents:
            yield f"the user's own file {path} is nowhere as it was"
        origin = script.mine.renamed.get(path, path)
        lost = set(lines_of(file)) - set(lines_of(base.get(origin))) - everywhere
        if lost:
            yield f"of the user's {path} are lost: {sorted(lost)[:3]}"


def _named(path: str, ran: Ran) -> bool:
    return path in ran.out + ran.err


def _nothing_of_theirs_is_missing(
    script: Script, ran: Ran, after: Files, base: Mapping[str, File]
) -> Iterator[str]:
    everywhere = {line for file in after.values() for line in lines_of(file)}
    origins = {script.successor(path): path for path in base}
    for path, file in script.theirs.files.items():
        origin = origins.get(path, path)
        deleted = origin in base and origin not in {
            *script.mine.files,
            *script.mine.renamed.values(),
        }
        if not is_text(file) or deleted:
            continue
        new = set(lines_of(file)) - set(lines_of(base.get(origin)))
        missing = new - everywhere
        if missing and not (_is_reported(path, ran) or _is_reported(origin, ran)):
            yield f"of the template's {path} are missing, and nobody is told: {sorted(missing)[:3]}"


def _is_reported(path: str, ran: Ran) -> bool:
    """Whether the file is told of as one with something left to do, or as kept."""
    return any(
        path in line and re.search("conflict|kept|beside|left|moved|aside|you deleted it", line)
        for line in (ran.out + ran.err).splitlines()
    )


def _what_went_stays_gone(
    script: Script, ran: Ran, after: Files, base: Mapping[str, File]
) -> Iterator[str]:
    mine, theirs = script.mine.files, script.theirs.files
    for path, file in base.items():
        target = script.successor(path)
        if path not in mine and path in after and theirs.get(path) == file:
            yield f"{path} is back, which the user removed"
        if path not in theirs and mine.get(path) == file and path in after:
            yield f"{path} is still there, which the template removed"
        result = after.get(target or path)
        if path not in mine or target is None or result is None or CONFLICT.search(result.content):
            continue
        old, my, their = (set(lines_of(side)) for side in (file, mine[path], theirs[target]))
        here = set(lines_of(result))
        if _is_reported(path, ran) or _is_reported(target, ran):
            continue
        if back := (old - my) & here - _added(file, theirs[target]):
            yield f"lines of {path} are back, which the user dropped: {sorted(back)[:3]}"
        if still := (old - their) & here - _added(file, mine[path]):
            yield f"lines of {path} are there, which the template dropped: {sorted(still)[:3]}"


def _added(old: File, new: File) -> set[bytes]:
    """Lines that one of the ways to see the change calls new; a line that moves is one of them."""
    return {
        line
        for algorithm in ALGORITHMS
        for begin, end in _hunks(new.content, old.content, algorithm)
        for line in lines_of(new)[begin:end]
    }


def _modes(script: Script, ran: Ran, after: Files, base: Mapping[str, File]) -> Iterator[str]:
    mine, theirs = script.mine.files, script.theirs.files
    for path, file in base.items():
        target = script.successor(path)
        result = after.get(target or path)
        if path not in mine or target is None or result is None or _is_reported(path, ran):
            continue
        sides = {mine[path].executable, theirs[target].executable}
        wanted = sides - {file.executable} or sides
        if result.executable not in wanted:
            yield f"{target} is {'' if result.executable else 'not '}executable"


def _kept_aside(script: Script, before: Files, after: Files) -> set[str]:
    """Files that neither side has."""
    return after.keys() - before.keys() - script.theirs.files.keys()


def _exit_code(
    script: Script, ran: Ran, before: Files, after: Files, base: Mapping[str, File]
) -> Iterator[str]:
    marked = {path for path, file in after.items() if CONFLICT.search(file.content)}
    aside = _kept_aside(script, before, after)
    if (marked or aside) and ran.code != 1:
        yield f"left to do: {sorted(marked | aside)}, but the exit code is {ran.code}"
    if ran.code == 1 and not ran.err.strip():
        yield "the exit code is 1, and nobody is told why"
    for path in marked | aside:
        if not _named(path, ran):
            yield f"no word of {path}"
    if ran.code == 1 and not (marked or aside):
        # then a file must be there that one side removed or moved, and the other changed
        mine, theirs = script.mine.files, script.theirs.files
        one_sided = (mine.keys() ^ theirs.keys()) & base.keys() | (theirs.keys() - base.keys())
        if not one_sided:
            yield f"nothing is left to do, but the exit code is 1: {ran.err}"


ALGORITHMS = ("myers", "histogram")
Hunks = list[tuple[int, int]]


def _hunks(one: bytes, other: bytes, algorithm: str) -> Hunks:
    """The ranges of lines of the one that differ, as begin and end."""
    with tempfile.TemporaryDirectory(prefix="hunks-") as scratch:
        paths = [Path(scratch) / name for name in ("one", "other")]
        for path, content in zip(paths, (one, other), strict=True):
            path.write_bytes(content.replace(b"\r\n", b"\n"))
        shown = subprocess.run(
            ["git", "diff", "--no-index", "-U0", f"--diff-algorithm={algorithm}", *map(str, paths)],
            capture_output=True,
            text=True,
        ).stdout
    found = []
    for start, count in re.findall(r"(?m)^@@ -(\d+)(?:,(\d+))? ", shown):
        length = int(count or 1)
        begin = int(start) - (1 if length else 0)
        found.append((begin, begin + length))
    return found


def touching(base: bytes, mine: bytes, theirs: bytes) -> int:
    """How many changes of one side touch or adjoin one of the other."""
    found = []
    for algorithm in ALGORITHMS:
        mine_hunks, their_hunks = (_hunks(base, side, algorithm) for side in (mine, theirs))
        found.append(
            sum(
                1
                for begin, end in mine_hunks
                for other_begin, other_end in their_hunks
                if begin <= other_end and other_begin <= end
            )
        )
    return max(found)


def _conflicts_are_real(script: Script, after: Files, base: Mapping[str, File]) -> Iterator[str]:
    mine, theirs = script.mine.files, script.theirs.files
    origins: dict[str | None, list[str]] = {}
    for path in base:
        origins.setdefault(script.successor(path), []).append(path)
    for path, file in after.items():
        conflicts = len(CONFLICT.findall(file.content))
        if not conflicts:
            continue
        if path in mine and path in theirs and path not in base:
            continue  # both added it
        if origin := script.mine.renamed.get(path):
            sources, target = [(base[origin], mine[path])], script.successor(origin)
        else:
            sources = [(base[old], mine[old]) for old in origins.get(path, []) if old in mine]
            target = path
        if not sources or target not in theirs:
            if path in base and (path not in mine or path not in theirs):
                continue  # one side removed it, and the other changed it
            yield f"{path} conflicts, which only one side has"
            continue
        most = sum(touching(old.content, my.content, theirs[target].content) for old, my in sources)
        if path in mine and path not in base and not origin:
            continue  # the user's own file lies where the template moved one
        if conflicts > most:
            yield f"{path} has {conflicts} conflicts, and {most} changes touch each other"


def _touched_by_both(script: Script, path: str, base: Mapping[str, File]) -> bool:
    target = script.successor(path)
    names = {old: new for new, old in script.mine.renamed.items()}
    return script.mine.files.get(names.get(path, path)) != base[path] and (
        target != path or script.theirs.files[path] != base[path]
    )


def _is_left(path: str, script: Script, ran: Ran, after: Files) -> bool:
    """Whether something is left to do for a file."""
    names = [new for new, old in script.mine.renamed.items() if old == path]
    for place in (path, script.successor(path), *names):
        if place is None:
            continue
        if place in after and CONFLICT.search(after[place].content):
            return True
        if any(place + suffix in after for suffix in SUFFIXES):
            return True
        if re.search(rf"(?m)^{re.escape(place)}(:\d+)?: ", ran.err):
            return True
    return False


# --- all of them ---------------------------------------------------------------------------------


def _prepare_process(home: str) -> None:
    for key in [key for key in os.environ if key.startswith("GIT_")]:
        del os.environ[key]
    os.environ.update(GIT_ENVIRONMENT)
    os.environ["HOME"] = home
    os.environ["COLUMNS"] = "500"


def try_scripts(
    numbers: list[int], root: Path, jobs: int, *, real: bool = False
) -> Iterator[Result]:
    """Run scripts, over the toy's files or over the real template's."""
    ground = Ground.build(root, real=real)
    (root / "home").mkdir()
    home = (str(root / "home"),)
    with ProcessPoolExecutor(jobs, initializer=_prepare_process, initargs=home) as pool:
        yield from pool.map(try_script, numbers, [ground] * len(numbers))
