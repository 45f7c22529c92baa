"""Loading weights into a network: what fits, what is new, and what has to be refused."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..config import TrainingConfig
from ..errors import ModelError
from .files import StoredWeights
from .head import AUXILIARY, base_model_prefix, head_parameters, is_told, module, modules, plain

# of names in a message
SHOWN = 3

# layers behind the encoder that only some of transformers' checkpoints have
POOLER = "pooler"


@dataclass(frozen=True)
class Vocabulary:
    """How the rows of an embedding changed: the tokenizer has other ids than the weights.

    Attributes:
        size: ids of the tokenizer.
        copied: new ids that begin as another one did, by their own.
    """

    size: int
    copied: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What became of some weights.

    Attributes:
        lines: what was loaded and what was not, for people.
        new: modules that are new where the network's library does not tell them; else None.
    """

    lines: list[str]
    new: list[str] | None


def load_weights(
    network: nn.Module,
    stored: StoredWeights,
    config: TrainingConfig,
    num_outputs: int,
    *,
    name: str,
    vocabulary: Vocabulary | None = None,
) -> Loaded:
    """Put weights into a network, which is changed in place, or not at all.

    Names may have a prefix on one side, as `nn.DataParallel`, torch.compile and Lightning leave
    them, and any floating-point format becomes that of the network. A head of another width, or
    one that the weights lack, is new.

    Args:
        network: with fresh weights.
        stored: the weights.
        config: its `head` and `allow_partial`.
        num_outputs: of the task.
        name: of the weights, for people.
        vocabulary: of the tokenizer; embeddings of other sizes get its rows.

    Raises:
        ModelError: nothing fits, or, unless `allow_partial`, something but the head is missing,
            not expected, or of another shape.
        ConfigError: as `head_parameters`.
    """
    own = {plain(key): value for key, value in network.state_dict(keep_vars=True).items()}
    rename = _best_renaming(stored.tensors, own, network)
    tensors = {rename(key): value for key, value in stored.tensors.items()}
    lines: list[str] = []
    if vocabulary is not None:
        lines += _fit_vocabulary(tensors, own, vocabulary)
    lines += _fit_positions(tensors, own, network)
    comparison = _compare(tensors, own)
    head = set(modules(head_parameters(network, config, num_outputs)))
    verdict = _judge(comparison, tensors, own, network, head, config)
    taken = {key: tensors[key] for key in comparison.fitting if key not in verdict.new}
    if not any(isinstance(own[key], nn.Parameter) for key in taken):
        raise ModelError(_nothing_fits(name, stored.tensors, own))
    if verdict.wrong and not config.allow_partial:
        raise ModelError(f"pretrained: {name} does not fit the network: {verdict.wrong}")
    _put(network, taken, stored.metadata, rename)
    entry = f", its entry {stored.entry}" if stored.entry else ""
    line = f"pretrained: loaded {len(taken)} of {len(own)} tensors from {name}{entry}"
    lines = ["; ".join([line, *verdict.told]), *lines]
    lines += [f"pretrained: {note}" for note in stored.notes]
    if stored.left_out:
        lines.append(f"pretrained: left out of {name}, no tensors: {few(stored.left_out)}")
    if verdict.wrong:
        lines.append(f"pretrained: allow_partial: {verdict.wrong}")
    return Loaded(lines, verdict.found)


def few(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are."""
    listed = list(names)
    more = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {more} more" if more > 0 else "")


# --- Names ---------------------------------------------------------------------------------------

Renaming = Callable[[str], str]


def _best_renaming(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor], network: nn.Module
) -> Renaming:
    """The way to read the names of the weights by which most are those of the network.

    Prefixes go only where all names have them, or else where most do and the others stay as they
    are: nothing of those fits, and it is told. Weights of a part of the network, such as its
    `backbone`, get the name of the part.
    """
    parts = [name for name, child in network.named_children() if _has_weights(child)]
    best, most = _plainly(""), -1
    for stripped in _prefixes(stored):
        for added in ("", *(f"{part}." for part in parts)):
            rename = _plainly(stripped, added)
            renamed = {rename(key) for key in stored}
            fitting = len(renamed & own.keys())
            if fitting > most and len(renamed) == len(stored):
                best, most = rename, fitting
    return best


def _prefixes(stored: Mapping[str, Tensor]) -> list[str]:
    """Prefixes that may go, from none to the longest."""
    found, rest = [""], [plain(key) for key in stored]
    while firsts := Counter(key.partition(".")[0] for key in rest if "." in key):
        part, count = firsts.most_common(1)[0]
        if 2 * count <= len(stored):
            break
        found.append(f"{found[-1]}{part}.")
        rest = [key.removeprefix(f"{part}.") for key in rest if key.startswith(f"{part}.")]
    return found


def _plainly(stripped: str, added: str = "") -> Renaming:
    def rename(key: str) -> str:
        bare = plain(key)
        return added + bare.removeprefix(stripped) if bare.startswith(stripped) else bare

    return rename


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


# --- Vocabulary ----------------------------------------------------------------------------------


def _fit_vocabulary(
    tensors: dict[str, Tensor], own: Mapping[str, Tensor], vocabulary: Vocabulary
) -> list[str]:
    """Give embeddings, and layers with an output for each token, the rows that the tokenizer has.

    Rows behind its last id stand for nothing; ids behind the last row begin as the mean of all.
    """
    sizes: set[int] = set()
    for key, value in tensors.items():
        wanted = own.get(key)
        if wanted is None or is_lazy(wanted) or not value.ndim or value.shape == wanted.shape:
            continue
        if wanted.shape[0] == vocabulary.size and value.shape[1:] == wanted.shape[1:]:
            sizes.add(len(value))
            tensors[key] = _rows(value, vocabulary)
    return [
        f"pretrained: the weights have {size} tokens and the tokenizer {vocabulary.size}: "
        + ("the rest is left out" if size > vocabulary.size else "the new ones begin as the mean")
        for size in sorted(sizes)
    ]


def _rows(value: Tensor, vocabulary: Vocabulary) -> Tensor:
    """[old, ...] to [size, ...]."""
    rows = value[: vocabulary.size]
    if len(rows) == vocabulary.size:
        return rows
    new = rows.float().mean(0, keepdim=True).to(rows.dtype)
    rows = torch.cat([rows, new.expand(vocabulary.size - len(rows), *rows.shape[1:])])
    for index, other in vocabulary.copied.items():
        if len(value) <= index < len(rows) and other < len(value):
            rows[index] = value[other]
    return rows


# --- Positions -----------------------------------------------------------------------------------


def _fit_positions(
    tensors: dict[str, Tensor], own: Mapping[str, Tensor], network: nn.Module
) -> list[str]:
    """Bring positions in a transformer of torchvision to another size of images, as it does."""
    library: Any = sys.modules.get("torchvision.models.vision_transformer")
    if library is None:  # a network of it would have imported it
        return []
    lines = []
    for path, part in network.named_modules():
        if not isinstance(part, library.VisionTransformer):
            continue
        name = "encoder.pos_embedding"
        key = plain(f"{path}.{name}").removeprefix(".")
        if key not in tensors or tensors[key].shape == own[key].shape:
            continue
        with contextlib.suppress(ValueError):  # of no square: then it is told as another shape
            state = {name: tensors[key].float()}
            fitted = library.interpolate_embeddings(part.image_size, part.patch_size, state)[name]
            had, has = (math.isqrt(value.shape[1] - 1) for value in (tensors[key], fitted))
            tensors[key] = fitted
            lines.append(
                f"pretrained: torchvision interpolated {key}, of {had} x {had} places, to {has} x "
                f"{has}"
            )
    return lines


# --- What fits -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Comparison:
    """Names of the network's tensors and of the weights', by how they go together."""

    fitting: list[str]
    reshaped: list[str]
    missing: list[str]
    unexpected: list[str]


def _compare(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> _Comparison:
    fitting = [key for key in own if key in tensors and _fits(tensors[key], own[key])]
    reshaped = [key for key in own if key in tensors and not _fits(tensors[key], own[key])]
    # a tensor under two names, tied, need be kept under one only
    there = {id(own[key]) for key in (*fitting, *reshaped)}
    missing = [
        key
        for key, value in own.items()
        if key not in tensors and id(value) not in there and not _is_derived(value)
    ]
    unexpected = [
        key for key in tensors if key not in own and not key.endswith("num_batches_tracked")
    ]
    return _Comparison(fitting, reshaped, missing, unexpected)


def _fits(value: Tensor, own: Tensor) -> bool:
    kind = value.is_quantized or value.layout is not torch.strided
    alike = value.is_complex() == own.is_complex()
    return not kind and alike and (is_lazy(own) or value.shape == own.shape)


def _is_derived(value: Tensor) -> bool:
    """Counters and tables of indices, which a network makes by itself."""
    return not isinstance(value, nn.Parameter) and not value.is_floating_point()


@dataclass(frozen=True)
class _Verdict:
    """What is to become of what does not fit.

    Attributes:
        new: tensors of the network that stay as they are.
        told: what to tell of them.
        wrong: what must not be passed over; empty where nothing is.
        found: modules that are the head by this comparison; None where the library tells.
    """

    new: set[str]
    told: list[str]
    wrong: str
    found: list[str] | None


def _judge(
    comparison: _Comparison,
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    network: nn.Module,
    head: set[str],
    config: TrainingConfig,
) -> _Verdict:
    unlike = [*comparison.reshaped, *comparison.missing]
    told = config.head is not None or is_told(network)
    allowed = {key for key in unlike if module(key) in head or _is_pooler(key, network)}
    if not told:
        allowed |= _behind(comparison.fitting, own) & set(unlike)
    new_modules = modules(key for key in own if key in allowed)
    # a bias belongs to its matrix
    new = {key for key in own if module(key) in new_modules} | set(unlike)
    is_renamed = any(module(key) in head for key in comparison.missing)
    left = _own_head(comparison.unexpected, tensors, network, head, is_renamed)
    wrong = _describe(
        [key for key in comparison.reshaped if key not in allowed],
        [key for key in comparison.missing if key not in allowed],
        [key for key in comparison.unexpected if key not in left],
        tensors,
        own,
    )
    news = [f"new: {few(_compared(name, tensors, own) for name in new_modules)}"]
    lost = [f"left out, the weights' own head: {few(modules(left))}"]
    return _Verdict(
        new,
        (news if new_modules else []) + (lost if left else []),
        wrong,
        None if told or not new_modules else new_modules,
    )


def _behind(fitting: list[str], own: Mapping[str, Tensor]) -> set[str]:
    """Tensors that come behind all that fit, as a head does."""
    names = list(own)
    last = max((names.index(key) for key in fitting), default=len(names))
    return set(names[last + 1 :])


def _is_pooler(key: str, network: nn.Module) -> bool:
    return base_model_prefix(network) is not None and POOLER in key.split(".")


def _own_head(
    unexpected: list[str],
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    head: set[str],
    is_renamed: bool,
) -> list[str]:
    """Those tensors of the weights that were the head, or auxiliary outputs, of another task."""
    prefix = base_model_prefix(network)
    outside = [] if prefix is None else [k for k in unexpected if not k.startswith(f"{prefix}.")]
    left = [
        key
        for key in unexpected
        if module(key) in head
        or any(part in AUXILIARY for part in key.split("."))
        or key in outside
        or _is_pooler(key, network)
    ]
    rest = [key for key in unexpected if key not in left]
    # a single layer in place of the network's own, under another name
    is_layer = len(modules(rest)) == 1 and any(tensors[key].ndim >= 2 for key in rest)
    return [*left, *rest] if is_layer and is_renamed else left


def _compared(name: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """A new layer, and how it differs from that of the weights."""
    for key, value in own.items():
        if module(key) == name and key in tensors and not _fits(tensors[key], value):
            before, now = tensors[key].shape, value.shape
            if before[1:] == now[1:]:
                return f"{name} ({now[0]} outputs instead of {before[0]})"
            return f"{name} ({list(now)} instead of {list(before)})"
    return f"{name} (not in the weights)"


def _describe(
    reshaped: list[str],
    missing: list[str],
    unexpected: list[str],
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
) -> str:
    """All that does not fit, and a remedy; empty where everything does."""
    shapes = [f"{key} {list(tensors[key].shape)} for {list(own[key].shape)}" for key in reshaped]
    parts = [
        f"{what}: {few(names)}"
        for what, names in (
            ("of another shape", shapes),
            ("missing", missing),
            ("not in the network", unexpected),
        )
        if names
    ]
    if not parts:
        return ""
    return f"{'; '.join(parts)}; {_remedy(reshaped, tensors, own)}"


def _remedy(reshaped: list[str], tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    for key in reshaped:
        before, now = tensors[key].shape, own[key].shape
        if len(before) == len(now) == 4 and before[0] == now[0] and before[2:] == now[2:]:
            return (
                f"{module(key)} takes {before[1]} channels in the weights: set image_size to "
                f"[{before[1]}, height, width], or allow_partial to begin with a new {module(key)}"
            )
        if "pos" in key.lower():
            return (
                "a network's positions belong to one size of its input: set image_size or "
                "max_seq_len to that of the weights, or allow_partial to begin with new ones"
            )
    return "give the network that they were trained in, or allow_partial to load what fits"


def _nothing_fits(name: str, stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return (
        f"pretrained: 0 of {len(stored)} tensors of {name} fit the network: the weights have "
        f"{few(stored)}, and the network {few(own)}; give the network that they were trained in"
    )


def _put(
    network: nn.Module,
    taken: Mapping[str, Tensor],
    metadata: Mapping[str, Any] | None,
    rename: Renaming,
) -> None:
    """Copy tensors into a network, with the versions of the modules they come from."""
    state = network.state_dict()
    # modules of torch and torchvision read old weights by these; safetensors has none
    versions = dict(getattr(state, "_metadata", {}))
    for path, values in (metadata or {}).items():
        if (renamed := rename(f"{path}.").rstrip(".")) in versions:
            versions[renamed] = values
    kept = OrderedDict((key, taken[plain(key)]) for key in state if plain(key) in taken)
    kept._metadata = versions  # type: ignore[attr-defined]
    network.load_state_dict(kept, strict=False)
