"""What the user can put right, said in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import click


class Problem(click.ClickException):
    """Something failed; the message says what and what to do about it. Exit code 1."""


class Unreachable(Problem):
    """A template's repository could not be read. Exit code 1."""


class Misuse(Problem):
    """The command was called wrongly. Exit code 2."""

    exit_code = 2


def nearest(wrong: str, names: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name: its nearest match, or all names."""
    names = list(names)
    by_lower = {name.lower(): name for name in names}
    if close := get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.5):
        return f"did you mean {by_lower[close[0]]!r}?"
    return f"known are {', '.join(names)}"


def one_line(text: str) -> str:
    """Fold a message of several lines into one."""
    return re.sub(r"\s*\n\s*", " ", text.strip())


@contextmanager
def copier_errors_in_one_line() -> Iterator[None]:
    """Turn what Copier, Git and Jinja raise on bad input into a `Problem`."""
    from copier.errors import CopierError
    from jinja2 import TemplateError
    from plumbum import CommandNotFound, ProcessExecutionError

    try:
        yield
    except KeyboardInterrupt:
        # Copier's interrupt is a CopierError too; it must not be mistaken for a bad answer.
        raise
    except ProcessExecutionError as error:
        from tp35.git import explained

        command = " ".join(map(str, error.argv[:2]))
        raise Problem(explained(command, str(error.stderr or error.stdout))) from error
    except CommandNotFound as error:
        raise Problem(f"{error.program} is not installed or not on PATH") from error
    except (CopierError, ValueError, TemplateError) as error:
        message = one_line(str(error))
        if bad := re.match(r"Validation error for question '(\w+)': (.*)", message):
            raise Misuse(f"{bad[1]}: {bad[2]}") from error
        raise Problem(message) from error
