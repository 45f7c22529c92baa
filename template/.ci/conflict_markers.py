"""Names every conflict marker in the files that Git tracks, as path:line; exits with 1 if any.

A marker is a line that begins with exactly seven < or > and goes on with a label, as Git, Copier
and patches write it; without a label only where the file has both kinds. Lines of = alone are
headings as often. To quote markers, indent them, or give the file another size of its own in
.gitattributes (`docs/merging.md conflict-marker-size=20`), which Git's merges respect as well.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

SIZE = 7  # Git's own
LIKE_GIT = 8000  # bytes in which a zero byte makes a file binary


def git(*arguments: str, given: bytes = b"") -> list[str]:
    """The fields of what Git prints, which ends each with a zero byte."""
    done = subprocess.run(["git", *arguments], input=given, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(2)  # Git has said why
    return os.fsdecode(done.stdout).split("\0")[:-1]


def tracked_files() -> dict[str, int]:
    """Every tracked file that is here, with the size of its conflict markers."""
    files = [path for path in git("ls-files", "-z") if is_file(Path(path))]
    names = "".join(f"{path}\0" for path in files)
    found = git("check-attr", "-z", "--stdin", "conflict-marker-size", given=os.fsencode(names))
    return {
        path: int(size) if size.isdecimal() else SIZE
        for path, size in zip(found[::3], found[2::3], strict=True)
    }


def is_file(path: Path) -> bool:
    """Neither a link nor a submodule, nor left out of a sparse checkout."""
    return path.is_file() and not path.is_symlink()


def marked_lines(content: bytes, size: int) -> list[tuple[int, str]]:
    """The number and text of each line that is a marker; none of a binary file's."""
    if b"\0" in content[:LIKE_GIT]:
        return []
    marker = re.compile(rb"(<{%d}|>{%d})( .*)?\r?" % (size, size))
    lines = [
        (number, found)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if (found := marker.fullmatch(line))
    ]
    both = len({found[1] for _, found in lines}) == 2
    return [(number, os.fsdecode(found[0]).rstrip()) for number, found in lines if found[2] or both]


def main() -> int:
    """Print what is found; gives the exit code."""
    found = [
        f"{path}:{number}: {text}"
        for path, size in tracked_files().items()
        for number, text in marked_lines(Path(path).read_bytes(), size)
    ]
    if not found:
        return 0
    lines = ["Conflict markers are committed; edit each place and remove them:", *found, ""]
    sys.stdout.buffer.write(os.fsencode("\n".join(lines)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
