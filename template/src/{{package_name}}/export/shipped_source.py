"""The source of a network, taken along in a bundle with what it reads."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..architecture import Architecture
from ..errors import ExportError
from ..source_files import INIT, SourceFile

SINGLE = "artifacts/model.py"
ROOT = "artifacts/source"

WEIGHTS = frozenset(
    [
        ".bin",
        ".ckpt",
        ".gz",
        ".h5",
        ".msgpack",
        ".npy",
        ".npz",
        ".pickle",
        ".pkl",
        ".pt",
        ".pth",
        ".safetensors",
        ".tar",
        ".zip",
    ]
)
CODE = frozenset([".dll", ".dylib", ".py", ".pyc", ".pyd", ".pyi", ".so"])


def ship_source(architecture: Architecture, stage: Path) -> dict[str, Any]:
    """Copy the code of a network into a bundle.

    Returns:
        `source`, the file to run, None for a library's network; `sources`, all files to load before
        that; `root`, the folder from which their imports count, and `module`, the name of the file
        to run as seen from there.

    Raises:
        ExportError: building it reads files that would not be there.
    """
    source = architecture.source
    if source is None:
        return {"module": architecture.module, "source": None, "sources": [], "root": None}
    read = _files_read(architecture, source)
    needs = source.needs()
    if len(needs) == 1 and not read:
        shutil.copyfile(source.file, stage / SINGLE)
        return {"module": "", "source": SINGLE, "sources": [SINGLE], "root": None}
    files = {file: f"{ROOT}/{file.relative_to(source.root.resolve())}" for file in needs.values()}
    files |= {file: f"{ROOT}/{file.relative_to(source.root.resolve())}" for file in read}
    for file, name in files.items():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, stage / name)
    for name in list(files.values()):  # what a package's own __init__ does is none of the network's
        for folder in Path(name).relative_to(ROOT).parents[:-1]:
            init = stage / ROOT / folder / INIT
            if name.endswith(".py") and not init.exists():
                init.touch()
    shipped = sorted(
        path.relative_to(stage).as_posix() for path in (stage / ROOT).rglob("*") if path.is_file()
    )
    return {
        "module": source.name,
        "source": Path(files[source.file.resolve()]).as_posix(),
        "sources": shipped,
        "root": ROOT,
    }


def _files_read(architecture: Architecture, source: SourceFile) -> list[Path]:
    """What building the network reads, besides code; all of it beside its source.

    Raises:
        ExportError: weights, which the bundle has already; or a file from elsewhere.
    """
    with files_opened() as opened:
        architecture.build()
    root, libraries = source.root.resolve(), Path(os.__file__).resolve().parent
    found = []
    for file in dict.fromkeys(Path(name).resolve() for name in opened):
        is_weights = file.suffix.lower() in WEIGHTS and not _is_site_file(file)
        is_library = file.is_relative_to(libraries) or file.is_relative_to(sys.prefix)
        if not file.is_file() or (not is_weights and (file.suffix in CODE or is_library)):
            continue
        if is_weights:
            raise ExportError(
                f"pytorch: {architecture.name} of {source.file.name} reads the weights in {file}, "
                "which a bundle does not carry; let it build the network only and give the file as "
                "`pretrained`, or leave pytorch out of export_formats"
            )
        if not file.is_relative_to(root):
            if not file.is_relative_to("/proc") and not file.is_relative_to("/sys"):
                raise ExportError(
                    f"pytorch: {architecture.name} of {source.file.name} reads {file}, which a "
                    f"bundle does not carry; move it below {root}, or leave pytorch out of "
                    "export_formats"
                )
            continue
        found.append(file)
    return found


def _is_site_file(file: Path) -> bool:
    """A .pth that tells Python where packages are."""
    return file.suffix == ".pth" and file.parent.name == "site-packages"


_LISTENERS: list[list[str]] = []


@contextmanager
def files_opened() -> Iterator[list[str]]:
    """Names of the files that Python opens to read; compiled code opens others unseen."""
    if not _LISTENERS:
        _LISTENERS.append([])  # a hook stays for ever
        sys.addaudithook(_note)
    opened: list[str] = []
    _LISTENERS.append(opened)
    try:
        yield opened
    finally:
        _LISTENERS.remove(opened)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and len(_LISTENERS) > 1:
        path, mode, _ = arguments
        if isinstance(path, str | os.PathLike) and not (mode and set("wax+") & set(mode)):
            for listener in _LISTENERS[1:]:
                listener.append(os.fspath(path))
