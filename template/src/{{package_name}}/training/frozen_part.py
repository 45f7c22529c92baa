"""Where the frozen part of a network ends: answers of its modules that are enough to go on from.

It is found by watching, whatever the network's code. Modules without anything that is trained are
called twice, with other random numbers and other values for all that is trained: what answers alike
hangs on the samples alone. Then the network's own forward is run with answers that were kept in
place of these modules, and with NaN in place of most, until its outputs are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from ..data.module import Batch
from ..forward import LABELS
from ..user_code import USER_ERRORS

if TYPE_CHECKING:
    from .adapter import UniversalModelAdapter

# samples of the second batch, with which sizes are told apart
FEWER = 2

# most that another batch may change in features, relative to the largest; bfloat16 has 3 digits
OTHERS_ROUND = 0.02

Place: TypeAlias = tuple[int, int]
"""Which call of a module, and which of the values that it returns."""


@dataclass(frozen=True)
class Extent:
    """What the sizes of tensors hang on: samples, and tokens of the longest (0 for images)."""

    samples: int
    tokens: int

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """That of a batch."""
        main = next(value for name, value in batch.items() if name != LABELS)
        is_text = not main.is_floating_point() and main.ndim == 2
        return cls(len(main), main.shape[1] if is_text else 0)


@dataclass(frozen=True)
class Size:
    """Length of a dimension: a multiple of the samples, of the tokens, and what is always there."""

    per_sample: int = 0
    per_token: int = 0
    constant: int = 0

    @classmethod
    def between(cls, first: int, second: int, of_first: Extent, of_second: Extent) -> Self | None:
        """The one that explains two lengths; None if there is none."""
        if first == second:
            return cls(constant=first)
        if first * of_second.samples == second * of_first.samples:
            return cls(per_sample=first // of_first.samples)
        if first - second == of_first.tokens - of_second.tokens:
            return cls(per_token=1, constant=first - of_first.tokens)
        return None

    def at(self, extent: Extent) -> int:
        """The length in a batch."""
        return self.per_sample * extent.samples + self.per_token * extent.tokens + self.constant


@dataclass(frozen=True)
class Value:
    """A tensor that a module returns.

    Attributes:
        sizes: of its dimensions.
        dtype, device: of the tensor.
    """

    sizes: tuple[Size, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def is_kept_by_sample(self) -> bool:
        """Whether it is [B, ...], and all else is the same in every batch, or one for a token."""
        first, *rest = self.sizes or (Size(),)
        tokens = [size for size in rest if size.per_token]
        return (
            first == Size(per_sample=1)
            and not any(size.per_sample for size in rest)
            and tokens in ([], [Size(per_token=1)])
        )

    def stand_in(self, extent: Extent) -> Tensor:
        """A tensor of its shape whose use shows: NaN, or zeros where there is none."""
        shape = [size.at(extent) for size in self.sizes]
        fill = torch.nan if self.dtype.is_floating_point else 0
        return torch.full(shape, fill, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Call:
    """One call of a module that is frozen.

    Attributes:
        module: that was called.
        values: that it returns: of each tensor what it is like, anything else as it is.
        tree: how they lie in what it returns.
    """

    module: nn.Module
    values: list[Any]
    tree: TreeSpec


class FrozenPart:
    """Answers of frozen modules from which a network's forward can go on.

    Args:
        adapter: holds the network.
        calls: of frozen modules in one forward, in their order.
        needed: those tensors of theirs that the rest of the network looks at.
    """

    def __init__(
        self, adapter: UniversalModelAdapter, calls: list[Call], needed: list[Place]
    ) -> None:
        self.adapter, self.calls, self.needed = adapter, calls, needed

    def features(self, batch: Batch) -> list[Tensor]:
        """What is needed for the samples of a batch: one tensor [B, ...] for each place."""
        watched = _watch(self.adapter, {call.module for call in self.calls}, batch)
        return [watched[call].values[value] for call, value in self.needed]

    def going_on(self, batch: Batch, features: Iterable[Tensor]) -> Callable[..., Any]:
        """Calls the network with features in place of its frozen part.

        Args:
            batch: whose samples and tokens are counted.
            features: as `features` gives them, for this batch.
        """
        known = dict(zip(self.needed, features, strict=True))
        extent = Extent.of(batch)

        def network(*args: Any, **kwargs: Any) -> Any:
            calls = iter(enumerate(self.calls))

            def answer(module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
                number, call = next(calls, (0, None))
                if call is None or call.module is not module:
                    raise RuntimeError(f"{type(module).__name__} was called out of order")
                values = list(call.values)
                for place, value in enumerate(values):
                    if (number, place) in known:
                        values[place] = known[number, place]
                    elif isinstance(value, Value):
                        values[place] = value.stand_in(extent)
                return tree_unflatten(values, call.tree)

            with (
                _answering({call.module for call in self.calls}, answer),
                torch.compiler.set_stance("force_eager"),
            ):
                return self.adapter.model(*args, **kwargs)

        return network


def find_frozen_part(adapter: UniversalModelAdapter, batch: Batch) -> FrozenPart | None:
    """Find what of a network need not be computed again for a sample.

    Trained parameters are changed and random numbers drawn: it is for the caller to restore them.

    Args:
        adapter: holds the network, in training.
        batch: of 3 samples or more, on the network's device, as the network sees it.

    Returns:
        None where there is no such part, or nobody can tell it from the rest.
    """
    extent = Extent.of(batch)
    if extent.samples <= FEWER or extent.tokens == 1:
        return None
    calls = _steady_calls(adapter, batch)
    smaller = _smaller(batch, extent)
    fewer = _watch(adapter, {call.module for call in calls}, smaller)
    described = _described(calls, fewer, extent, Extent.of(smaller))
    known = {
        (number, place): value
        for number, call in enumerate(calls)
        for place, value in enumerate(call.values)
        if isinstance(value, Tensor)
    }

    def is_enough(needed: list[Place]) -> bool:
        part = FrozenPart(adapter, described, needed)
        return _gives_the_same(part, batch, [known[place] for place in needed])

    needed = _fewest(list(known), is_enough) if described else []
    values = [described[call].values[value] for call, value in needed]
    if not needed or not all(value.is_kept_by_sample for value in values):
        return None
    part = FrozenPart(adapter, described, needed)
    others = {name: value[-FEWER:] for name, value in batch.items()}
    alone = part.features(others)
    together = [known[place][-FEWER:] for place in needed]
    holds = all(map(_alike, alone, together)) and _gives_the_same(part, others, alone)
    return part if holds else None


# --- Watching ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Watched:
    """A call as it was seen: tensors as they were then."""

    module: nn.Module
    inputs: list[Any]
    values: list[Any]
    tree: TreeSpec
    changes_itself: bool


@contextmanager
def _answering(modules: Iterable[nn.Module], answer: Callable[..., Any]) -> Iterator[None]:
    """Let `answer(module, forward, ...)` stand in for the forwards of modules."""
    before = {module: vars(module).get("forward") for module in modules}
    for module in before:
        vars(module)["forward"] = partial(answer, module, module.forward)
    try:
        yield
    finally:
        for module, forward in before.items():
            del vars(module)["forward"]
            if forward is not None:
                vars(module)["forward"] = forward


def _watch(
    adapter: UniversalModelAdapter, modules: Iterable[nn.Module], batch: Batch
) -> list[_Watched]:
    watched: list[_Watched] = []

    def answer(module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        buffers = [buffer.clone() for buffer in module.buffers()]
        inputs = _copied(tree_leaves((args, kwargs)))
        output = forward(*args, **kwargs)
        values, tree = tree_flatten(output)
        changes = not _equal(buffers, list(module.buffers()))
        # copied, for what comes behind may change them in place
        watched.append(_Watched(module, inputs, _copied(values), tree, changes))
        return output

    with _answering(modules, answer), torch.compiler.set_stance("force_eager"):
        adapter.outputs(batch, adapter.model)
    return watched


def _copied(values: list[Any]) -> list[Any]:
    return [v.detach().clone() if isinstance(v, Tensor) else v for v in values]


def _equal(first: list[Any], second: list[Any]) -> bool:
    """Whether the tensors of two lists are the same, bit by bit."""
    return len(first) == len(second) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else type(a) is type(b)
        for a, b in zip(first, second, strict=True)
    )


def _steady_calls(adapter: UniversalModelAdapter, batch: Batch) -> list[_Watched]:
    """Calls of frozen modules whose answers hang on the sample alone, as few as there can be."""
    modules = _outermost(set(_frozen(adapter.model)))
    while modules:
        torch.manual_seed(0)
        first = _watch(adapter, modules, batch)
        _disturb(adapter.model)
        torch.manual_seed(1)
        second = _watch(adapter, modules, batch)
        if [call.module for call in first] != [call.module for call in second]:
            return []
        following, within = set(), modules - {call.module for call in first}
        for a, b in zip(first, second, strict=True):
            if not _equal(a.inputs, b.inputs):
                following.add(a.module)  # it lies behind what varies
            elif a.changes_itself or b.changes_itself or not _equal(a.values, b.values):
                within.add(a.module)  # something in it varies
        if not following and not within:
            return first
        parts = {part for m in within - following for c in m.children() for part in _frozen(c)}
        modules = _outermost((modules - following - within) | parts)
    return []


def _frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules with nothing that is trained."""
    if not any(p.requires_grad for p in module.parameters()):
        yield module
        return
    for child in module.children():
        yield from _frozen(child)


def _outermost(modules: set[nn.Module]) -> set[nn.Module]:
    """Those that lie within no other: a module may belong to several."""
    inner = {part for module in modules for part in module.modules() if part is not module}
    return modules - inner


def _disturb(network: nn.Module) -> None:
    """Give what is trained other values."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    torch.clear_autocast_cache()  # which would go on with the values before


# --- Sizes ---------------------------------------------------------------------------------------


def _smaller(batch: Batch, extent: Extent) -> Batch:
    """A batch of fewer samples and, of texts, of a token less."""

    def cut(value: Tensor) -> Tensor:
        value = value[:FEWER]
        is_of_tokens = extent.tokens and value.ndim > 1 and value.shape[1] == extent.tokens
        return value[:, :-1] if is_of_tokens else value

    return {name: cut(value) for name, value in batch.items()}


def _described(
    calls: list[_Watched], fewer: list[_Watched], extent: Extent, smaller: Extent
) -> list[Call]:
    """The calls with sizes instead of tensors; none where these follow no rule."""
    if [call.module for call in calls] != [call.module for call in fewer]:
        return []
    described = []
    for call, other in zip(calls, fewer, strict=True):
        values = [
            _describe(a, b, extent, smaller) if isinstance(a, Tensor) else a
            for a, b in zip(call.values, other.values, strict=True)
        ]
        if any(
            isinstance(a, Tensor) and b is None for a, b in zip(call.values, values, strict=True)
        ):
            return []
        numbers = [(a, b) for a, b in zip(call.values, other.values, strict=True) if _is_number(a)]
        if any(a != b for a, b in numbers):  # such as the count of samples, or a mean
            return []
        described.append(Call(call.module, values, call.tree))
    return described


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _describe(value: Tensor, other: Tensor, extent: Extent, smaller: Extent) -> Value | None:
    sizes = [
        Size.between(a, b, extent, smaller) for a, b in zip(value.shape, other.shape, strict=True)
    ]
    if None in sizes:
        return None
    return Value(tuple(filter(None, sizes)), value.dtype, value.device)


# --- What is needed ------------------------------------------------------------------------------


def _fewest(places: list[Place], is_enough: Callable[[list[Place]], bool]) -> list[Place]:
    """Few places that are enough, from the last backwards; empty where not even all are."""
    count = 1
    while not is_enough(needed := places[-count:]):
        if count >= len(places):
            return []
        count *= 2
    for place in list(needed):
        others = [other for other in needed if other != place]
        if others and is_enough(others):
            needed = others
    return needed


def _alike(alone: Tensor, together: Tensor) -> bool:
    """Whether features do not hang on the other samples of a batch, which round a little."""
    scale = float(together.abs().max())
    return torch.allclose(alone, together, rtol=OTHERS_ROUND, atol=OTHERS_ROUND * scale)


def _gives_the_same(part: FrozenPart, batch: Batch, features: list[Tensor]) -> bool:
    """Whether outputs are what they were, bit by bit, in training and in evaluation."""
    adapter = part.adapter
    unseen = {
        name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for name, value in batch.items()
    }
    for training in (True, False):
        adapter.train(training)
        try:
            torch.manual_seed(0)
            direct = _outputs(adapter, batch, adapter.model)
            torch.manual_seed(0)
            copies = [feature.clone() for feature in features]
            short = _outputs(adapter, unseen, part.going_on(batch, copies))
        except USER_ERRORS:
            return False
        finally:
            adapter.train()
        if not _equal(direct, short):
            return False
    return True


def _outputs(
    adapter: UniversalModelAdapter, batch: Batch, network: Callable[..., Any]
) -> list[Tensor]:
    with torch.compiler.set_stance("force_eager"):
        logits, auxiliary = adapter.outputs(batch, network)
    return [logits, *auxiliary]
