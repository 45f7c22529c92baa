"""Files of weights: what is in them, read without executing anything, and what is wrong with them.

Read are safetensors, whatever `torch.save` wrote, and folders that hold such files as the library
transformers writes them, in one piece or in several.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..data.account import shown
from ..errors import ModelError

# names under which people save averaged weights, which is what they publish figures of
AVERAGED = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "model_state_dict_ema",
    "model_ema_state_dict",
    "ema_model",
    "ema_model_state_dict",
    "params_ema",
    "ema",
)
# names under which they save weights beside an optimizer and the like
CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "teacher",
    "backbone",
    "encoder",
)

# how files begin that are none of ours: what they are, and what to do
FOREIGN = {
    b"\x89HDF\r\n\x1a\n": "HDF5, such as Keras writes",
    b"GGUF": "GGUF",
    b"\x1f\x8b": "packed by gzip; unpack it first",
    b"BZh": "packed by bzip2; unpack it first",
    b"\xfd7zXZ": "packed by xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first",
    b"7z\xbc\xaf": "packed by 7z; unpack it first",
    b"Rar!": "packed by rar; unpack it first",
    b"\x93NUMPY": "an array of numpy",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF",
    b"\x08": "ONNX or another protocol buffer",
    b"\x18": "TFLite or another flat buffer",
}
LFS_POINTER = b"version https://git-lfs"
TAKEN = "safetensors, or a file that torch.save wrote"

SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.\w+)$")
INDEX_SUFFIX = ".index.json"
# files of a folder in transformers' format, the first that is there
FOLDER_FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX_SUFFIX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_SUFFIX}",
)
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class StoredWeights:
    """Weights as they were kept.

    Attributes:
        tensors: by name.
        metadata: of a state dict: versions of its modules, by their paths; None where it has none.
        entry: of the file in which they lie, such as `model_ema`; empty for the file itself.
        left_out: entries beside them that are no tensors.
        notes: what a library did to them, for people.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any] | None = None
    entry: str = ""
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_stored(path: Path) -> StoredWeights:
    """The weights in a file, or in a folder of transformers' format.

    Raises:
        ModelError: no weights in it, or not to be read; says why and what to do.
    """
    if path.is_dir():
        path = weights_file(path)
    if path.name.endswith(INDEX_SUFFIX):
        return _read_shards(path)
    shard = SHARD.match(path.name)
    if shard and int(shard["count"]) > 1:
        raise _error(path, _one_of_several(path, shard))
    if is_safetensors(path):
        return StoredWeights(_read_safetensors(path))
    return find_weights(path, read_saved(path))


def check_readable(path: Path) -> None:
    """Look at a file of weights without reading all of it.

    Raises:
        ModelError: as `read_stored`.
    """
    if path.name.endswith(INDEX_SUFFIX):
        for name in _listed(path).values():
            check_readable(path.with_name(name))
    elif is_safetensors(path):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise _cut_short(path, error) from error
    else:
        read_saved(path)


def weights_file(folder: Path) -> Path:
    """The file of weights in a folder of transformers' format.

    Raises:
        ModelError: none there.
    """
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    raise _error(
        folder,
        f"a folder without {' or '.join(FOLDER_FILES[::2])}"
        + (f"; it holds {shown(there)}" if there else ", and empty")
        + "; name the file itself",
    )


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote, tensors mapped from the disk; nothing in it is executed.

    Raises:
        ModelError: it is something else, damaged, or holds code.
    """
    _check_kind(path)
    try:
        with _open_archive(path) as names:
            # files of torch before 1.6, which are no archives, cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True, mmap=bool(names))
    except (pickle.UnpicklingError, ModuleNotFoundError) as error:
        raise _error(path, _why_not_unpickled(path, str(error))) from error
    except (
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        raise _cut_short(path, error) from error


def find_weights(path: Path, saved: Any) -> StoredWeights:
    """The state dict within what was saved; averaged weights before others.

    Raises:
        ModelError: none in it.
    """
    entry: list[str] = []
    while isinstance(saved, Mapping):
        tensors = {str(name): value for name, value in saved.items() if isinstance(value, Tensor)}
        inner = next((name for name in (*AVERAGED, *CONTAINERS) if _holds(saved, name)), None)
        if inner is None or len(tensors) > 1:
            break
        entry.append(inner)
        saved = saved[inner]
    else:
        raise _error(path, f"a {type(saved).__name__}, and no state dict; {_how_to_save()}")
    if not tensors:
        what = f"no weights, only {shown([str(name) for name in saved])}" if saved else "nothing"
        raise _error(path, f"it holds {what}; {_how_to_save()}")
    others = [str(name) for name, value in saved.items() if not isinstance(value, Tensor)]
    return StoredWeights(tensors, getattr(saved, "_metadata", None), ".".join(entry), tuple(others))


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like one of safetensors, whatever its name.

    Raises:
        ModelError: it cannot be read.
    """
    start = _start(path)
    size = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= size <= 100_000_000


def _holds(saved: Mapping[Any, Any], name: str) -> bool:
    inner = saved.get(name)
    return isinstance(inner, Mapping) and bool(inner)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _cut_short(path, error) from error


def _read_shards(index: Path) -> StoredWeights:
    """All files that an index lists."""
    places = _listed(index)
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(places.values()):
        file = index.parent / name
        if is_safetensors(file):
            tensors |= _read_safetensors(file)
        else:
            tensors |= find_weights(file, read_saved(file)).tensors
    if lacking := [name for name in places if name not in tensors]:
        raise _error(index, f"its files lack {shown(lacking)}; copy them again")
    return StoredWeights(tensors)


def _listed(index: Path) -> dict[str, str]:
    """The file of each tensor, by its name; all of them are there."""
    try:
        places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = list(dict.fromkeys(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _error(index, "not the index of a model in several files: no weight_map") from error
    if missing := [name for name in files if not (index.parent / name).is_file()]:
        raise _error(
            index,
            f"{len(missing)} of its {len(files)} files are missing: {shown(missing)}; "
            f"put them into {index.parent}",
        )
    return places


def _one_of_several(path: Path, shard: re.Match[str]) -> str:
    index = path.with_name(f"{shard['stem']}{shard['suffix']}{INDEX_SUFFIX}")
    return f"one of {int(shard['count'])} files of a model; give {index}, which lists them"


def _start(path: Path, size: int = 512) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise _error(path, f"it cannot be read: {error.strerror}") from error


def _check_kind(path: Path) -> None:
    """Say what a file is that no torch.save has written."""
    start = _start(path)
    if not start:
        raise _error(path, "an empty file; copy it again")
    if start.startswith(LFS_POINTER):
        raise _error(path, "a pointer of Git LFS, not the weights; run `git lfs pull` there")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        raise _error(
            path,
            "a web page, not the weights; download the file itself, not the page that shows it",
        )
    if text.startswith((b"{", b"[")):
        raise _error(path, f"JSON, and no weights; give {TAKEN}")
    for beginning, kind in FOREIGN.items():
        if start.startswith(beginning):
            raise _error(path, f"{kind}; give {TAKEN}")
    if not start.startswith((b"PK", b"\x80")) and not _is_tar(path):
        kind = "text" if _is_text(start) else "of no kind that is known"
        raise _error(path, f"{kind}; give {TAKEN}")


def _is_tar(path: Path) -> bool:
    """Files of torch before 0.4 are tar archives."""
    return _start(path)[257:262] == b"ustar"


def _is_text(start: bytes) -> bool:
    is_utf8 = "\ufffd" not in start.decode("utf-8", "replace")[:-1]  # the last may be cut
    return is_utf8 and all(byte >= 32 or byte in b"\t\r\n" for byte in start)


@contextmanager
def _open_archive(path: Path) -> Iterator[list[str]]:
    """Names in an archive of torch.save, empty for a file of old that is none.

    Raises:
        ModelError: an archive of another kind.
        zipfile.BadZipFile: cut short, which torch tells in many ways.
    """
    if _start(path)[:2] != b"PK":
        yield []
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        raise _error(
            path,
            "a TorchScript program; save its weights alone: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt')",
        )
    if "data.pkl" not in inner:
        raise _error(path, f"a zip archive with {shown(names)}; unpack it, and give {TAKEN}")
    yield names


def _why_not_unpickled(path: Path, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None and "magic number" in message.lower():
        return f"a pickle that torch.save did not write; give {TAKEN}"
    what = f" ({found[1]})" if found else ""
    return (
        f"it holds objects of Python{what}, such as a whole module, and not weights alone; reading "
        "those would execute code. Where you trust it, save the weights alone: "
        f"m = torch.load({path.name!r}, weights_only=False), then torch.save(m.state_dict(), "
        "'weights.pt'), or m['state_dict'] of a mapping"
    )


def _how_to_save() -> str:
    return "save the weights: torch.save(network.state_dict(), 'weights.pt')"


def _cut_short(path: Path, error: Exception) -> ModelError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    size = path.stat().st_size
    return _error(path, f"cut short or damaged ({size:,} bytes): {reason}; copy it again")


def _error(path: Path, problem: str) -> ModelError:
    return ModelError(f"pretrained: {path}: {problem}")
