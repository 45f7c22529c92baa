"""The few Git commands tp35 needs, and the environments they run in.

Three kinds of repository are asked. The user's own, of which nothing is ever changed but what an
update registers at its end. The template's, which is fetched with the user's credentials, proxies
and rewritten addresses. And scratch repositories of ours, where nobody's settings count.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tp35 import origin
from tp35.problems import Problem, one_line

# What Git sets for a hook, and whoever exports it, means another repository or commit than those
# that are asked for here (`git rev-parse --local-env-vars`). The ways of giving settings do not.
OF_ANOTHER_REPOSITORY = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_AUTHOR_DATE",
        "GIT_CEILING_DIRECTORIES",
        "GIT_COMMITTER_DATE",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_LITERAL_PATHSPECS",
        "GIT_GLOB_PATHSPECS",
        "GIT_ICASE_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
# A template's files are read as they were committed, whatever the machine makes of line endings.
AS_COMMITTED = {"core.autocrlf": "false", "core.eol": "lf", "core.fsmonitor": "false"}

NO_HOOKS = {"core.hooksPath": os.devnull}


def environment() -> dict[str, str]:
    """The user's environment without what a hook or another repository put there."""
    env = {key: value for key, value in os.environ.items() if key not in OF_ANOTHER_REPOSITORY}
    # Asking must not write: `git status` would renew the index.
    env["GIT_OPTIONAL_LOCKS"] = "0"
    if not sys.stdin or not sys.stdin.isatty():
        env.setdefault("GIT_TERMINAL_PROMPT", "0")
    # Explanations are read below, and in English.
    return env | {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}


def fetching_environment() -> dict[str, str]:
    """The user's environment for fetching a template."""
    return _with_settings(environment(), AS_COMMITTED | NO_HOOKS)


def own_environment() -> dict[str, str]:
    """An environment for repositories of ours: nobody's settings, hooks or name."""
    env = {key: value for key, value in environment().items() if not key.startswith("GIT_")}
    env |= {
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TEMPLATE_DIR": "",
        "GIT_TERMINAL_PROMPT": "0",
    }
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "tp35", f"GIT_{who}_EMAIL": "tp35@localhost"}
    settings = {
        "core.attributesFile": os.devnull,
        "core.excludesFile": os.devnull,
        "protocol.file.allow": "always",
        "safe.directory": "*",
    }
    return _with_settings(env, AS_COMMITTED | NO_HOOKS | settings)


def _with_settings(env: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that win over every file, behind those that the environment has."""
    given = env.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdecimal() else 0
    added = dict(env)
    for number, (key, value) in enumerate(settings.items(), start=count):
        added |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return added | {"GIT_CONFIG_COUNT": str(count + len(settings))}


@contextmanager
def in_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Let Copier, which runs Git in this process, do so in one of these environments."""
    from plumbum import local

    # Its copy of the environment is made when it is imported.
    with local.env():
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(env)
        local.env.clear()
        local.env.update(env)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def available() -> bool:
    """Whether Git is installed."""
    return shutil.which("git") is not None


def _start(
    arguments: tuple[str, ...], cwd: Path, stdin: bytes, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            env=environment() if env is None else dict(env),
        )
    except FileNotFoundError as error:
        if not cwd.is_dir():
            raise Problem(f"{cwd} is no folder") from error
        raise Problem("git is not installed or not on PATH") from error


def run(
    *arguments: str,
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    about: str = "",
) -> str:
    """Run Git and give what it printed, with paths as Python's own.

    Args:
        arguments: What follows `git`.
        cwd: The folder it runs in.
        stdin: What it reads.
        env: Its environment; the user's, apart from other repositories, where there is none.
        about: What it is about, if that is not the folder.

    Raises:
        Problem: Git failed; the message is all it said, and what helps.
    """
    done = _start(arguments, cwd, stdin, env)
    if done.returncode:
        settings = 2 if arguments[0] == "-c" else 0
        what = arguments[settings]
        raise Problem(explained(f"git {what}", done.stderr, about or cwd))
    return os.fsdecode(done.stdout)


def output(*arguments: str, cwd: Path) -> bytes:
    """What Git printed, byte for byte."""
    done = _start(arguments, cwd, b"", None)
    if done.returncode:
        raise Problem(explained(f"git {arguments[0]}", done.stderr, cwd))
    return done.stdout


def succeeds(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether a Git command can do what it is asked."""
    return _start(arguments, cwd, b"", env).returncode == 0


def says_yes(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> bool:
    """What Git answers to a question, with 0 for yes and 1 for no.

    Raises:
        Problem: It does not answer.
    """
    done = _start(arguments, cwd, b"", env)
    if done.returncode not in {0, 1}:
        raise Problem(explained(f"git {arguments[0]}", done.stderr, cwd))
    return done.returncode == 0


def has_commit(folder: Path, ref: str = "HEAD") -> bool:
    """Whether a repository has a commit of that name."""
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return says_yes(*asked, cwd=folder)


def has_file(commit: str, path: str, cwd: Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether there is a file at a commit, by its path from a folder."""
    return bool(run("ls-tree", "-z", "--name-only", commit, "--", path, cwd=cwd, env=env))


# What helps, and what Git says then.
REMEDIES = {
    "the repository belongs to another user; if you trust it, run: git config --global --add "
    "safe.directory {path}": r"detected dubious ownership in repository at '(?P<path>[^']*)'",
    "a credential is missing or refused; give it to git's credential helper": (
        r"could not read (Username|Password)|terminal prompts disabled|Authentication failed"
        r"|HTTP Basic: Access denied|error: 40[13]"
    ),
    "SSH refused; load a key that the host knows (ssh-add), and try `ssh -T` to the host": (
        r"Permission denied \(publickey|Host key verification failed"
    ),
    "the host cannot be reached; look at the network, the proxy and the address": (
        r"Could not resolve|unable to access|Connection (refused|timed out)|unable to connect"
        r"|Network is unreachable|Failed to connect|Could not connect|No route to host"
    ),
    "there is no such repository, or you may not read it": (
        r"does not appear to be a git repository|[Rr]epository .*not found|does not exist"
    ),
    "another git process is at work there; wait for it, or remove the lock": r"index\.lock",
    "make room on the disk": r"No space left on device",
}


def explained(command: str, said: bytes | str, where: Path | str = "") -> str:
    """Git's whole explanation as one line, with the remedy in front where there is one."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    text = one_line(origin.redacted(text)) or "no message"
    failed = f"{command} failed: {where}" if where else f"{command} failed"
    for remedy, pattern in REMEDIES.items():
        if found := re.search(pattern, text):
            named = {key: value or "" for key, value in found.groupdict().items()}
            return f"{failed}: {remedy.format(**named)} (git says: {text})"
    return f"{failed}: {text}"


# --- the user's repository ----------------------------------------------------------------------


def top_of_repository(folder: Path) -> Path | None:
    """The root of the repository that holds a folder, if any does.

    Raises:
        Problem: There is one that Git refuses to read.
    """
    done = _start(("rev-parse", "--show-toplevel"), folder, b"", None)
    if done.returncode:
        if b"not a git repository" in done.stderr or b"must be run in a work tree" in done.stderr:
            return None
        raise Problem(explained("git rev-parse", done.stderr, folder))
    return Path(os.fsdecode(done.stdout).removesuffix("\n")).resolve()


def is_top_of_repository(folder: Path) -> bool:
    """Whether a folder is the root of a Git repository."""
    return top_of_repository(folder) == folder.resolve()


@dataclass(frozen=True)
class Tracked:
    """What the index knows of a file."""

    executable: bool
    present: bool  # False where a sparse checkout leaves the file out


def tracked_files(folder: Path) -> dict[str, Tracked]:
    """The files under a folder that Git tracks; nested repositories are none."""
    listed = run("ls-files", "-z", "-t", "--stage", cwd=folder)
    found = {}
    for line in filter(None, listed.split("\0")):
        facts, _, path = line.partition("\t")
        tag, mode, *_ = facts.split(" ")
        if mode != "160000":
            found[path] = Tracked(executable=mode == "100755", present=tag != "S")
    return found


def untracked_files(folder: Path) -> set[str]:
    """The files under a folder that Git neither tracks nor ignores."""
    listed = run("ls-files", "-z", "--others", "--exclude-standard", cwd=folder)
    return {path for path in listed.split("\0") if path and not path.endswith("/")}


def own_files(folder: Path) -> set[str]:
    """The files under a folder that Git does not ignore."""
    return set(tracked_files(folder)) | untracked_files(folder)


def changed_files(folder: Path, since: str = "HEAD") -> set[str]:
    """The files under a folder that differ from a commit, new ones included."""
    changed = run(
        "diff",
        "--relative",
        "--name-only",
        "--no-ext-diff",
        "--no-renames",
        "-z",
        since,
        cwd=folder,
    )
    return {path for path in changed.split("\0") if path} | untracked_files(folder)


def is_dirty(folder: Path) -> bool:
    """Whether a folder holds anything that is not committed (ignored files aside)."""
    said = run("status", "--porcelain", "-z", "--untracked-files=normal", "--", ".", cwd=folder)
    return bool(said)


def index_to_be_written(folder: Path) -> Path:
    """The file in which conflicts are to be registered.

    Raises:
        Problem: Another process is at work in it, or there is no permission.
    """
    said = run("rev-parse", "--git-path", "index.lock", cwd=folder).removesuffix("\n")
    lock = folder / said
    if lock.exists():
        raise Problem(f"another git process is at work: {lock} is there; wait, or remove it")
    for place in (
        lock.parent,
        folder / run("rev-parse", "--git-path", "objects", cwd=folder).strip(),
    ):
        if not os.access(place, os.W_OK | os.X_OK):
            raise Problem(f"no permission to write into {place}, to register conflicts there")
    return lock.with_name("index")


def setting(name: str, folder: Path) -> str:
    """The value of a setting in a repository; empty where there is none."""
    done = _start(("config", "--get", name), folder, b"", None)
    return os.fsdecode(done.stdout).strip()


def has_history(folder: Path) -> bool:
    """Whether older commits are here; looking for those that are not would fetch them."""
    shallow = run("rev-parse", "--is-shallow-repository", cwd=folder).strip() == "true"
    return not shallow and not setting("extensions.partialClone", folder)


def past_versions(path: str, folder: Path) -> list[tuple[str, str]]:
    """The commits that changed a file, newest first, each with the file's text there."""
    return [
        (commit, run("cat-file", "blob", f"{commit}:./{path}", cwd=folder))
        for commit in run("log", "--format=%H", "--", path, cwd=folder).split()
        if has_file(commit, path, folder)
    ]


def describe(folder: Path) -> str:
    """The checked-out commit as Copier writes it into the answers file."""
    return run("describe", "--tags", "--always", "HEAD", cwd=folder).strip()
