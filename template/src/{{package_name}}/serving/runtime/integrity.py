"""What the bundle records about itself, and whether its files are as recorded.

Needs nothing but Python: `server.py` runs this file before anything else of the bundle.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import math
import os
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import all_suffixes
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

METADATA = "metadata.json"
# made after metadata.json, over all other files
SIGNATURE = "model.sig"
# the newest that this code reads
BUNDLE_VERSION = 1
# what whoever deploys the bundle edits
DEPLOYMENT = {
    ".dockerignore",
    "Dockerfile",
    "MODEL_CARD.md",
    "README.md",
    "compose.yaml",
    "kubernetes.yaml",
    "torchserve/config.properties",
    "torchserve/model-config.yaml",
}
# TorchServe's archive has a second copy of it, where it may be imported
ARCHIVED = {"handler.py": "torchserve/handler.py"}
# what Python may run of a folder; .pth where the folder is one of its site-packages
IMPORTABLE = (*all_suffixes(), ".pth")
# of the files that Python writes beside its sources, at each level of optimisation
OPTIMIZATIONS = {"": 0, "1": 1, "2": 2}
CACHE = "__pycache__"

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Form: TypeAlias = "type | tuple[type, ...] | list[Form] | dict[str, Form]"
"""Kinds of a value, the form of each element, or those of a table; `*` stands for any key.

What a key ending in `?` has may be null, or not be there at all.
"""
NUMBER = (int, float)
TENSOR: Form = {"name": str, "dtype": str, "shape": [(int, str)]}
STANDARDISATION: Form = {"mean": [NUMBER], "std": [NUMBER]}
FORM: Form = {
    "bundle_version": int,
    "name": str,
    "project?": {"name": str},
    "modality": str,
    "task_type": str,
    "class_names": [str],
    "inputs": [TENSOR],
    "artifact_inputs": {"*": [TENSOR]},
    "limits": {"*": int},
    "input_schema": dict,
    "preprocessing": dict,
    "artifacts": {"*": str},
    "cache?": {"tensors": [TENSOR], "artifacts": {"*": str}},
    "standardisation?": STANDARDISATION,
    "oldest_onnxruntime?": str,
    "architecture?": {
        "name": str,
        "module?": str,
        "source?": str,
        "sources?": [str],
        "root?": str,
        "kwargs": dict,
        "task?": [str],
        "config?": dict,
        "call": {"args": [str], "kwargs": {"*": str}, "logits": [(int, str)]},
    },
    "example?": {
        "input": str,
        "logits": list,
        "tolerance": NUMBER,
        "own_answers?": {"*": {"logits": list, "tolerance": NUMBER}},
    },
    "files": {"*": {"sha256": str}},
}
"""What the code here reads of metadata.json."""
NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class BundleError(Exception):
    """The bundle is damaged, incomplete, or cannot run here; the message names what and why."""


# --- metadata.json -------------------------------------------------------------------------------


def read_metadata(bundle: Path) -> dict[str, Any]:
    """What the bundle says about itself, of which the code here can use all that it reads.

    Raises:
        BundleError: there is no metadata.json, it is damaged or of another program, of a version
            to come, or it names files outside of the bundle.
    """
    try:
        text = (bundle / METADATA).read_text(encoding="utf-8")
        # bundles of earlier versions hold NaN for a metric that is not finite
        metadata = json.loads(text, parse_constant=lambda _: None)
    except OSError as error:
        raise BundleError(f"{METADATA} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{METADATA} is damaged: {error}") from error
    _check_version(metadata)
    if misfit := _misfit(metadata, FORM, ""):
        raise BundleError(f"{METADATA} is damaged, or not of a bundle: {misfit}")
    _check_files(bundle, metadata)
    found: dict[str, Any] = metadata
    return found


def _check_version(metadata: object) -> None:
    version = metadata.get("bundle_version") if isinstance(metadata, dict) else None
    if isinstance(version, int) and version > BUNDLE_VERSION:
        raise BundleError(
            f"{METADATA} is of bundle version {version}, and this code reads {BUNDLE_VERSION}; "
            "use the files that were exported with it"
        )


def _misfit(value: Any, form: Form, place: str) -> str | None:
    """Where a value does not have its form, and what belongs there; None where it has."""
    match form:
        case dict():
            return _misfit_of_table(value, form, place)
        case list():
            if not isinstance(value, list):
                return _told(place, (list,))
            places = (f"{place}[{number}]" for number in range(len(value)))
            misfits = (_misfit(one, form[0], at) for one, at in zip(value, places, strict=True))
            return next(filter(None, misfits), None)
        case _:
            kinds = form if isinstance(form, tuple) else (form,)
            # true and false are numbers to Python, as is infinity, which 1e999 is read as
            is_kind = isinstance(value, kinds) and not isinstance(value, bool)
            is_finite = not isinstance(value, float) or math.isfinite(value)
            return None if is_kind and is_finite else _told(place, kinds)


def _misfit_of_table(value: Any, form: Mapping[str, Form], place: str) -> str | None:
    if not isinstance(value, dict):
        return _told(place, (dict,))
    for key, inner in form.items():
        name = key.removesuffix("?")
        keys = list(value) if name == "*" else [name]
        for one in keys:
            if key.endswith("?") and value.get(one) is None:
                continue
            at = f"{place}.{one}" if place else one
            if one not in value:
                return f"it has no {at}"
            if misfit := _misfit(value[one], inner, at):
                return misfit
    return None


def _told(place: str, kinds: tuple[type, ...]) -> str:
    wanted = " or ".join(NAMES[kind] for kind in kinds)
    return f"{place or 'all of it'} is not {wanted}"


def _check_files(bundle: Path, metadata: Mapping[str, Any]) -> None:
    """Names of files are those of recorded ones, which lie in the bundle."""
    files = metadata["files"]
    if not metadata["artifacts"]:
        raise BundleError(f"{METADATA} names no artifact")
    for name in _named_files(metadata):
        if name not in files:
            raise BundleError(f"{METADATA} names {name}, but records no hash of it")
    folders = [architecture["root"]] if (architecture := _rooted(metadata)) else []
    whole = os.path.realpath(bundle)
    for name in (*files, *folders):
        # a link that leads to itself is no error here; its file is missing
        if not (_is_plain(name) and Path(os.path.realpath(bundle / name)).is_relative_to(whole)):
            raise BundleError(f"{name} leads out of the bundle, whose files lie in its own folder")


def _rooted(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How to build the network, where its code has a folder of its own."""
    architecture: Mapping[str, Any] | None = metadata.get("architecture")
    return architecture if architecture and architecture.get("root") else None


def _named_files(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield from metadata["artifacts"].values()
    if cache := metadata.get("cache"):
        yield from cache["artifacts"].values()
    if architecture := metadata.get("architecture"):
        yield from architecture.get("sources") or filter(None, [architecture.get("source")])
    if example := metadata.get("example"):
        yield example["input"]


def _is_plain(name: str) -> bool:
    """Whether it is a relative path that goes down only, on any system."""
    windows = PureWindowsPath(name)
    return bool(name) and not (
        PurePosixPath(name).is_absolute()
        or windows.anchor
        or ".." in (*PurePosixPath(name).parts, *windows.parts)
    )


# --- Is it as recorded? --------------------------------------------------------------------------


def verify_files(bundle: Path, *, only_model: bool = False) -> int:
    """Compare every file with its recorded hash.

    Until then `inference.py` and the files beside this one are all that has been executed.

    Args:
        bundle: its folder.
        only_model: accept extra files that nothing imports, which an archive of TorchServe has,
            and changes to the settings of a deployment, which are there to be changed.

    Returns:
        how many files were compared.

    Raises:
        BundleError: naming every changed, missing and extra file.
    """
    recorded = read_metadata(bundle)["files"]
    checked = set(recorded) - DEPLOYMENT if only_model else set(recorded)
    problems = list(_changes(bundle, recorded, checked))
    if only_model:
        problems += _code_problems(bundle, recorded)
    else:
        extra = set(_names(bundle)) - set(recorded) - {METADATA, SIGNATURE}
        problems += [_foreign(name) for name in sorted(extra)]
    _refuse(problems)
    return len(checked)


def verify_code(bundle: Path) -> None:
    """Compare what Python would run of a bundle with what is recorded; quick, for artifacts wait.

    Raises:
        BundleError: naming every changed or missing script, every file that stands in for a module,
            and every compiled copy that is not of its script.
    """
    recorded = read_metadata(bundle)["files"]
    scripts = {name for name in recorded if name.endswith(IMPORTABLE)}
    _refuse([*_changes(bundle, recorded, scripts), *_code_problems(bundle, recorded)])


def digest_of(bundle: Path) -> str:
    """`sha256:<hexadecimal>` of metadata.json, and by the hashes in it of the whole bundle.

    Raises:
        BundleError: it cannot be read.
    """
    return f"sha256:{_hash(bundle, METADATA)}"


def proof(bundle: Path, digest: str | None = None) -> str:
    """What is proved of a bundle whose files are as metadata.json records, and what is not.

    Args:
        bundle: its folder.
        digest: of metadata.json, noted down where nobody who changes the bundle can change it.

    Returns:
        one line.

    Raises:
        BundleError: metadata.json has another digest, or `digest` is none.
    """
    if digest is None:
        signed = (
            f"; {SIGNATURE} does: model_signing verify key --public_key KEY.pem "
            f"--signature {SIGNATURE} --ignore-paths {SIGNATURE} ."
        )
        return (
            f"nothing here proves {METADATA} itself: compare it with the digest that the export "
            f"printed, by --digest{signed if (bundle / SIGNATURE).exists() else ''}"
        )
    if not DIGEST.fullmatch(digest):
        raise BundleError(f"{digest!r} is no digest; one is sha256: and 64 hexadecimal digits")
    found = digest_of(bundle)
    if found != digest:
        raise BundleError(f"{METADATA} has the digest {found}, and not {digest}")
    return (
        f"{METADATA} has the digest given, so these are the files that were exported; that is "
        "proved as far as the code that compares is trusted, which is one of them"
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    # imported late: it loads OpenSSL, which a prediction has no use for
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(bundle: Path, name: str) -> str:
    try:
        return file_hash(bundle / name)
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}") from error


def _refuse(problems: list[str]) -> None:
    if problems:
        raise BundleError("; ".join(problems))


def _foreign(name: str) -> str:
    return f"{name} does not belong here"


def _changes(bundle: Path, recorded: Mapping[str, Any], names: set[str]) -> Iterator[str]:
    missing = {name for name in names if not (bundle / name).is_file()}
    yield from (f"{name} is missing" for name in sorted(missing))
    for name in sorted(names - missing):
        if _hash(bundle, name) != recorded[name]["sha256"]:
            yield f"{name} has changed"


def _code_problems(bundle: Path, recorded: Mapping[str, Any]) -> Iterator[str]:
    """Files that Python would run and nobody recorded.

    The bundle's folder comes first where Python looks for modules, so a numpy.py in it is imported
    instead of the library, and a compiled copy instead of its script.
    """
    scripts = {name for name in recorded if name.endswith(".py")}
    for name in sorted(set(_names(bundle)) - set(recorded)):
        original = ARCHIVED.get(name)
        if original and _hash(bundle, name) == recorded[original]["sha256"]:
            scripts.add(name)
        elif _is_importable(bundle, name):
            yield f"{_foreign(name)}: Python may import it"
    for name in sorted(scripts):
        for optimization, level in OPTIMIZATIONS.items():
            copy = Path(
                importlib.util.cache_from_source(str(bundle / name), optimization=optimization)
            )
            if copy.is_file() and not _is_compiled(copy, bundle / name, level):
                place = os.path.relpath(copy, bundle)
                yield f"{place} is not what {name} compiles to; remove it"


def _is_importable(bundle: Path, name: str) -> bool:
    """Whether an import statement can name it: a module, or a link that may be a package."""
    path = PurePosixPath(name)
    if not all(part.isidentifier() for part in path.parts[:-1]):
        return False
    if (bundle / name).is_dir():
        return path.name.isidentifier()
    stems = (path.name.removesuffix(end) for end in IMPORTABLE if path.name.endswith(end))
    return any(stem.isidentifier() for stem in stems)


def _is_compiled(copy: Path, source: Path, level: int) -> bool:
    """Whether a compiled copy is what the source compiles to in this Python."""
    try:
        # behind the header, which says for which Python and which state of the source it is
        code = marshal.loads(copy.read_bytes()[16:])
        wanted = compile(source.read_bytes(), source, "exec", dont_inherit=True, optimize=level)
    except (OSError, EOFError, SyntaxError, TypeError, ValueError):
        return False
    return bool(code == wanted)


def _names(bundle: Path) -> Iterator[str]:
    """Files, and links to folders, which may hold anything."""
    for folder, folders, files in os.walk(bundle):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        # Python's own cache, written when inference.py is imported
        folders[:] = [name for name in folders if name != CACHE]
        for name in (*files, *links):
            yield Path(folder, name).relative_to(bundle).as_posix()
