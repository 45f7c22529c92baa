"""Texts that share rows in training: which are in each, and how a network is told.

The network must see each text as if it had the row for itself. It is told in one of several ways,
and which of them it understands is found by trying, whatever its code; one that understands none is
refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..errors import ModelError
from ..task import TaskSpec
from ..user_code import USER_ERRORS
from .known import samples_of
from .module import Batch, FittedTransform
from .order import Key, as_key, sample_seed
from .packing import Packing

# the field of a sample that holds the texts of a row
TEXTS = "texts"

# what arithmetic may change in a text's logits, relative to the largest: where it lies elsewhere in
# a row, in 32 bits and in fewer; and where it lies in the same place
ROUNDS, ROUNDS_HALF, SAME_ROUNDS = 1e-4, 5e-2, 1e-6

# the field of a batch that begins anew, at 0, with each text of a row, int64 [B, T]
POSITIONS = "position_ids"


class PackedRows(Dataset[dict[str, Any]]):
    """Rows `{"texts": [sample, ...]}` by (epoch, row).

    Texts of equal length change places from epoch to epoch; what is in a row is a function of seed,
    epoch and lengths alone.

    Args:
        texts: samples by (epoch, index).
        packing: of them.
        seed: of the run.
    """

    def __init__(self, texts: Dataset[dict[str, Any]], packing: Packing, *, seed: int) -> None:
        self.texts, self.packing, self.seed = texts, packing, seed
        self._epoch = -1
        self._by_length: npt.NDArray[np.integer] = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.packing)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, given: Sequence[Key | int]) -> list[dict[str, Any]]:
        """The rows of a batch, all of one epoch, whose texts are read at once."""
        keys = [as_key(key) for key in given]
        epoch = keys[0][0]
        if epoch != self._epoch:
            self._epoch, self._by_length = epoch, self._sorted(epoch)
        members = [self._by_length[self.packing.places(key[1])].tolist() for key in keys]
        texts = iter(samples_of(self.texts, [(epoch, index) for row in members for index in row]))
        return [{TEXTS: list(islice(texts, len(row)))} for row in members]

    def _sorted(self, epoch: int) -> npt.NDArray[np.integer]:
        generator = torch.Generator().manual_seed(sample_seed(self.seed, (epoch, -2)))
        order = torch.randperm(len(self.packing.lengths), generator=generator).numpy()
        return self.packing.by_length(order.astype(np.uint32))


# --- How a network is told -----------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A way to tell a network which tokens of a row are one text.

    Attributes:
        mask: `attention_mask` as the network gets it: the "tokens" that are no padding, int64
            [B, T]; the "pairs" of tokens that see each other, float32 [B, 1, T, T], 0 or -inf, as
            networks of transformers take it; "none" for those that go by positions alone.
        first: the position of a text's first token; RoBERTa counts from behind the padding's id.
    """

    mask: str
    first: int = 0


class PackedInputs(FittedTransform):
    """Tells a network about rows of several texts; other batches pass as they are.

    Args:
        task_spec: says what a row may hold.

    Attributes:
        way: of telling, which `fit` finds.
    """

    def __init__(self, task_spec: TaskSpec) -> None:
        super().__init__()
        self.task_spec, self.way = task_spec, Way("tokens")

    def forward(self, batch: Batch) -> Batch:
        """The batch as the network takes it."""
        if POSITIONS not in batch:
            return batch
        positions = batch[POSITIONS]
        told = {**batch, POSITIONS: positions + self.way.first}
        if self.way.mask == "none":
            del told["attention_mask"]
        elif self.way.mask == "pairs":
            text = (positions == 0).cumsum(1)  # its number; in the padding, each token is one
            seen = text[:, None, :, None] == text[:, None, None, :]
            seen = seen.tril() if self.task_spec.task_type == "lm" else seen
            told["attention_mask"] = torch.where(seen, 0.0, -torch.inf)
        return told

    def fit(self, network: nn.Module, logits: Callable[[Batch], Tensor]) -> None:
        """Take the first way by which a text in a row gets the logits that it gets alone.

        Raises:
            ModelError: there is none: texts would see others, or be given wrong positions.
        """
        parameter = next(network.parameters())
        trial = _Trial.of(self.task_spec, parameter)
        _wake(network)
        for way in _ways(self.task_spec):
            self.way = way
            with (
                contextlib.suppress(*USER_ERRORS),  # the network may take another
                torch.autocast(parameter.device.type, enabled=False),
            ):
                if trial.succeeds(lambda batch: logits(self(batch))):
                    return
        raise ModelError(
            f"packing: {type(network).__name__} cannot keep texts in a row apart, neither by "
            "position_ids that begin anew with each nor by an attention_mask [B, 1, T, T]; give "
            "packing: false"
        )


def _ways(task_spec: TaskSpec) -> list[Way]:
    """All that this project knows."""
    ways = [Way("tokens"), Way("none"), Way("pairs")]
    if shifted := _behind_padding(task_spec):
        ways.append(Way("pairs", shifted))
    return ways


def _behind_padding(task_spec: TaskSpec) -> int:
    """The first position where they are counted from the padding's id; 0 where nobody would."""
    schema = task_spec.input_schema
    first: int = schema.get("pad_token_id", 0) + 1
    return first if first <= schema["max_seq_len"] // 4 else 0


def _wake(network: nn.Module) -> None:
    """Give values to weights that are all alike, such as zeros: nothing would show behind them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.is_floating_point() and (parameter == parameter.flatten()[:1]).all():
            width = parameter.shape[-1] if parameter.ndim > 1 else 4
            noise = torch.randn(parameter.shape, generator=generator) / width**0.5
            parameter.add_(noise.to(parameter))


@dataclass(frozen=True)
class _Trial:
    """A long text alone, and between short ones, which are others in the second row.

    Attributes:
        alone, first, second: batches of one row, without labels.
        place: of the long text in the rows.
        rounds: what arithmetic may change in its logits, relative to the largest.
    """

    alone: Batch
    first: Batch
    second: Batch
    place: slice
    rounds: float

    @classmethod
    def of(cls, task_spec: TaskSpec, like: Tensor) -> _Trial:
        """Random texts.

        Args:
            task_spec: says how long a row is, and which tokens there are.
            like: on the network's device, in its precision.
        """
        schema = task_spec.input_schema
        longest, padding = schema["max_seq_len"], schema.get("pad_token_id", 0)
        generator = torch.Generator().manual_seed(0)
        short = min(8, max(1, longest // 4))
        long = max(1, longest - 2 * short - _behind_padding(task_spec))
        sizes = (short, long, short if longest > 2 else 0)
        positions = torch.cat([torch.arange(size) for size in sizes])

        def text(size: int) -> Tensor:
            """No padding, which some networks look for."""
            ids: Tensor = torch.randint(schema["vocab_size"] - 1, (size,), generator=generator)
            return ids.where(ids < padding, ids + 1)

        def batch(*texts: Tensor) -> Batch:
            ids = torch.cat(texts)[None].to(like.device)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

        alone = text(long)
        first, second = (
            {
                **batch(text(sizes[0]), alone, text(sizes[2])),
                POSITIONS: positions[None].to(like.device),
            }
            for _ in range(2)
        )
        is_exact = torch.get_float32_matmul_precision() == "highest"
        rounds = ROUNDS if is_exact and like.dtype == torch.float32 else ROUNDS_HALF
        return cls(batch(alone), first, second, slice(short, short + long), rounds)

    def succeeds(self, logits: Callable[[Batch], Tensor]) -> bool:
        """Whether others in its row change nothing for a text, and it fares as it does alone."""
        alone = logits(self.alone)[0].float()
        first, second = (
            logits(batch)[0, self.place].float() for batch in (self.first, self.second)
        )
        largest = alone.abs().max()
        is_apart = (first - second).abs().max() <= SAME_ROUNDS * largest
        return bool(is_apart and (first - alone).abs().max() <= self.rounds * largest)
