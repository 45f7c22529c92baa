"""What code of the user's raises, told in a line with the place it comes from."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch

# Code of the user's may raise whatever it likes, also classes of its own, and scripts like to end
# the program. What is left, such as a signal, is nobody's error.
USER_ERRORS = (Exception, SystemExit)

_OF_NOBODY = tuple(
    str(Path(folder).resolve())
    for folder in (Path(torch.__file__).parent, sysconfig.get_path("stdlib"))
)
# where this project calls it from
_PACKAGE = Path(__file__).resolve().parent
_CALLERS = frozenset(
    ["architecture.py", "catalogues.py", "export", "forward.py", "source_files.py", "training"]
)
_LIBRARIES = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib"))


def told(error: BaseException) -> str:
    """Kind, first line and place of an error, such as `ValueError: ... (net.py:12: self.fc(x))`."""
    return f"{reason(error)}{f' ({place})' if (place := place_of(error)) else ''}"


def reason(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = [line.strip() for line in str(error).splitlines()]
    # an assertion's message and a KeyError's key say little by themselves
    message = next(filter(None, lines), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def place_of(error: BaseException) -> str:
    """The innermost line that is not torch's, Python's or this project's; empty for none."""
    if isinstance(error, SyntaxError) and error.filename:
        return _shown(error.filename, error.lineno or 0, error.text or "")
    frames = traceback.extract_tb(error.__traceback__)
    return innermost_place(
        (frame.filename, frame.lineno or 0, frame.line or "") for frame in frames
    )


def innermost_place(frames: Iterable[tuple[str, int, str]]) -> str:
    """The last of these files, line numbers and lines that `place_of` is about."""
    for name, number, line in reversed(list(frames)):
        path = str(Path(name).resolve())
        if _is_file(name) and not _is_of_nobody(path):
            return _shown(path, number, line)
    return ""


def _is_file(name: str) -> bool:
    return not name.startswith("<")  # <string>, <frozen importlib._bootstrap>


def _is_of_nobody(path: str) -> bool:
    if path.startswith(_OF_NOBODY[0]):
        return True
    if (file := Path(path)).is_relative_to(_PACKAGE):
        return file.relative_to(_PACKAGE).parts[0] in _CALLERS
    return path.startswith(_OF_NOBODY[1]) and not path.startswith(_LIBRARIES)


def _shown(path: str, number: int, line: str) -> str:
    for library in _LIBRARIES:
        path = path.removeprefix(f"{library}/")
    file = Path(path)
    name = path if not file.is_absolute() else _beside(file)
    return f"{name}:{number}: {line.strip()}" if line.strip() else f"{name}:{number}"


def _beside(file: Path) -> str:
    """A file's path as people would type it here."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
