"""Memory of large batches on a CPU, which is used again."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class ReusedMemory:
    """Makes tensors on the CPU; the memory of one that nobody holds any more serves the next.

    Large memory that was freed goes back to the system, which clears every page anew on its first
    use: that takes longer than to normalise a batch.
    """

    def __init__(self) -> None:
        self._free: list[npt.NDArray[np.uint8]] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor with values of no meaning; a view of it, or a graph that needs it, holds it."""
        size = math.prod(shape) * dtype.itemsize
        memory = self._free.pop() if self._free else None
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
        lent = memory[:size]  # the tensor's storage holds this array until it is freed itself
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent).view(dtype).view(*shape)
