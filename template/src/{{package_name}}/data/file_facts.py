"""Opening files, whatever they hold: all of them before training, and not again while they stay."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rich.console import Console
from rich.progress import track

from ..training.speaker import process_rank
from .file_samples import ORIGIN

if TYPE_CHECKING:
    import datasets

Row: TypeAlias = Mapping[str, Any]
Outcome = TypeVar("Outcome")


def looks(
    rows: datasets.Dataset, column: str, look: Callable[[Row], Outcome], noun: str
) -> Iterable[Outcome]:
    """What `look` returns for each row, in their order, with a line of progress.

    Args:
        rows: a table with a column of files.
        column: that one.
        look: is called with that column and `origin`, in several threads.
        noun: what the files are called, in the plural.
    """
    table = rows.select_columns([name for name in (column, ORIGIN) if name in rows.column_names])
    # a line on standard error, by the first process alone; in a log it stays there
    console = Console(stderr=True, quiet=process_rank() != 0)
    return track(
        _in_order(look, table),
        f"Checking {noun}",
        len(rows),
        console=console,
        transient=console.is_terminal,
    )


def _in_order(look: Callable[[Row], Outcome], rows: Iterable[Row]) -> Iterator[Outcome]:
    """From several threads, a few rows ahead.

    Decoding releases the interpreter lock: processes were no faster, and have to be started.
    """
    threads = (os.cpu_count() or 1) + 4  # some of them wait for the disk
    waiting: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for row in rows:
            waiting.append(pool.submit(look, row))
            if len(waiting) > 4 * threads:  # not all at once: a row may hold its file
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def source_of(file: Mapping[str, Any]) -> str | bytes:
    """The bytes of a file where they are stored, else its path."""
    source: str | bytes = file["bytes"] or file["path"]
    return source


def located(row: Row, column: str, index: int, error: Exception) -> str:
    """One line: where a file is, and what is wrong with it.

    Args:
        row: of the table; `origin` is where it was read, if that is known.
        column: of the file.
        index: of the row, for files that have no path.
        error: what reading it raised; one that begins with the path, as FileNotFoundError does,
            gets none before it.
    """
    line = str(error)
    if not isinstance(error, FileNotFoundError):
        line = f"{row[column]['path'] or f'{column} {index + 1}'}: {line}"
    return f"{row[ORIGIN]}: {line}" if ORIGIN in row else line


def files_fingerprint(rows: datasets.Dataset, column: str, settings: str) -> str:
    """Digest of the files that `rows` name and of all else that looking at them hangs on.

    A file counts with its size and time, behind links; files inside the table with the table's own
    fingerprint, which `datasets` derives from what the table was made of.

    Args:
        rows: a table with a column of files.
        column: that one.
        settings: and versions, that change what is seen.
    """
    digest = hashlib.blake2b(f"{settings}\n".encode(), digest_size=16)
    files = rows.select_columns(column).flatten()
    for path in files[f"{column}.path"][:]:
        if path is not None:
            digest.update(f"{path}\0{_file_state(path)}\n".encode(errors="surrogateescape"))
    inside = (chunk.field("bytes") for chunk in rows.data[column].chunks)
    if any(content.null_count < len(content) for content in inside):
        digest.update(files._fingerprint.encode())
    return digest.hexdigest()


def _file_state(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # whoever looks at it names it
        return None
    return status.st_size, status.st_mtime_ns


def content_digest(source: str | bytes) -> str:
    """Of what a file holds, in hexadecimal."""
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def spread(sizes: Sequence[float]) -> dict[str, float] | None:
    """Ends and middle; None of nothing."""
    if not sizes:
        return None
    return {"min": min(sizes), "median": statistics.median(sizes), "max": max(sizes)}
