"""The model with its preprocessing: one interface, whatever goes in."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .integrity import BundleError, read_metadata
from .predictions import Prediction
from .sessions import LOGITS, Array, open_session

Item: TypeAlias = dict[str, Array]
"""One input, ready for the network: an array for each name, without the batch axis."""


class InvalidInput(ValueError):
    """An input that the model cannot take; the message is for whoever sent it."""


class InferenceEngine:
    """The model with its preprocessing; `inference.py` derives the one for its kind of input.

    Args:
        bundle: folder of the bundle.
        format: artifact to run; the bundle's first by default.
        threads: how many one run may use; as many as there are cores by default.
        max_item_size: largest input, in `item_unit`.

    Raises:
        BundleError: as `open_session`.
    """

    media_types: ClassVar[tuple[str, ...]]
    """Content types of a request whose body is one input; `*` stands for anything."""
    suffixes: ClassVar[tuple[str, ...]]
    """File suffixes looked for in folders."""
    item_unit: ClassVar[str]
    """What the size of an input is counted in."""
    default_max_item_size: ClassVar[int]

    def __init__(
        self,
        bundle: str | Path,
        format: str | None = None,
        threads: int | None = None,
        max_item_size: int | None = None,
    ) -> None:
        self.bundle = Path(bundle)
        self.metadata = read_metadata(self.bundle)
        self.format = format or next(iter(self.metadata["artifacts"]))
        self.max_item_size = max_item_size or self.default_max_item_size
        self.session = open_session(self.bundle, format, threads)

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add what only this kind of input has to the command line; nothing by default."""

    def use_options(self, options: Namespace) -> None:
        """Follow the options that `add_options` added."""

    def predict(self, source: str | Path | bytes) -> Prediction:
        """Predict one input.

        Args:
            source: path of a file, or the bytes that would be in it.

        Raises:
            InvalidInput: as `decode`.
            OSError: the file cannot be opened.
        """
        return next(iter(self.batch_predict([source])))

    def batch_predict(
        self, sources: Iterable[str | Path | bytes], batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Predict inputs in order, `batch_size` at a time.

        Raises:
            InvalidInput, OSError: as `predict`.
        """
        remaining = iter(sources)
        while batch := list(islice(remaining, batch_size)):
            payloads = (s if isinstance(s, bytes) else Path(s).read_bytes() for s in batch)
            items = [self.decode(payload) for payload in payloads]
            yield from map(self.interpret, items, self.logits(items))

    def decode(self, payload: bytes) -> Item:
        """Preprocess one input.

        Raises:
            InvalidInput: it is damaged, too large, or of the wrong kind.
        """
        raise NotImplementedError

    def from_json(self, instance: object) -> bytes:
        """The payload in one element of a JSON request.

        Raises:
            InvalidInput: it does not have the documented form.
        """
        raise NotImplementedError

    def check(self, item: Item) -> None:
        """Refuse tensors that a client made itself and the network cannot take.

        Raises:
            InvalidInput: NaN or infinity.
        """
        for name, array in item.items():
            if not np.isfinite(array).all():
                raise InvalidInput(f"{name} holds NaN or infinity")

    def collate(self, items: Sequence[Item]) -> dict[str, Array]:
        """Items of equal shapes as one batch."""
        return {name: np.stack([item[name] for item in items]) for name in items[0]}

    def logits(self, items: Sequence[Item]) -> list[Array]:
        """Logits of each item, computed as one batch."""
        return list(self.session.run(self.collate(items)))

    def interpret(self, item: Item, logits: Array) -> Prediction:
        """What the network says of one item.

        Args:
            item: as `decode` made it.
            logits: of this item. Whoever must run the network again, to go on with a text, does so.
        """
        raise NotImplementedError

    def answer(self, item: Item, logits: Array) -> dict[str, Any]:
        """`interpret` as plain data, ready for JSON."""
        return self.interpret(item, logits).to_json()

    def verify_example(self) -> float:
        """Run the stored example.

        Returns:
            the largest difference from the stored logits, as a share of the largest (or of 1).

        Raises:
            BundleError: the difference exceeds the tolerance.
        """
        example = self.metadata["example"]
        payload = (self.bundle / example["input"]).read_bytes()
        expected = np.asarray(example[LOGITS], dtype=np.float64)
        actual = self.logits([self.decode(payload)])[0]
        error = float("inf")
        if actual.shape == expected.shape:
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            error = float(np.abs(actual - expected).max(initial=0.0)) / scale
        if not error <= example["tolerance"]:
            raise BundleError(
                f"{self.format} answers the stored example with an error of {error:.1e}; "
                f"{example['tolerance']:.0e} is allowed"
            )
        return error
