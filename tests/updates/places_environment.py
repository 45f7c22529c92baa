"""Places: variables of the environment, terminals, pipes and limits."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .places import Trial, nothing, place
from .stage import TIMEOUT_S, Ran, Skipped, Stage
from .toy import commit_all

# Variables that must change nothing; None takes one away. {root} is the stage.
VARIABLES: dict[str, Mapping[str, str | None]] = {
    "CI=true, NO_COLOR, TERM=dumb": {
        "CI": "true",
        "CLICOLOR": "0",
        "GITHUB_ACTIONS": "true",
        "NO_COLOR": "1",
        "TERM": "dumb",
    },
    "COLUMNS=20": {"COLUMNS": "20", "LINES": "5"},
    "editors, pagers and terminals that are none": {
        "EDITOR": "false",
        "GIT_ASKPASS": "false",
        "GIT_EDITOR": "false",
        "GIT_PAGER": "false",
        "GIT_SEQUENCE_EDITOR": "false",
        "PAGER": "false",
        "TERM": "nonsense",
        "VISUAL": "false",
    },
    "GIT_ATTR_SOURCE, GIT_CONFIG, GIT_TEMPLATE_DIR": {
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ATTR_SOURCE": "HEAD",
        "GIT_CONFIG": "/nowhere",
        "GIT_INDEX_VERSION": "4",
        "GIT_TEMPLATE_DIR": "/nowhere",
    },
    "GIT_AUTHOR_DATE nonsense": {"GIT_AUTHOR_DATE": "whenever", "GIT_COMMITTER_DATE": "whenever"},
    "GIT_AUTHOR_NAME empty": {"GIT_AUTHOR_NAME": "", "GIT_COMMITTER_EMAIL": ""},
    "GIT_CEILING_DIRECTORIES": {"GIT_CEILING_DIRECTORIES": "{root}/work:{root}/tmp:/tmp"},
    "GIT_CONFIG_COUNT": {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "status.showUntrackedFiles",
        "GIT_CONFIG_VALUE_0": "no",
        "GIT_CONFIG_KEY_1": "diff.noprefix",
        "GIT_CONFIG_VALUE_1": "true",
    },
    "GIT_CONFIG_GLOBAL missing": {"GIT_CONFIG_GLOBAL": "/nowhere"},
    "GIT_CONFIG_PARAMETERS": {"GIT_CONFIG_PARAMETERS": "'core.bare'='true' 'core.autocrlf'='true'"},
    "GIT_DEFAULT_HASH=sha256": {"GIT_DEFAULT_HASH": "sha256"},
    "GIT_DIFF_OPTS, GIT_EXTERNAL_DIFF": {"GIT_DIFF_OPTS": "-u0", "GIT_EXTERNAL_DIFF": "false"},
    "GIT_INDEX_FILE nonsense": {"GIT_INDEX_FILE": "/nowhere/index"},
    "GIT_INDEX_FILE of another repository": {"GIT_INDEX_FILE": "{root}/other/.git/index"},
    "GIT_LITERAL_PATHSPECS": {"GIT_LITERAL_PATHSPECS": "1"},
    "GIT_NOGLOB_PATHSPECS, GIT_ICASE_PATHSPECS": {
        "GIT_ICASE_PATHSPECS": "1",
        "GIT_NOGLOB_PATHSPECS": "1",
    },
    "GIT_PREFIX, GIT_NAMESPACE, GIT_SHALLOW_FILE": {
        "GIT_NAMESPACE": "elsewhere",
        "GIT_PREFIX": "nowhere/",
        "GIT_SHALLOW_FILE": "/nowhere",
    },
    "GIT_QUARANTINE_PATH": {"GIT_QUARANTINE_PATH": "/nowhere"},
    "GIT_REPLACE_REF_BASE": {"GIT_REPLACE_REF_BASE": "refs/heads/", "GIT_NO_REPLACE_OBJECTS": "1"},
    "GIT_TRACE": {"GIT_TRACE": "1", "GIT_TRACE_SETUP": "1", "GIT_CURL_VERBOSE": "1"},
    "HOME missing": {"HOME": "{root}/nowhere"},
    "HOME unset": {"HOME": None},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "LANG of a language, TZ": {
        "LANG": "de_DE.UTF-8",
        "LANGUAGE": "de",
        "LC_ALL": "de_DE.UTF-8",
        "TZ": "Pacific/Kiritimati",
    },
    "LANG=POSIX, ASCII output": {
        "LC_ALL": "POSIX",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii:backslashreplace",
        "PYTHONUTF8": "0",
    },
    "Python's own variables": {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "7",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "SOURCE_DATE_EPOCH": "1",
    },
    "PYTHONOPTIMIZE=2": {"PYTHONOPTIMIZE": "2"},
    "XDG folders with rules for Git": {
        "XDG_CACHE_HOME": "/nowhere",
        "XDG_CONFIG_HOME": "{root}/other/config",
        "XDG_DATA_HOME": "/nowhere",
    },
}
# Variables that say where the repository is: the project's own is taken, or they are named.
POINTERS: dict[str, Mapping[str, str]] = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": {"GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nowhere"},
    "GIT_COMMON_DIR": {"GIT_COMMON_DIR": "/nowhere"},
    "GIT_DIR of another repository": {"GIT_DIR": "{root}/other/.git"},
    "GIT_DIR, GIT_WORK_TREE of another repository": {
        "GIT_DIR": "{root}/other/.git",
        "GIT_WORK_TREE": "{root}/other",
    },
    "GIT_DIR nonsense": {"GIT_DIR": "/nowhere"},
    "GIT_EXEC_PATH nonsense": {"GIT_EXEC_PATH": "/nowhere"},
    "GIT_OBJECT_DIRECTORY nonsense": {"GIT_OBJECT_DIRECTORY": "/nowhere"},
    "GIT_OBJECT_DIRECTORY of another": {"GIT_OBJECT_DIRECTORY": "{root}/other/.git/objects"},
    "GIT_WORK_TREE nonsense": {"GIT_WORK_TREE": "/nowhere"},
    "GIT_DIR and GIT_WORK_TREE of the project itself": {
        "GIT_DIR": "{root}/work/project/.git",
        "GIT_WORK_TREE": "{root}/work/project",
    },
}


def _with(variables: Mapping[str, str | None]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        other = stage.root / "other"
        other.mkdir()
        (other / "file").write_text("other\n")
        stage.git("init", "--quiet", cwd=other)
        commit_all(other)
        (other / "config/git").mkdir(parents=True)
        (other / "config/git/ignore").write_text("*.py\n")
        (other / "config/git/attributes").write_text("* binary\n")
        for key, value in variables.items():
            if value is None:
                del stage.environment[key]
            else:
                stage.environment[key] = value.format(root=stage.root)

    return prepare


for name, variables in VARIABLES.items():
    # a name that ASCII cannot say is escaped
    place(name, words="LANG" in name)(_with(variables))


for name, pointers in POINTERS.items():
    place(name, refusal="GIT_|not a git command")(_with(pointers))


@place("a bare repository of dot files (GIT_DIR, GIT_WORK_TREE)", refusal="Git|repository")
def _(stage: Stage) -> None:
    (stage.project / ".git").rename(stage.home / "dotfiles.git")
    stage.environment["GIT_DIR"] = str(stage.home / "dotfiles.git")
    stage.environment["GIT_WORK_TREE"] = str(stage.project)


@place("Copier's settings are broken", refusal="settings")
def _(stage: Stage) -> None:
    settings = stage.root / "settings.yml"
    settings.write_text("defaults: [\n")
    stage.environment["COPIER_SETTINGS_PATH"] = str(settings)


@place("Copier's settings are of a wrong type", refusal="settings")
def _(stage: Stage) -> None:
    settings = stage.root / "settings.yml"
    settings.write_text("- 1\n")
    stage.environment["COPIER_SETTINGS_PATH"] = str(settings)


@place("Copier's settings have other defaults")
def _(stage: Stage) -> None:
    settings = stage.root / "settings.yml"
    settings.write_text("defaults: {project_name: Another, package_name: another}\n")
    stage.environment["COPIER_SETTINGS_PATH"] = str(settings)


@place("HOME cannot be written")
def _(stage: Stage) -> None:
    stage.home.chmod(0o555)


@place("HOME cannot be read", refusal="config|HOME|[Pp]ermission")
def _(stage: Stage) -> None:
    stage.home.chmod(0o000)


@place("TMPDIR missing")
def _(stage: Stage) -> None:
    stage.environment["TMPDIR"] = str(stage.root / "nowhere")


@place("TMPDIR cannot be written")
def _(stage: Stage) -> None:
    stage.tmp.chmod(0o555)


@place("TMPDIR on another file system")
def _(stage: Stage) -> None:
    mount(stage, stage.tmp, "64m")


@place("TMPDIR full", refusal="space|full|ENOSPC|writ")
def _(stage: Stage) -> None:
    mount(stage, stage.tmp, "16k")


@place("TMPDIR may hold no programs (noexec)")
def _(stage: Stage) -> None:
    mount(stage, stage.tmp, "64m", "noexec")


@place("TMPDIR beneath the project")
def _(stage: Stage) -> None:
    (stage.project / "runs/tmp").mkdir()
    stage.environment["TMPDIR"] = str(stage.project / "runs/tmp")


@place("TMPDIR within another repository, with hooks and rules")
def _(stage: Stage) -> None:
    stage.git("init", "--quiet", cwd=stage.tmp)
    (stage.tmp / ".gitattributes").write_text("* text eol=crlf\n")
    (stage.tmp / ".gitignore").write_text("*\n")
    commit_all(stage.tmp)


@place("TMPDIR is a link, with a blank")
def _(stage: Stage) -> None:
    (stage.root / "another tmp").mkdir()
    stage.tmp.rmdir()
    stage.tmp.symlink_to("another tmp")


def mount(stage: Stage, folder: Path, size: str, options: str = "rw") -> None:
    """A file system of its own at a folder; whatever lies there already is carried along."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        raise Skipped("needs root to mount a file system")
    aside = folder.with_name(f"{folder.name} aside")
    folder.rename(aside)
    folder.mkdir()
    command = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={size},{options},mode=0755",
        "tmpfs",
        str(folder),
    ]
    if subprocess.run(command, capture_output=True).returncode:
        raise Skipped("mounting is not allowed here")
    stage.undo.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
    shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(aside)


@place("PATH without Git", refusal="[Gg]it is not installed")
def _(stage: Stage) -> None:
    stage.environment["PATH"] = str(stage.root / "scripts")
    (stage.root / "scripts").mkdir()
    stage.wrapper = [shutil.which("env") or "env", *stage.wrapper]


@place("a Git that fails at everything", refusal="git")
def _(stage: Stage) -> None:
    stage.script(stage.root / "scripts/git", "echo git is out of order >&2\nexit 1\n")
    stage.environment["PATH"] = f"{stage.root / 'scripts'}:{stage.environment['PATH']}"


def _shell(text: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.wrapper = ["sh", "-c", f'{text}; exec "$@"', "sh"]

    return prepare


place("umask 077", modes=True)(_shell("umask 077"))
place("umask 002", modes=True)(_shell("umask 002"))
place("umask 777", refusal="[Pp]ermission|umask", modes=True)(_shell("umask 777"))
place("no file may grow beyond 8 KiB", refusal="[Ff]ile|git")(_shell("ulimit -f 16"))
place("no more than 40 open files")(_shell("ulimit -n 40"))
place("standard input closed")(_shell("exec <&-"))
place("nothing is buffered for a core dump")(_shell("ulimit -c 0"))
place("low priority")(_shell("renice -n 19 $$ >/dev/null"))
place("signals are ignored (nohup)")(_shell("trap '' HUP INT TERM"))


@place("called in a folder that is gone", refusal="folder|current|working")
def _(stage: Stage) -> None:
    stage.wrapper = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone; exec "$@"', "sh"]


@place("called in the project, without a name")
def _(stage: Stage) -> None:
    stage.cwd, stage.argument = stage.project, "."


@place("called in the project's package, by ..")
def _(stage: Stage) -> None:
    stage.cwd, stage.argument = stage.project / "src/toy", "../.."


@place("called in a folder with modules named as those of Python")
def _(stage: Stage) -> None:
    for name in ("yaml", "copier", "git", "tempfile", "stat"):
        (stage.work / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    stage.environment["PYTHONSAFEPATH"] = "1"


# --- where the output goes -----------------------------------------------------------------------


def _on_a_terminal(stage: Stage, dry: bool) -> Ran:
    """Run it on a terminal of 60 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        stage.command(*(["--dry-run"] if dry else [])),
        cwd=stage.cwd, env={**stage.environment, "COLUMNS": "60"},
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end was closed
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    err = process.communicate(timeout=TIMEOUT_S)[1]
    return Ran(process.returncode, shown.decode(), err.decode())


@place("on a terminal", words=True, run=_on_a_terminal)
def _(stage: Stage) -> None:
    stage.environment["TERM"] = "xterm-256color"


def _to(text: str) -> Callable[[Stage, bool], Ran]:
    """Run it in a shell that does something with its output; gives the command's own exit code."""

    def run(stage: Stage, dry: bool) -> Ran:
        done = subprocess.run(
            ["bash", "-c", text, "bash", *stage.command(*(["--dry-run"] if dry else []))],
            cwd=stage.cwd, env=stage.environment, capture_output=True, timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def _files_as_plain(trial: Trial) -> Iterator[str]:
    """Whatever became of the words, the update was made, or nothing was."""
    mine = trial.stage.files(trial.after)
    after = {path: found.content for path, found in mine.items()}
    wanted = trial.plain.before if trial.dry else trial.plain.after
    if after != {path: found.content for path, found in wanted.items()}:
        yield "the files are not those of a plain update"
    if len(trial.ran.err.strip().splitlines()) > max(1, len(trial.plain.real.err.splitlines())):
        yield f"says {trial.ran.err!r}"


for name, text in {
    "into head -1": '"$@" | head -n 1; exit "${PIPESTATUS[0]}"',
    "into a pipe that nobody reads": '"$@" | true; exit "${PIPESTATUS[0]}"',
    "standard output closed": '"$@" >&-',
    "standard output and error closed": '"$@" >&- 2>&-',
    "into a full disk": '"$@" >/dev/full',
}.items():
    place(name, refusal="output|pipe|space|descriptor", check=_files_as_plain, run=_to(text))(
        nothing
    )
