"""Places: where a project lies, what lies there besides, and who may write it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from .places import Trial, place
from .places_environment import mount
from .stage import Skipped, Stage
from .toy import ANSWERS_FILE, NEW_FILES, commit_all

ANOTHER = 12345  # no user of this machine
NEW_PAGE = "docs/new/page.md"


def give_to_another(stage: Stage, folder: Path, *, writable: bool) -> None:
    """Let everything under a folder belong to another user, and to the group of whoever runs."""
    if os.geteuid() != 0:
        raise Skipped("needs root to give files away")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, ANOTHER, os.getegid(), follow_symlinks=False)
        if path.is_symlink():
            continue
        mode = path.stat().st_mode & 0o7777
        path.chmod(mode | 0o060 | (mode & 0o100) >> 3 if writable else mode & ~0o022)


# --- names and places of the project's folder ----------------------------------------------------

NAMES = {
    "blanks, quotes and a line feed": """with ' and " and\na line feed """,
    "Jinja, shell and format signs": "{{ x }} {% raw %} $(y) `z` %s {0}",
    "ünïcödé, 漢字": "ünïcödé, 漢字 \u202e",
    "-leading-dash": "-leading-dash",
    "signs of Git's patterns": ":(glob)[a]*?!#~",
    "a colon, a dot in front": ".a:b",
    "200 characters": "n" * 200,
    "60 folders deep": "a/" * 60 + "deep",
    "a tag of the template": "v2.0.0",
}
for name, folder in NAMES.items():

    def _named(stage: Stage, folder: str = folder) -> None:
        stage.move_project(stage.work / folder)

    place(f"a folder's name: {name}")(_named)


@place("folder of bytes that are not UTF-8", refusal="UTF-8|name|encod")
def _(stage: Stage) -> None:
    stage.move_project(stage.work / os.fsdecode(b"caf\xe9"))


@place("folder of bytes that are not UTF-8, named from within", refusal="UTF-8|name|encod")
def _(stage: Stage) -> None:
    stage.move_project(stage.work / os.fsdecode(b"caf\xe9"))
    stage.cwd, stage.argument = stage.project, "."


@place("a leading dash, named relatively")
def _(stage: Stage) -> None:
    stage.move_project(stage.work / "--dry")
    stage.argument = "--dry"


@place("a link to the project")
def _(stage: Stage) -> None:
    (stage.work / "link").symlink_to("project")
    stage.argument = "link"


@place("a link on the way to the project")
def _(stage: Stage) -> None:
    (stage.root / "link").symlink_to("work")
    stage.argument = str(stage.root / "link/project")


@place("a link to a project in a larger repository, called from there")
def _(stage: Stage) -> None:
    stage.move_into_repository(stage.work / "repository")
    (stage.work / "link").symlink_to("repository/apps/project")
    stage.cwd, stage.argument = stage.work / "link", "."


# --- what lies around it -------------------------------------------------------------------------


@place("a folder of a larger repository")
def _(stage: Stage) -> None:
    stage.move_into_repository(stage.work / "repository")


@place("a folder with blanks, dashes and ü of a larger repository")
def _(stage: Stage) -> None:
    stage.move_into_repository(stage.work / "repository", "ü b/-apps/[x]/pro ject")


@place("a larger repository with 300 files and a repository that are untracked")
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    (repository / "results").mkdir()
    for number in range(300):
        (repository / f"results/{number}.bin").write_bytes(os.urandom(64))
    nested = repository / "nested"
    nested.mkdir()
    stage.git("init", "--quiet", cwd=nested)
    (nested / "file").write_text("not committed\n")


@place("a larger repository with changes beside the project, staged and not")
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    (repository / "other/1.txt").write_text("staged\n")
    (repository / "other/new.txt").write_text("staged\n")
    stage.git("add", "--all", cwd=repository)
    (repository / "other/1.txt").write_text("not staged\n")
    (repository / "other/2.txt").unlink()


@place("a larger repository that ignores the project's folder", refusal="ignore|commit|Git")
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    stage.git("rm", "-r", "--quiet", "--cached", "apps", cwd=repository)
    (repository / ".gitignore").write_text("/apps/\n")
    commit_all(repository)


@place("a larger repository that does not know the project", refusal="commit")
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    stage.git("rm", "-r", "--quiet", "--cached", "apps", cwd=repository)
    stage.git("commit", "--quiet", "-m", "without", cwd=repository)


@place(
    "a larger repository with attributes (* -text, crlf for all)", line_ends=True, plain_stages=True
)
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    (repository / ".gitattributes").write_text("* text=auto eol=crlf\n*.md -text\n")
    commit_all(repository)


@place("an untracked repository within the project")
def _(stage: Stage) -> None:
    nested = stage.project / "ignored/nested"
    nested.mkdir(parents=True)
    stage.git("init", "--quiet", cwd=nested)
    (nested / "file").write_text("not committed\n")


@place("ignored files that nobody may read")
def _(stage: Stage) -> None:
    secret = stage.project / "ignored/secret"
    secret.mkdir(parents=True)
    (secret / "key").write_text("key\n")
    (secret / "key").chmod(0o000)
    secret.chmod(0o000)


@place("20,000 ignored files")
def _(stage: Stage) -> None:
    for folder in range(20):
        (stage.project / f"ignored/{folder}").mkdir(parents=True)
        for number in range(1000):
            (stage.project / f"ignored/{folder}/{number}").touch()


@place("a FIFO, a socket and a dangling link, ignored")
def _(stage: Stage) -> None:
    special = stage.project / "ignored"
    special.mkdir()
    os.mkfifo(special / "fifo")
    (special / "link").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(special, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)


@place("a FIFO and a socket that Git does not ignore")
def _(stage: Stage) -> None:
    os.mkfifo(stage.project / "fifo")


@place("links to files, folders and nowhere among the user's own files")
def _(stage: Stage) -> None:
    (stage.project / "to-file").symlink_to("README.md")
    (stage.project / "to-folder").symlink_to("src")
    (stage.project / "to-nowhere").symlink_to("/nowhere/at/all")
    (stage.project / "to-outside").symlink_to("../..")
    commit_all(stage.project)


@place("odd names among the user's own files")
def _(stage: Stage) -> None:
    for name in (
        "a\nb.py",
        'a"b.md',
        "a\tb",
        " blank ",
        "-dash",
        "*",
        "back\\slash",
        "{{x}}",
        ":(top)",
        os.fsdecode(b"\xe9"),
    ):
        (stage.project / name).write_text(f"{name!r}\n")
    commit_all(stage.project)


@place("a user's file of 3 MB, and one of random bytes")
def _(stage: Stage) -> None:
    (stage.project / "large.txt").write_text("line\n" * 600_000)
    (stage.project / "random.bin").write_bytes(os.urandom(100_000))
    commit_all(stage.project)


# --- who may write -------------------------------------------------------------------------------

DENIED = "[Pp]ermission|writ|read-only|Read-only"


@place("a read-only file that the update changes", refusal=DENIED, modes=False)
def _(stage: Stage) -> None:
    (stage.project / "src/toy/cli.py").chmod(0o444)


@place("a read-only file that clashes", refusal=DENIED)
def _(stage: Stage) -> None:
    (stage.project / "src/toy/config.py").chmod(0o444)


@place("all files are read-only", refusal=DENIED)
def _(stage: Stage) -> None:
    for path in stage.files(stage.snapshot()):
        found = stage.project / path
        found.chmod(found.stat().st_mode & 0o555)


@place("a file that may not be read", refusal=DENIED + "|uncommitted")
def _(stage: Stage) -> None:
    (stage.project / "src/toy/cli.py").chmod(0o000)


@place("private files (mode 600)", modes=False)
def _(stage: Stage) -> None:
    (stage.project / "config.yaml").chmod(0o600)
    (stage.project / "run.sh").chmod(0o700)
    commit_all(stage.project)


@place("files that the group may write (mode 664)")
def _(stage: Stage) -> None:
    for path in stage.files(stage.snapshot()):
        found = stage.project / path
        found.chmod(found.stat().st_mode | 0o020)


def _forbid(folder: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        (stage.project / folder).chmod(0o555)

    return prepare


place("a read-only folder: src/toy", refusal=DENIED)(_forbid("src/toy"))
place("a read-only folder: docs, where one must be made", refusal=DENIED)(_forbid("docs"))
place("a read-only folder: the project's own", refusal=DENIED)(_forbid("."))
place("a read-only folder: .git", refusal=DENIED)(_forbid(".git"))
place("a read-only folder: .git/objects", refusal=DENIED)(_forbid(".git/objects"))


@place("a read-only folder around the project")
def _(stage: Stage) -> None:
    stage.work.chmod(0o555)


@place("a read-only file system", refusal=DENIED)
def _(stage: Stage) -> None:
    mount(stage, stage.project, "8m")
    command = ["mount", "-o", "remount,ro", str(stage.project)]
    if subprocess.run(command, capture_output=True).returncode:
        raise Skipped("mounting is not allowed here")


@place("a full disk", refusal="space|ENOSPC|full")
def _(stage: Stage) -> None:
    mount(stage, stage.project, "1m")
    with (stage.project / "ignored.log").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            return


@place("a disk with room for one more file of 4 KiB", refusal="space|ENOSPC|full")
def _(stage: Stage) -> None:
    mount(stage, stage.project, "1m")
    with (stage.project / "ignored.log").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            filler.truncate(filler.tell() - 4096)


@place("no more files than there are (inodes)", refusal="space|ENOSPC|full")
def _(stage: Stage) -> None:
    mount(stage, stage.project, "8m", "nr_inodes=400")
    (stage.project / "ignored").mkdir()
    try:
        for number in range(1000):
            (stage.project / f"ignored/{number}").touch()
    except OSError:
        return


@place("the project is a file system of its own")
def _(stage: Stage) -> None:
    mount(stage, stage.project, "64m")


@place("the project's src is a file system of its own", refusal="file system|cross-device")
def _(stage: Stage) -> None:
    mount(stage, stage.project / "src", "16m")


@place("all belongs to a colleague, the group may write")
def _(stage: Stage) -> None:
    give_to_another(stage, stage.project, writable=True)
    stage.globally({"safe.directory": "*"})


@place("one file belongs to a colleague, the group may write")
def _(stage: Stage) -> None:
    give_to_another(stage, stage.project / "src", writable=True)


@place("one file belongs to a colleague, nobody else may write", refusal=DENIED)
def _(stage: Stage) -> None:
    give_to_another(stage, stage.project / "src", writable=False)


@place("folders with the sticky bit, files of a colleague", refusal=DENIED + "|permitted")
def _(stage: Stage) -> None:
    give_to_another(stage, stage.project / "src", writable=True)
    for path in (
        stage.project / "src",
        stage.project / "src/toy",
        stage.project / "src/toy/training",
    ):
        path.chmod(0o1777)


@place("folders that give their group to new files (setgid)")
def _(stage: Stage) -> None:
    for path in (stage.project, *stage.project.rglob("*")):
        if path.is_dir() and ".git" not in path.parts:
            path.chmod(0o2775)


def _chattr(stage: Stage, flag: str, path: Path) -> None:
    if (
        not shutil.which("chattr")
        or subprocess.run(["chattr", f"+{flag}", path], capture_output=True).returncode
    ):
        raise Skipped("chattr does not work here")
    stage.undo.callback(subprocess.run, ["chattr", f"-{flag}", str(path)], check=True)


@place("an immutable file", refusal=DENIED + "|permitted")
def _(stage: Stage) -> None:
    _chattr(stage, "i", stage.project / "src/toy/cli.py")


@place("an immutable folder", refusal=DENIED + "|permitted")
def _(stage: Stage) -> None:
    _chattr(stage, "i", stage.project / "src/toy")


@place("a file that may only grow", refusal=DENIED + "|permitted")
def _(stage: Stage) -> None:
    _chattr(stage, "a", stage.project / "logo.png")


@place("a file with a second name elsewhere (hard link)")
def _(stage: Stage) -> None:
    (stage.work / "elsewhere").mkdir()
    for name in ("src/toy/cli.py", "README.md", "logo.png"):
        os.link(stage.project / name, stage.work / "elsewhere" / Path(name).name)


# --- what lies where the update must write -------------------------------------------------------

IN_THE_WAY = "rename yours|put a folder in its place"


def _kept(*paths: str) -> Callable[[Trial], Iterator[str]]:
    """The user's own things there are as they were, and somebody is told."""

    def check(trial: Trial) -> Iterator[str]:
        for path in paths:
            place = str(trial.stage.project / path)
            if trial.before.get(place) != trial.after.get(place):
                yield f"{path} was changed"
        said = trial.ran.out + trial.ran.err
        if not any(Path(path).name in said for path in paths):
            yield f"no word of {', '.join(paths)}"
        if trial.ran.code != 1:
            yield f"something is left to do, but the exit code is {trial.ran.code}"
        if not trial.dry:
            pages = {
                path: found.content
                for path, found in trial.stage.files(trial.after).items()
                if found.content == NEW_FILES[NEW_PAGE].content
            }
            if NEW_PAGE not in paths and not pages:
                yield "the template's new file is nowhere"

    return check


def _in_the_way(
    name: str, *paths: str
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    return place(name, refusal=IN_THE_WAY, check=_kept(*paths))


@_in_the_way("an ignored folder where a file must go", "docs/new/page.md")
def _(stage: Stage) -> None:
    (stage.project / ".git/info/exclude").write_text("page.md\n")
    (stage.project / "docs/new/page.md").mkdir(parents=True)
    (stage.project / "docs/new/page.md/mine").write_text("mine\n")


@place("an empty folder where a file must go", refusal=IN_THE_WAY)
def _(stage: Stage) -> None:
    (stage.project / "docs/new/page.md").mkdir(parents=True)


@_in_the_way("a file where a folder must go", "docs/new")
def _(stage: Stage) -> None:
    (stage.project / "docs/new").write_text("mine\n")
    commit_all(stage.project)


@_in_the_way("an ignored file where a folder must go", "docs/new")
def _(stage: Stage) -> None:
    (stage.project / ".git/info/exclude").write_text("/docs/new\n")
    (stage.project / "docs/new").write_text("mine\n")


@_in_the_way("an ignored file where a file must go", "docs/new/page.md")
def _(stage: Stage) -> None:
    (stage.project / ".git/info/exclude").write_text("page.md\n")
    (stage.project / "docs/new").mkdir()
    (stage.project / "docs/new/page.md").write_text("mine\n")


@_in_the_way(
    "an ignored file where a file must go, and all names beside it are taken",
    *(f"docs/new/page.md{ending}" for ending in ("", ".new", ".saved", ".rej")),
)
def _(stage: Stage) -> None:
    (stage.project / ".git/info/exclude").write_text("page.md*\n")
    (stage.project / "docs/new").mkdir()
    for ending in ("", ".new", ".saved", ".rej", ".orig"):
        (stage.project / f"docs/new/page.md{ending}").write_text(f"mine{ending}\n")


@_in_the_way("a FIFO where a file must go", "docs/new/page.md")
def _(stage: Stage) -> None:
    (stage.project / "docs/new").mkdir()
    os.mkfifo(stage.project / "docs/new/page.md")


@_in_the_way("a dangling link where a file must go", "docs/new/page.md")
def _(stage: Stage) -> None:
    (stage.project / "docs/new").mkdir()
    (stage.project / "docs/new/page.md").symlink_to(stage.work / "nowhere")
    commit_all(stage.project)


@_in_the_way("a link to a file elsewhere where a file must go", "docs/new/page.md")
def _(stage: Stage) -> None:
    (stage.work / "elsewhere.md").write_text("elsewhere\n")
    (stage.project / "docs/new").mkdir()
    (stage.project / "docs/new/page.md").symlink_to(stage.work / "elsewhere.md")
    commit_all(stage.project)


@_in_the_way("a link to a folder elsewhere where a folder must go", "docs/new")
def _(stage: Stage) -> None:
    (stage.work / "elsewhere").mkdir()
    (stage.project / "docs/new").symlink_to(stage.work / "elsewhere")
    commit_all(stage.project)


def _not_through_links(trial: Trial) -> Iterator[str]:
    """The link is a link still, or was refused; `_elsewhere` sees what lies beyond it."""
    found = trial.after.get(str(trial.stage.project / "src/toy"))
    if found is None or found.kind != "link":
        yield "the user's link is gone"


def _swap_folder_for_a_link(stage: Stage) -> None:
    (stage.project / "src/toy").rename(stage.work / "elsewhere")
    (stage.project / "src/toy").symlink_to(stage.work / "elsewhere")


@place(
    "a folder that was swapped for a link to elsewhere",
    refusal=IN_THE_WAY + "|uncommitted",
    check=_not_through_links,
)
def _(stage: Stage) -> None:
    _swap_folder_for_a_link(stage)
    commit_all(stage.project)


@place(
    "a folder swapped for a link, not committed",
    refusal=IN_THE_WAY + "|uncommitted",
    check=_not_through_links,
)
def _(stage: Stage) -> None:
    _swap_folder_for_a_link(stage)


@place(
    "a folder within the project that is a link to another folder in it",
    refusal=IN_THE_WAY,
    check=_not_through_links,
)
def _(stage: Stage) -> None:
    (stage.project / "src/toy").rename(stage.project / "toy")
    (stage.project / "src/toy").symlink_to("../toy")
    commit_all(stage.project)


# --- the answers file ----------------------------------------------------------------------------

# What it holds, and what a refusal says.
ANSWERS: dict[str, tuple[bytes, str]] = {
    "is not UTF-8": (b"_commit: v1.0.0\nproject_name: caf\xe9\n", "UTF-8"),
    "is empty": (b"", "answers"),
    "is a list": (b"- 1\n- 2\n", "answers"),
    "is no YAML": (b"_commit: [\n", "YAML"),
    "has a null and integer keys": (
        b"_commit: v1.0.0\n_src_path: SRC\n1: 2\nnull: x\nproject_name: null\n",
        "answer|key|project_name",
    ),
    "has wrong types": (
        b"_commit: [1, 2]\n_src_path: {a: b}\nproject_name: [x]\n",
        "_commit|_src_path|project_name|version",
    ),
    "has a number for a version": (
        b"_commit: 1.0\n_src_path: SRC\nproject_name: Toy\n",
        "_commit|version|1.0",
    ),
    "has no version": (b"_src_path: SRC\nproject_name: Toy\n", "version|_commit"),
    "has an unknown version": (
        b"_commit: v9.9.9\n_src_path: SRC\nproject_name: Toy\npackage_name: toy\n",
        "v9.9.9",
    ),
    "has a version like an option": (
        b"_commit: --upload-pack=x\n_src_path: SRC\nproject_name: Toy\npackage_name: toy\n",
        "upload-pack",
    ),
    "is full of NULs": (b"\0" * 512, "YAML|answers|UTF-8"),
    "has conflict markers": (
        b"<<<<<<< a\n_commit: v1.0.0\n=======\n_commit: v2.0.0\n>>>>>>> b\n",
        "YAML|conflict",
    ),
}
for name, (text, says) in ANSWERS.items():

    def _recorded(stage: Stage, text: bytes = text) -> None:
        (stage.project / ANSWERS_FILE).write_bytes(text.replace(b"SRC", stage.origin.encode()))
        commit_all(stage.project)

    place(f"the answers file {name}", refusal=says)(_recorded)


@place("there is no answers file", refusal="answers")
def _(stage: Stage) -> None:
    (stage.project / ANSWERS_FILE).unlink()
    commit_all(stage.project)


@place("the answers file is a folder", refusal="answers")
def _(stage: Stage) -> None:
    (stage.project / ANSWERS_FILE).unlink()
    (stage.project / ANSWERS_FILE).mkdir()


@place("the answers file may not be read", refusal=DENIED)
def _(stage: Stage) -> None:
    (stage.project / ANSWERS_FILE).chmod(0o000)


@place("the answers file may not be written", refusal=DENIED)
def _(stage: Stage) -> None:
    (stage.project / ANSWERS_FILE).chmod(0o444)


@place("the project is no folder", refusal="project|folder|answers|exist")
def _(stage: Stage) -> None:
    shutil.rmtree(stage.project)
    stage.project.write_text("a file\n")


@place("the project may not be read", refusal=DENIED + "|answers|readable")
def _(stage: Stage) -> None:
    stage.project.chmod(0o000)


# --- the real template ---------------------------------------------------------------------------


@place("the real template: a plain repository", real=True)
def _(stage: Stage) -> None:
    pass


@place("the real template: files with CRLF, core.autocrlf=true", real=True, line_ends=True)
def _(stage: Stage) -> None:
    stage.locally({"core.autocrlf": "true"})
    for path in stage.files(stage.snapshot()):
        found = stage.project / path
        if b"\0" not in (content := found.read_bytes()):
            found.write_bytes(content.replace(b"\n", b"\r\n"))
    stage.git("add", "--renormalize", ".")


@place("the real template: a folder of a larger repository", real=True)
def _(stage: Stage) -> None:
    stage.move_into_repository(stage.work / "repository")


@place("the real template: core.fileMode=false, all executable", real=True, modes=True)
def _(stage: Stage) -> None:
    stage.locally({"core.fileMode": "false"})
    for path in stage.files(stage.snapshot()):
        (stage.project / path).chmod(0o755)


@place("the real template: a checkout of depth 1", real=True)
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("clone", "--quiet", "--depth=1", whole.as_uri(), stage.project, cwd=stage.work)
