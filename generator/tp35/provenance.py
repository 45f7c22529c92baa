"""The version of the template that a new project records, and what its updates lack."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tp35 import answers_file, git, origin, template
from tp35.problems import Misuse
from tp35.template import Source


def check_version(source: Source) -> None:
    """Refuse a version where the template has none to choose from; Copier would pass over it."""
    if source.ref is None or not template.is_plain_folder(source.location):
        return
    folder = Path(source.location)
    if folder == template.root() and not (folder / ".git").exists():
        reason = "this tp35 carries one version of its template"
    else:
        reason = _why_no_versions(folder)
    url = template.repository() or "URL"
    raise Misuse(f"--ref {source.ref}: {reason}; leave out --ref, or give --template {url}")


def _why_no_versions(folder: Path) -> str:
    if not git.available():
        return "git is not installed"
    if (folder / ".git").exists():
        # Almost always a folder of another user's, as in containers and on shared disks.
        return (
            f"Git does not read the repository {folder}; where it is another user's that you trust,"
            f" run: git config --global --add safe.directory {shlex.quote(str(folder))}, and the"
            f" same for {shlex.quote(str(folder / '.git'))}"
        )
    return f"{folder} is no Git repository"


def record(project: Path, source: Source) -> None:
    """Make the answers file name a version that `copier update` can find again, anywhere.

    Copier records the commit of a clean Git template by itself. It leaves a wheel's version out,
    from a clone with uncommitted changes it records a commit that exists nowhere, it names a folder
    of this machine where the clone in it has an address, and it keeps passwords.
    """
    path = project / answers_file.NAME
    text = path.read_text(encoding="utf-8")
    recorded = answers_file.parse(text, str(path))
    location, ref = str(recorded["_src_path"]), recorded.get("_commit")
    folder = Path(location)
    if ref is None:
        if folder != template.root():
            return
        location = template.repository() or "tp35"
        ref = template.version_as_ref(template.version())
    elif folder.is_dir():
        # Copier renders what is not committed, too; a bare repository has nothing of the kind.
        if source.ref == "HEAD" and (folder / ".git").exists() and git.is_dirty(folder):
            ref = git.describe(folder)
        location = _published(folder, ref) or location
    location, _ = origin.without_credentials(location)
    if (location, ref) != (recorded["_src_path"], recorded.get("_commit")):
        changed = answers_file.with_origin(text, location, ref)
        path.write_text(changed, encoding="utf-8", newline="\n")


def _remote(clone: Path) -> str | None:
    """The address that a clone came from, where other machines reach it."""
    if not git.succeeds("config", "--get", "remote.origin.url", cwd=clone):
        return None
    address = git.run("config", "--get", "remote.origin.url", cwd=clone).strip()
    public, _ = origin.without_credentials(address)
    return public if origin.is_portable(public) else None


def _published(clone: Path, ref: str) -> str | None:
    """The address of a clone's origin that has a commit, as far as the clone knows."""
    known = ("for-each-ref", "--count=1", f"--contains={ref}", "refs/remotes/origin")
    if not git.succeeds(*known, cwd=clone) or not git.run(*known, cwd=clone).strip():
        return None
    return _remote(clone)


def advice(source: Source, recorded: Mapping[str, Any]) -> Iterator[str]:
    """What later updates of a project will lack, and how to mend it.

    Args:
        source: what it was made from.
        recorded: its answers file.
    """
    location, folder = str(recorded["_src_path"]), Path(source.location)
    if origin.without_credentials(source.location)[1]:
        yield origin.WHERE_CREDENTIALS_BELONG
    if not recorded.get("_commit"):
        yield (
            f"No version of the template is recorded: {_why_no_versions(folder)}. Updates need one:"
            " make the project again from a repository of the template, tp35 new --template URL"
        )
    elif (folder / ".git").exists() and template.is_plain_folder(source.location):
        yield f"The recorded version is that of the installed tp35: {_why_no_versions(folder)}"
    if location == "tp35":
        yield (
            "This tp35 does not know the address of its template. An update needs it:"
            " tp35 update --template URL"
        )
    elif recorded.get("_commit") and not origin.is_portable(location):
        remote = _remote(Path(location)) if Path(location).is_dir() else None
        pushed = f", once {recorded['_commit']} is pushed" if remote else ""
        yield (
            f"The template is on this machine, {location}. Others need its URL to update the"
            f" project: tp35 update --template {remote or 'URL'}{pushed}"
        )
    if not git.available():
        yield "Git is not installed. An update needs it."
