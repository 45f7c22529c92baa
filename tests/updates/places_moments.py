"""Places: in hooks of Git, twice at once, and interrupted in the midst."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .places import Trial, nothing, place
from .stage import TIMEOUT_S, Ran, Stage, Wrong, unprivileged
from .toy import commit_all

# --- in hooks ------------------------------------------------------------------------------------

# The dry run, between two looks at everything.
HOOK = """\
look() {{ find {world} -type f -exec sha256sum {{}} + | sort; }}
look >{scripts}/before
{command} --dry-run >{scripts}/out 2>{scripts}/err
echo $? >{scripts}/code
look >{scripts}/after
"""


def _install(stage: Stage, hook: str, argument: str) -> None:
    """A hook that tries an update; the file `staged.txt` waits to be committed."""
    scripts = stage.root / "scripts"
    scripts.mkdir()
    command = " ".join(f"'{word}'" for word in stage.tp35())
    world = f"{stage.work} {stage.home} {stage.tmp}"
    text = HOOK.format(world=world, scripts=scripts, command=f"{command} {argument}")
    stage.globally(
        {"user.name": "Test", "user.email": "test@example.org", "commit.gpgSign": "false"}
    )
    (stage.project / "staged.txt").write_text("before\n")
    commit_all(stage.project)
    stage.script(stage.project / ".git/hooks" / hook, text)
    (stage.project / "staged.txt").write_text("after\n")


def _run_git(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*unprivileged(), "git", *arguments], cwd=stage.project, env=stage.environment,
        capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip


def _commit_in_hook(hook: str, argument: str, add: bool, *command: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        _install(stage, hook, argument)
        if add:
            stage.git("add", "staged.txt")
        before = stage.git("ls-files").split()
        done = _run_git(stage, *command)
        if done.returncode:
            raise Wrong(f"git {command[0]} fails: {done.stderr.strip()[-300:]}")
        scripts = stage.root / "scripts"
        if (scripts / "before").read_text() != (scripts / "after").read_text():
            raise Wrong("the dry run in the hook changed files")
        if stage.git("ls-tree", "-r", "--name-only", "HEAD").split() != before:
            raise Wrong("the commit does not hold the files that it should")
        if stage.git("diff", "--name-only", "HEAD^", "HEAD").split() != ["staged.txt"]:
            raise Wrong("the commit holds other changes than the user's")

    return prepare


def _as_the_hook_saw(stage: Stage, dry: bool) -> Ran:
    """What the dry run in the hook said; an update is run outside of it."""
    if not dry:
        return stage.update()
    code, out, err = (
        (stage.root / "scripts" / name).read_text() for name in ("code", "out", "err")
    )
    return Ran(int(code), out, err)


for name, hook, argument, add, command in (
    ("git commit", "pre-commit", ".", True, ("commit", "--quiet", "-m", "mine")),
    ("git commit -a", "pre-commit", ".", False, ("commit", "--quiet", "-a", "-m", "mine")),
    (
        "git commit --only",
        "pre-commit",
        ".",
        False,
        ("commit", "--quiet", "-m", "mine", "--only", "staged.txt"),
    ),
    (
        "git commit --amend's message",
        "commit-msg",
        '"$PWD"',
        True,
        ("commit", "--quiet", "-m", "mine"),
    ),
    ("after git commit", "post-commit", ".", True, ("commit", "--quiet", "-m", "mine")),
):
    place(f"in the hook {hook}, {name}", run=_as_the_hook_saw)(
        _commit_in_hook(hook, argument, add, *command)
    )


def _by_an_alias(stage: Stage, dry: bool) -> Ran:
    done = _run_git(stage, "tp35", *(["--dry-run"] if dry else []))
    return Ran(done.returncode, done.stdout, done.stderr)


def _add_alias(stage: Stage) -> None:
    command = " ".join(f"'{word}'" for word in stage.tp35())
    stage.globally({"alias.tp35": f"!{command}"})


@place("as an alias of Git", run=_by_an_alias)
def _(stage: Stage) -> None:
    _add_alias(stage)


@place("as an alias of Git, in a second worktree", run=_by_an_alias)
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("worktree", "add", "--quiet", "--detach", stage.project, cwd=whole)
    for name in ("runs", "last.log"):
        (whole / name).rename(stage.project / name)
    _add_alias(stage)


# --- twice at once -------------------------------------------------------------------------------


def _start(stage: Stage, dry: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        stage.command(*(["--dry-run"] if dry else [])), cwd=stage.cwd, env=stage.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _finished(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Ran(process.returncode, out, err)


def _twice(stage: Stage, dry: bool, delay_s: float = 0) -> Ran:
    """Start two; what the one that went through said."""
    processes = [_start(stage, dry)]
    time.sleep(delay_s)
    processes.append(_start(stage, dry))
    both = [_finished(process) for process in processes]
    refused = [ran for ran in both if ran.refusal]
    done = [ran for ran in both if not ran.refusal]
    if not done or (dry and refused):
        raise Wrong(f"of two at once are refused: {[ran.refusal for ran in refused]}")
    if dry and done[0] != done[1]:
        raise Wrong("two dry runs at once say different things")
    for ran in both:
        if "Traceback" in ran.err:
            raise Wrong(f"two at once: {ran.err.strip().splitlines()[-1]}")
    return done[0]


for delay_s in (0, 0.05, 0.2):
    place(f"two at once, {delay_s} s apart", run=partial(_twice, delay_s=delay_s))(nothing)


# --- interrupted ---------------------------------------------------------------------------------

MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)


def _processes_of(stage: Stage) -> list[int]:
    """The processes whose home is the stage's; children of children, too."""
    mine = f"HOME={stage.home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def _check_none_left(stage: Stage) -> None:
    for _ in range(50):
        if not _processes_of(stage):
            return
        time.sleep(0.1)
    left = _processes_of(stage)
    for process in left:
        os.kill(process, signal.SIGKILL)
    raise Wrong(f"{len(left)} processes are left")


def _write_begins(stage: Stage) -> Callable[[], bool]:
    """Whether any file of the project is another one than now."""
    watched = [stage.project / name for name in stage.files(stage.snapshot())]
    made = [stage.project / "docs/new", stage.project / "src/toy/fresh.py"]
    times = [path.lstat().st_mtime_ns for path in watched]

    def begun() -> bool:
        try:
            return any(path.exists() for path in made) or times != [
                path.lstat().st_mtime_ns for path in watched
            ]
        except OSError:
            return True

    return begun


def _interrupt(stage: Stage, dry: bool, number: signal.Signals, everyone: bool) -> Ran:
    """Send a signal at each moment in turn, while the project is as before."""
    started = time.monotonic()
    if (whole := stage.update("--dry-run")).code > 1:
        raise Wrong(f"a dry run fails: {whole.err}")
    takes_s, ran = time.monotonic() - started, whole
    before = stage.snapshot()
    for moment in (*MOMENTS, None):
        begun = _write_begins(stage)
        process = _start(stage, dry)
        if moment is None:
            while process.poll() is None and not begun():
                pass
        else:
            time.sleep(takes_s * moment)
        if process.poll() is None:
            (os.killpg if everyone else os.kill)(process.pid, number)
        ran = _finished(process)
        _check_none_left(stage)
        if "Traceback" in ran.err or ran.err.count("tp35: ") > 1:
            raise Wrong(f"at {moment}: {ran.err.strip()[-300:]}")
        after = stage.snapshot()
        if after != before:
            return ran
        if ran.code == 0 and not dry:
            raise Wrong(f"at {moment}: exit code 0, and nothing is new")
    return ran


def _old_or_new(trial: Trial) -> Iterator[str]:
    mine, plain = trial.stage.files(trial.after), trial.plain
    contents = {path: found.content for path, found in mine.items()}
    old = {path: found.content for path, found in plain.before.items()}
    new = {path: found.content for path, found in plain.after.items()}
    if trial.dry and contents != old:
        yield "a dry run changed files"
    elif contents not in (old, new):
        changed = [path for path in old.keys() | new.keys() if contents.get(path) != old.get(path)]
        missing = [path for path in old.keys() | new.keys() if contents.get(path) != new.get(path)]
        strange = sorted(contents.keys() - old.keys() - new.keys())
        yield f"neither old nor new: {len(changed)} are new, {len(missing)} old, besides {strange}"


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    for everyone in (False, True):
        place(
            f"{number.name} to {'all its processes' if everyone else 'the process'}",
            refusal="interrupt|terminat|stopp|signal",
            check=_old_or_new,
            run=partial(_interrupt, number=number, everyone=everyone),
        )(nothing)
