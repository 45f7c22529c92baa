"""The built-in sample set: sources of Python's own standard library, as this interpreter has them.

For language modelling: the files of some packages as text. For classification: snippets of them,
to tell which package each comes from.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from .new_folder import new_folder

PACKAGES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)

# every tenth file, or snippet, validates
VALIDATION_EVERY = 10

SNIPPET_LINES = 8


def write_sample(destination: Path, task: str) -> int:
    """Write the sources in the layout that `task` reads; the folder appears whole or not at all.

    Language modelling: a `.txt` file for each source file, in `train/` and `val/`. Classification:
    `train.jsonl` and `val.jsonl`, each line a snippet with its package as label.

    Returns:
        how many files or snippets were written.

    Raises:
        DataError: the destination exists or cannot be written, or this Python has no sources.
    """
    sources = list(_sources(Path(sysconfig.get_path("stdlib"))))
    if not sources:
        raise DataError("this Python comes without its sources; bring data of your own")
    write = _write_snippets if task == "text_classification" else _write_texts
    with new_folder(destination) as folder:
        return write(folder, sources)


def _sources(library: Path) -> Iterator[tuple[str, str]]:
    """Module name and text of every source file that says more than a line or two."""
    for package in PACKAGES:
        for path in sorted((library / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            relative = path.relative_to(library)
            if len(text) > 400 and not {"test", "tests"} & set(relative.parts):
                yield ".".join(relative.with_suffix("").parts), text


def _write_texts(root: Path, sources: list[tuple[str, str]]) -> int:
    for number, (module, text) in enumerate(sources):
        folder = root / _split(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.txt").write_text(text, encoding="utf-8", newline="\n")
    return len(sources)


def _write_snippets(root: Path, sources: list[tuple[str, str]]) -> int:
    root.mkdir(parents=True)
    rows = [
        {"text": snippet, "label": module.partition(".")[0]}
        for module, text in sources
        for snippet in _snippets(text)
    ]
    for split in ("train", "val"):
        lines = [json.dumps(row) for number, row in enumerate(rows) if _split(number) == split]
        (root / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def _snippets(text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    for start in range(0, len(lines), SNIPPET_LINES):
        yield "\n".join(lines[start : start + SNIPPET_LINES])


def _split(number: int) -> str:
    return "val" if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"
