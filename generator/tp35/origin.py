"""Where a template lies, as it may be written down: without secrets, for other machines too."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

# Name and password of an address; either may be a token. SSH has no use for a password there.
_USER = re.compile(r"(?i)(?<!ssh://)(?<=://)([^/\s@]*@)+(?=[^/\s])")
_SSH_PASSWORD = re.compile(r"(?i)(?<=ssh://)([^/\s:@]+):[^/\s]*(?=@)")
_SECRET_PART = re.compile(
    r"(?i)([?&#;])([\w.%-]*(?:token|secret|passw|pwd|key|auth|sig|cred)[\w.%-]*=[^&#;\s'\"]*)"
)
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+")
_HOST = re.compile(r"(?i)^(?:git\+)?[a-z][a-z0-9+.-]*://(?:[^/@]*@)?(\[[^]/]*\]|[^/:?#]*)")
_SCP = re.compile(r"^(?:[^/@:\s]+@)?[^/:\s]{2,}:[^\s]+$")  # one letter is a drive of Windows
_THIS_MACHINE = re.compile(
    r"(?i)^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[::1?\]|0\.0\.0\.0)?$"
)

WHERE_CREDENTIALS_BELONG = (
    "Credentials are not recorded: leave them to Git, by `git config --global credential.helper`"
    " or by a rule `url.<base>.insteadOf`"
)


def without_credentials(location: str) -> tuple[str, bool]:
    """A template's address without user, password and tokens, and whether it had any.

    The user of SSH is no secret and stays.
    """
    if "://" not in location:
        return location, False
    public = _SECRET_PART.sub(r"\1", _without_passwords(location))
    if public == location:
        return location, False
    # What was between two parts that stay, or before one, or behind the last.
    public = re.sub(r"([?#])[&;]+", r"\1", re.sub(r"([&;])[&;]+", r"\1", public))
    return re.sub(r"[?&#;]+$", "", re.sub(r"[?&;]+#", "#", public)), True


def _without_passwords(text: str) -> str:
    return _SSH_PASSWORD.sub(r"\1", _USER.sub("", text))


def redacted(text: str) -> str:
    """A text for people, with the addresses in it without credentials."""
    # A password may hold what ends an address.
    return _ADDRESS.sub(lambda found: without_credentials(found[0])[0], _without_passwords(text))


def is_local(location: str) -> bool:
    """Whether a template's location is a path rather than an address."""
    if "://" in location or location.startswith(("gh:", "gl:", "git+")):
        return False
    return PureWindowsPath(location).drive != "" or not _SCP.match(location)


def is_portable(location: str) -> bool:
    """Whether other machines can be expected to find a template there."""
    if host := _HOST.match(location):
        return not _THIS_MACHINE.match(host[1])
    return bool(location) and not is_local(location)


def absolute(location: str) -> str:
    """A path from the root, whatever folder a later command runs in; addresses stay."""
    if not is_local(location):
        return location
    return str(Path(location).expanduser().absolute())
