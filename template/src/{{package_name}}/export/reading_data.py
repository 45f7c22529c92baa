"""Watches `torch.jit.trace` for Python reading values that depend on the network's inputs.

The tracer keeps what Python made of them as a constant, and says nothing or too much: it warns of
shapes and of constants, too. The same network may read values only where it is not traced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# their results have the shape of their arguments, and nothing of their values
OF_SHAPES = frozenset(
    ("empty_like", "full_like", "ones_like", "rand_like", "randn_like", "zeros_like")
) | frozenset(("new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros"))

# these read without an operation that a dispatch mode could see
READERS = frozenset(
    (
        Tensor.tolist,
        Tensor.numpy,
        Tensor.__array__,
    )
)
# and these make constants of tensors
MAKERS = frozenset((torch.tensor, torch.as_tensor, torch.asarray))


class ReadsData(RuntimeError):
    """A value that depends on the inputs decides in Python what is computed next."""

    def __init__(self) -> None:
        super().__init__("a Python branch or number depends on the values of the inputs")


class RefuseReadingData:
    """While entered, tracing with `inputs` raises ReadsData where Python reads a result.

    Shapes and values that do not depend on the inputs may be read.

    Args:
        inputs: of the network that runs inside.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._dependent = {_memory(tensor) for tensor in inputs}
        self._operations, self._functions = _Operations(self), _Functions(self)

    def __enter__(self) -> Self:
        self._operations.__enter__()  # type: ignore[no-untyped-call]
        self._functions.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._functions.__exit__(*error)  # type: ignore[no-untyped-call]
        self._operations.__exit__(*error)  # type: ignore[no-untyped-call]

    def depends(self, *values: Any) -> bool:
        """Whether any tensor among the values has been computed from values of the inputs."""
        return any(_memory(tensor) in self._dependent for tensor in _tensors(values))

    def add(self, *values: Any) -> None:
        """These have been computed from values of the inputs."""
        self._dependent.update(_memory(tensor) for tensor in _tensors(values))


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, guard: RefuseReadingData) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._guard = guard

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._guard.depends(args, kwargs):
            return result
        is_read = any(isinstance(leaf, (bool, int, float, complex)) for leaf in tree_leaves(result))
        # scripted code, which a trace keeps with its branches, is not traced itself
        if is_read and torch._C._get_tracing_state() is not None:
            raise ReadsData
        if func._schema.name.partition("::")[2] not in OF_SHAPES:
            written = [
                value
                for argument, value in zip(func._schema.arguments, args, strict=False)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
            self._guard.add(result, written)
        return result


class _Functions(TorchFunctionMode):
    def __init__(self, guard: RefuseReadingData) -> None:
        super().__init__()
        self._guard = guard

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in READERS and self._guard.depends(args):
            raise ReadsData
        if func in MAKERS and not isinstance(args[0], Tensor) and self._guard.depends(args):
            raise ReadsData
        return func(*args, **kwargs)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> StorageWeakRef:
    """What views of a tensor share, and what no later tensor will be mistaken for."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
