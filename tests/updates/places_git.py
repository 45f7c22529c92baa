"""Places: settings of Git, the user's and the repository's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from .places import place
from .stage import Stage
from .toy import ANSWERS_FILE, commit_all

# Settings of the user's that must change nothing; {scripts} is a folder of scripts that fail.
SETTINGS: dict[str, Mapping[str, str]] = {
    "aliases of every command": {
        f"alias.{name}": "!false" for name in ("add", "status", "diff", "init")
    },
    "apply.whitespace=error": {"apply.whitespace": "error", "core.whitespace": "tab-in-indent"},
    "apply.whitespace=fix": {"apply.whitespace": "fix"},
    "clone.*, fetch.*, protocol.* and transfer.*": {
        "clone.defaultRemoteName": "elsewhere",
        "clone.rejectShallow": "true",
        "fetch.fsckObjects": "true",
        "fetch.recurseSubmodules": "true",
        "protocol.version": "0",
        "submodule.recurse": "true",
        "transfer.fsckObjects": "true",
        "uploadpack.allowFilter": "false",
    },
    "colours, columns, pagers and editors": {
        "color.ui": "always",
        "color.status": "always",
        "column.ui": "always",
        "core.editor": "{scripts}/fails",
        "core.pager": "{scripts}/fails",
        "interactive.diffFilter": "{scripts}/fails",
        "pager.diff": "true",
        "pager.ls-files": "true",
        "pager.status": "true",
        "sequence.editor": "{scripts}/fails",
    },
    "commit.gpgsign without a key": {
        "commit.gpgsign": "true",
        "commit.template": "{scripts}/fails",
        "gpg.program": "{scripts}/fails",
        "tag.gpgSign": "true",
        "user.signingKey": "none",
    },
    "core.abbrev, core.checkStat, core.compression": {
        "core.abbrev": "4",
        "core.bigFileThreshold": "1",
        "core.checkStat": "minimal",
        "core.compression": "0",
        "core.logAllRefUpdates": "always",
        "core.looseCompression": "0",
        "core.trustctime": "false",
    },
    "core.attributesFile: everything is binary": {"core.attributesFile": "{scripts}/binary"},
    "core.attributesFile: text eol=crlf": {"core.attributesFile": "{scripts}/crlf"},
    "core.autocrlf=input": {"core.autocrlf": "input", "core.safecrlf": "true"},
    "core.autocrlf=true, files with LF": {"core.autocrlf": "true"},
    "core.bare=true": {"core.bare": "true"},
    "core.eol=crlf": {"core.eol": "crlf"},
    "core.excludesFile ignores all Python": {"core.excludesFile": "{scripts}/ignores-python"},
    "core.excludesFile ignores everything": {"core.excludesFile": "{scripts}/ignores-all"},
    "core.fileMode=false": {"core.fileMode": "false"},
    "core.fsmonitor: a hook that fails": {"core.fsmonitor": "{scripts}/fails"},
    "core.fsmonitor: a hook that lies": {"core.fsmonitor": "{scripts}/says-nothing-changed"},
    "core.hooksPath: all hooks fail": {"core.hooksPath": "{scripts}/hooks"},
    "core.ignoreCase=true": {"core.ignoreCase": "true", "core.precomposeUnicode": "true"},
    "core.quotePath=false": {"core.quotePath": "false"},
    "core.sharedRepository=0600": {"core.sharedRepository": "0600"},
    "core.symlinks=false": {"core.symlinks": "false"},
    "core.untrackedCache": {"core.untrackedCache": "true"},
    "credential.helper, core.askPass and core.sshCommand fail": {
        "core.askPass": "{scripts}/fails",
        "core.sshCommand": "{scripts}/fails",
        "credential.helper": "{scripts}/fails",
        "http.proxy": "http://127.0.0.1:9",
        "https.proxy": "nonsense",
    },
    "diff.algorithm, diff.context, diff.renames": {
        "diff.algorithm": "patience",
        "diff.context": "0",
        "diff.interHunkContext": "9",
        "diff.renameLimit": "1",
        "diff.renames": "copies",
    },
    "diff.external": {"diff.external": "{scripts}/fails"},
    "diff.mnemonicPrefix": {"diff.mnemonicPrefix": "true"},
    "diff.noprefix": {"diff.noprefix": "true"},
    "diff.orderFile, diff.wordRegex and the like": {
        "diff.ignoreSubmodules": "all",
        "diff.orderFile": "{scripts}/binary",
        "diff.wordRegex": ".",
        "diff.wsErrorHighlight": "all",
    },
    "feature.manyFiles": {"feature.manyFiles": "true", "index.threads": "true"},
    "gc, maintenance and pack.*": {
        "core.packedGitLimit": "1k",
        "gc.auto": "1",
        "gc.autoDetach": "false",
        "maintenance.auto": "true",
        "maintenance.strategy": "incremental",
        "pack.threads": "1",
    },
    "include of a missing file, trace2": {
        "include.path": "{scripts}/no",
        "trace2.eventBrief": "true",
    },
    "index.skipHash, index.version=4": {"index.skipHash": "true", "index.version": "4"},
    "init.defaultBranch odd": {"init.defaultBranch": "refs/odd"},
    "init.templateDir with hooks": {"init.templateDir": "{scripts}/git-template"},
    "log.*, format.* and i18n.*": {
        "format.pretty": "oneline",
        "i18n.commitEncoding": "latin1",
        "i18n.logOutputEncoding": "latin1",
        "log.date": "relative",
        "log.decorate": "full",
        "log.showSignature": "true",
    },
    "merge.conflictStyle=diff3": {"merge.conflictStyle": "diff3"},
    "merge.conflictStyle=zdiff3": {"merge.conflictStyle": "zdiff3"},
    "merge.default: a driver that fails": {
        "merge.default": "none",
        "merge.none.driver": "{scripts}/fails",
        "merge.renormalize": "true",
    },
    "merge.tool, merge.ff, merge.renames": {
        "diff.tool": "none",
        "merge.ff": "only",
        "merge.renames": "false",
        "merge.tool": "none",
        "pull.rebase": "true",
    },
    "rerere": {"rerere.enabled": "true", "rerere.autoUpdate": "true"},
    "status.relativePaths=false": {
        "status.branch": "true",
        "status.relativePaths": "false",
        "status.short": "true",
    },
    "status.showUntrackedFiles=no": {"status.showUntrackedFiles": "no"},
    "user.useConfigOnly without a name": {"user.useConfigOnly": "true"},
}


HOOKS = (
    "pre-commit commit-msg prepare-commit-msg post-commit post-checkout post-merge pre-auto-gc "
    "reference-transaction post-index-change applypatch-msg post-rewrite"
)


def _scripts(stage: Stage) -> Path:
    """What settings point to."""
    scripts = stage.root / "scripts"
    stage.script(scripts / "fails", "echo this script fails >&2\nexit 1\n")
    stage.script(scripts / "says-nothing-changed", "printf 'token\\0'\n")
    (scripts / "binary").write_text("* binary\n")
    (scripts / "crlf").write_text("* text=auto eol=crlf\n")
    (scripts / "ignores-python").write_text("*.py\n")
    (scripts / "ignores-all").write_text("*\n")
    for hook in HOOKS.split():
        for folder in ("hooks", "git-template/hooks"):
            stage.script(scripts / folder / hook, "echo this hook fails >&2\nexit 1\n")
    (scripts / "git-template" / "config").write_text("[core]\n\tautocrlf = true\n\tbare = true\n")
    return scripts


def _with(settings: Mapping[str, str]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        scripts = _scripts(stage)
        stage.globally({key: value.format(scripts=scripts) for key, value in settings.items()})

    return prepare


def _with_locally(settings: Mapping[str, str]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        scripts = _scripts(stage)
        stage.locally({key: value.format(scripts=scripts) for key, value in settings.items()})

    return prepare


for name, settings in SETTINGS.items():
    # what says `crlf` may rule the files that are new
    place(name, line_ends="crlf" in name)(_with(settings))
# The repository's own configuration weighs more than the user's.
for name in (
    "status.showUntrackedFiles=no",
    "core.hooksPath: all hooks fail",
    "diff.external",
    "diff.noprefix",
    "merge.conflictStyle=diff3",
    "commit.gpgsign without a key",
    "core.quotePath=false",
    "core.fsmonitor: a hook that fails",
    "core.symlinks=false",
):
    place(f"{name}, in the repository")(_with_locally(SETTINGS[name]))


# --- line ends, filters and modes ----------------------------------------------------------------


def _rewrite_with_crlf(stage: Stage) -> None:
    """Let all lines of all texts end as Windows has it."""
    for path in stage.project.rglob("*"):
        inside = path.relative_to(stage.project)
        if path.is_file() and ".git" not in inside.parts and b"\0" not in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


@place("core.autocrlf=true, files with CRLF", line_ends=True)
def _(stage: Stage) -> None:
    stage.globally({"core.autocrlf": "true"})
    stage.locally({"core.autocrlf": "true"})
    _rewrite_with_crlf(stage)
    stage.git("add", "--renormalize", ".")


@place("core.autocrlf=true, all files with CRLF but one", line_ends=True)
def _(stage: Stage) -> None:
    stage.globally({"core.autocrlf": "true"})
    stage.locally({"core.autocrlf": "true"})
    kept = (stage.project / "src/toy/cli.py").read_bytes()
    _rewrite_with_crlf(stage)
    (stage.project / "src/toy/cli.py").write_bytes(kept)
    stage.git("add", "--renormalize", ".")


@place("files committed with CRLF", line_ends=True)
def _(stage: Stage) -> None:
    _rewrite_with_crlf(stage)
    commit_all(stage.project)


@place("core.autocrlf=input, files committed with CRLF", line_ends=True)
def _(stage: Stage) -> None:
    _rewrite_with_crlf(stage)
    commit_all(stage.project)
    stage.globally({"core.autocrlf": "input"})


@place(".git/info/attributes: text eol=crlf", line_ends=True)
def _(stage: Stage) -> None:
    (stage.project / ".git/info/attributes").write_text("* text=auto eol=crlf\n")
    _rewrite_with_crlf(stage)
    stage.git("add", "--renormalize", ".")


def _attributes(stage: Stage, text: str) -> None:
    """Rules of the repository's own; not a file of the project, which the reference lacks."""
    (stage.project / ".git/info/attributes").write_text(text)


@place("attributes: -text, binary, -merge, -diff")
def _(stage: Stage) -> None:
    _attributes(stage, "* -text -diff -merge\n*.md binary\n")


@place("attributes: merge=union and merge=ours")
def _(stage: Stage) -> None:
    stage.globally({"merge.ours.driver": "true"})
    _attributes(stage, "*.py merge=union\n*.yaml merge=ours\n")


@place("attributes: export-subst, ident, working-tree-encoding", plain_stages=True)
def _(stage: Stage) -> None:
    _attributes(
        stage,
        "*.md ident export-subst\ndocs/* export-ignore\nconfig.yaml working-tree-encoding=UTF-8\n",
    )


@place("attributes: whitespace=error, conflict-marker-size=30")
def _(stage: Stage) -> None:
    _attributes(stage, "* whitespace=tab-in-indent conflict-marker-size=30\n")


CIPHER = {
    "filter.cipher.clean": "tr a-zA-Z n-za-mN-ZA-M",
    "filter.cipher.smudge": "tr a-zA-Z n-za-mN-ZA-M",
    "filter.cipher.required": "true",
}


@place("clean and smudge filters (a cipher)")
def _(stage: Stage) -> None:
    stage.globally(CIPHER)
    stage.locally(CIPHER)
    _attributes(stage, "*.py filter=cipher\n*.md filter=cipher\n")
    commit_all(stage.project)
    assert "grfg" in stage.git("show", "HEAD:tests/test_toy.py")


@place("a required filter that is missing", refusal="filter|cipher", plain_stages=True)
def _(stage: Stage) -> None:
    stage.locally(CIPHER)
    _attributes(stage, "*.py filter=cipher\n")
    commit_all(stage.project)
    for step in ("clean", "smudge"):
        stage.locally({f"filter.cipher.{step}": "no-such-program"})


@place("a filter process that fails", refusal="filter|broken", plain_stages=True)
def _(stage: Stage) -> None:
    stage.globally({"filter.broken.process": "false", "filter.broken.required": "true"})
    _attributes(stage, "*.yaml filter=broken\n")


@place("Git LFS, pointers not downloaded")
def _(stage: Stage) -> None:
    stage.globally(
        {"filter.lfs.clean": "cat", "filter.lfs.smudge": "cat", "filter.lfs.required": "true"}
    )
    _attributes(stage, "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (stage.project / "weights.bin").write_text(pointer)
    commit_all(stage.project)


@place("core.fileMode=false, all files executable", modes=True)
def _(stage: Stage) -> None:
    stage.locally({"core.fileMode": "false"})
    for path in stage.project.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(stage.project).parts:
            path.chmod(0o755)


@place("core.fileMode=false, no file executable", modes=True)
def _(stage: Stage) -> None:
    stage.locally({"core.fileMode": "false"})
    for path in stage.project.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(stage.project).parts:
            path.chmod(0o644)


# --- what the fetching of the template hangs on --------------------------------------------------


def _record_origin(stage: Stage, origin: str) -> None:
    answers = stage.project / ANSWERS_FILE
    text = answers.read_text("utf-8")
    assert stage.origin in text
    answers.write_text(text.replace(stage.origin, origin), "utf-8")
    stage.origin = origin
    commit_all(stage.project)


@place("url.insteadOf for the template")
def _(stage: Stage) -> None:
    stage.globally(
        {f"url.{stage.subject.template}.insteadOf": "https://git.example.org/template.git"}
    )
    _record_origin(stage, "https://git.example.org/template.git")


@place("a template that nobody answers for", refusal="git.example.invalid|resolve|proxy")
def _(stage: Stage) -> None:
    _record_origin(stage, "https://git.example.invalid/template.git")


@place("a proxy that nobody answers at", refusal="127.0.0.1|proxy|connect")
def _(stage: Stage) -> None:
    stage.globally({"http.proxy": "http://127.0.0.1:9"})
    _record_origin(stage, "https://git.example.invalid/template.git")


@place("a template that wants a password", refusal="credential|password|ssh|[Aa]uth|[Pp]ermission")
def _(stage: Stage) -> None:
    stage.globally(
        {"core.sshCommand": "echo 'git@example.org: Permission denied (publickey).' >&2; false"}
    )
    _record_origin(stage, "git@example.org:template.git")


@place("a template that is gone", refusal="gone")
def _(stage: Stage) -> None:
    _record_origin(stage, str(stage.root / "gone"))


@place("protocol.file.allow=never", refusal="not allowed")
def _(stage: Stage) -> None:
    stage.globally({"protocol.file.allow": "never"})


@place("the user's Git configuration is broken", refusal="config|gitconfig")
def _(stage: Stage) -> None:
    (stage.home / ".gitconfig").write_text("[core\nnonsense\n")


@place("the repository's configuration is broken", refusal="config")
def _(stage: Stage) -> None:
    (stage.project / ".git/config").write_text("[core\nnonsense\n")


@place("the repository has a format of the future", refusal="repository|version|extension")
def _(stage: Stage) -> None:
    stage.locally({"core.repositoryFormatVersion": "99"})


@place("safe.bareRepository=explicit")
def _(stage: Stage) -> None:
    stage.globally({"safe.bareRepository": "explicit"})


@place("safe.directory names another", refusal="ownership|safe.directory|own")
def _(stage: Stage) -> None:
    stage.globally({"safe.directory": str(stage.root / "other")})


def _belongs_to_another(stage: Stage, *, writable: bool) -> None:
    from .places_folders import give_to_another

    give_to_another(stage, stage.project, writable=writable)


@place("the repository belongs to another user", refusal="ownership|safe.directory|belongs")
def _(stage: Stage) -> None:
    _belongs_to_another(stage, writable=True)


@place("the repository belongs to another user, safe.directory=*, group may write")
def _(stage: Stage) -> None:
    _belongs_to_another(stage, writable=True)
    stage.globally({"safe.directory": "*"})


@place(
    "the repository belongs to another user, safe.directory=*, read only",
    refusal="[Pp]ermission|writ",
)
def _(stage: Stage) -> None:
    _belongs_to_another(stage, writable=False)
    stage.globally({"safe.directory": "*"})


# --- kinds of repositories and checkouts ---------------------------------------------------------


@place("a checkout of depth 1")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    (whole / "again").write_text("once more\n")
    commit_all(whole)
    (whole / "again").unlink()
    commit_all(whole)
    stage.git("clone", "--quiet", "--depth=1", whole.as_uri(), stage.project, cwd=stage.work)
    _carry_ignored(whole, stage.project)


def _carry_ignored(one: Path, other: Path) -> None:
    shutil.copytree(one / "runs", other / "runs")
    shutil.copy2(one / "last.log", other / "last.log")


@place("a partial clone without blobs")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("config", "uploadpack.allowFilter", "true", cwd=whole)
    stage.git(
        "clone", "--quiet", "--filter=blob:none", whole.as_uri(), stage.project, cwd=stage.work
    )
    _carry_ignored(whole, stage.project)


@place("a partial clone without blobs, whose origin is gone")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("config", "uploadpack.allowFilter", "true", cwd=whole)
    stage.git(
        "clone", "--quiet", "--filter=blob:none", whole.as_uri(), stage.project, cwd=stage.work
    )
    _carry_ignored(whole, stage.project)
    stage.locally({"remote.origin.url": "file:///nowhere"})


@place("a clone that borrows all objects (alternates)")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("clone", "--quiet", "--shared", whole, stage.project, cwd=stage.work)
    _carry_ignored(whole, stage.project)


@place("a second worktree")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("worktree", "add", "--quiet", "--detach", stage.project, cwd=whole)
    _carry_ignored(whole, stage.project)


@place("a second worktree with settings of its own (extensions.worktreeConfig)")
def _(stage: Stage) -> None:
    whole = stage.work / "whole"
    stage.project.rename(whole)
    stage.git("worktree", "add", "--quiet", "-b", "side", stage.project, cwd=whole)
    stage.git("config", "extensions.worktreeConfig", "true", cwd=whole)
    stage.git("config", "--worktree", "status.showUntrackedFiles", "no")
    _carry_ignored(whole, stage.project)


@place("a submodule of another repository")
def _(stage: Stage) -> None:
    whole, outer = stage.work / "whole", stage.work / "outer"
    stage.project.rename(whole)
    outer.mkdir()
    stage.git("init", "--quiet", cwd=outer)
    stage.git("submodule", "--quiet", "add", whole, "parts/project", cwd=outer)
    commit_all(outer)
    stage.project = outer / "parts/project"
    stage.argument = str(stage.project)
    _carry_ignored(whole, stage.project)


@place("a project with a submodule in it")
def _(stage: Stage) -> None:
    library = stage.work / "library"
    library.mkdir()
    (library / "code.py").write_text("code = 1\n")
    stage.git("init", "--quiet", cwd=library)
    commit_all(library)
    stage.git("submodule", "--quiet", "add", library, "vendor/library")
    commit_all(stage.project)


@place("Git's folder elsewhere (--separate-git-dir)")
def _(stage: Stage) -> None:
    stage.git("init", "--quiet", "--separate-git-dir", stage.work / "elsewhere.git")


@place(".git is a link")
def _(stage: Stage) -> None:
    (stage.project / ".git").rename(stage.work / "elsewhere.git")
    (stage.project / ".git").symlink_to(stage.work / "elsewhere.git")


@place("a sparse checkout without the project's documents", refusal="sparse")
def _(stage: Stage) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    stage.git("sparse-checkout", "set", "--cone", "apps/project", cwd=repository)
    assert not (repository / "other").exists()


@place("a sparse checkout that leaves out a file of the template", refusal="sparse|docs/guide.md")
def _(stage: Stage) -> None:
    stage.git("status", "--porcelain")  # Git leaves alone what it has not looked at
    stage.git("sparse-checkout", "set", "--no-cone", "/*", "!/docs/guide.md")
    assert not (stage.project / "docs/guide.md").exists()


def _another_hash(stage: Stage) -> None:
    shutil.rmtree(stage.project / ".git")
    stage.git("init", "--quiet", "--object-format=sha256")
    commit_all(stage.project)


@place("a SHA-256 repository")
def _(stage: Stage) -> None:
    _another_hash(stage)


@place("a SHA-256 repository in a setting, too")
def _(stage: Stage) -> None:
    _another_hash(stage)
    stage.globally({"init.defaultObjectFormat": "sha256"})
    stage.environment["GIT_DEFAULT_HASH"] = "sha256"


@place("reftable, where Git knows it")
def _(stage: Stage) -> None:
    stage.environment["GIT_DEFAULT_REF_FORMAT"] = "reftable"


@place("a split index")
def _(stage: Stage) -> None:
    stage.git("update-index", "--split-index")


@place("index version 4 with the end of entries")
def _(stage: Stage) -> None:
    stage.git("update-index", "--index-version", "4")


@place("files assumed unchanged and skipped")
def _(stage: Stage) -> None:
    stage.git("update-index", "--assume-unchanged", "tests/test_toy.py")
    stage.git("update-index", "--skip-worktree", "docs/guide.md")


@place("replace references")
def _(stage: Stage) -> None:
    new = stage.git("commit-tree", "-m", "replaced", "HEAD^{tree}").strip()
    stage.git("replace", "HEAD", new)


@place("grafts")
def _(stage: Stage) -> None:
    head = stage.git("rev-parse", "HEAD").strip()
    (stage.project / ".git/info/grafts").write_text(f"{head}\n")


@place("tags of the user's named as those of the template")
def _(stage: Stage) -> None:
    stage.git("tag", "v2.0.0")
    stage.git("branch", "v1.0.0")


# --- states of a repository ----------------------------------------------------------------------


@place("the index is locked", refusal="index.lock|locked")
def _(stage: Stage) -> None:
    (stage.project / ".git/index.lock").touch()


@place("the index is damaged", refusal="index|bad|corrupt")
def _(stage: Stage) -> None:
    (stage.project / ".git/index").write_bytes(b"nonsense")


@place("objects are missing", refusal="object|repository|HEAD|tree|commit|[Gg]it")
def _(stage: Stage) -> None:
    shutil.rmtree(stage.project / ".git/objects")
    (stage.project / ".git/objects").mkdir()


@place("a branch without a commit", refusal="commit")
def _(stage: Stage) -> None:
    stage.git("checkout", "--quiet", "--orphan", "fresh")


@place("a repository without a commit", refusal="commit")
def _(stage: Stage) -> None:
    shutil.rmtree(stage.project / ".git")
    stage.git("init", "--quiet")


@place("no repository at all", refusal="[Gg]it")
def _(stage: Stage) -> None:
    shutil.rmtree(stage.project / ".git")


@place("a detached HEAD")
def _(stage: Stage) -> None:
    stage.git("checkout", "--quiet", "--detach")


def _beside(stage: Stage, name: str, ending: str) -> None:
    """A commit on a branch that changes a file beside the project."""
    repository = stage.project.parent.parent
    stage.git("checkout", "--quiet", "-b", name, cwd=repository)
    (repository / "README").write_text(ending)
    commit_all(repository, name)
    stage.git("checkout", "--quiet", "-", cwd=repository)


def _in_the_midst(stage: Stage, *command: str) -> None:
    repository = stage.work / "repository"
    stage.move_into_repository(repository)
    _beside(stage, "side", "side\n")
    (repository / "README").write_text("main\n")
    commit_all(repository, "main")
    try:
        stage.git(*command, cwd=repository)
    except AssertionError:
        return
    raise AssertionError(f"{command} has not stopped")


@place("amid a merge of other files", refusal="merg|unmerged|conflict|uncommitted")
def _(stage: Stage) -> None:
    _in_the_midst(stage, "merge", "side")


@place("amid a rebase", refusal="rebas|unmerged|conflict|uncommitted")
def _(stage: Stage) -> None:
    _in_the_midst(stage, "rebase", "side")


@place("amid a cherry-pick", refusal="cherry|unmerged|conflict|uncommitted")
def _(stage: Stage) -> None:
    _in_the_midst(stage, "cherry-pick", "side")


@place("amid a bisection")
def _(stage: Stage) -> None:
    stage.git("bisect", "start")
