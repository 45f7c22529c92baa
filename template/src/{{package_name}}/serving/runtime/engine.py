"""The model with its preprocessing: one interface, whatever goes in."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .integrity import BundleError, read_metadata
from .predictions import Prediction
from .sessions import AUTO, LOGITS, Array, inputs_of, open_session

Item: TypeAlias = dict[str, Array]
"""One input, ready for the network: an array for each name, without the batch axis."""


def relative_error(
    actual: Array, expected: Array, standardisation: Mapping[str, Sequence[float]] | None = None
) -> float:
    """Largest difference of outputs, as a share of the largest (of 1 where that is less).

    Values in a unit of their own are compared as the network gave them, standardised; two
    roundings of float32 beside a large mean are nobody's fault.

    Args:
        actual: [..., K].
        expected: the same shape, or they differ by infinity.
        standardisation: `mean` and `std` of each of K values; None for logits.
    """
    if actual.shape != expected.shape:
        return float("inf")
    wanted = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is within no tolerance
        difference = np.abs(actual.astype(np.float64) - wanted)
    if standardisation is not None:
        mean, std = np.array(standardisation["mean"]), np.array(standardisation["std"])
        rounding = 2 * np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
        difference = np.maximum(0, difference - rounding) / std
        wanted = (wanted - mean) / std
    return float(difference.max(initial=0.0) / max(1.0, np.abs(wanted).max(initial=0.0)))


class InvalidInput(ValueError):
    """An input that the model cannot take; the message is for whoever sent it."""


class InferenceEngine:
    """The model with its preprocessing; `inference.py` derives the one for its kind of input.

    Args:
        bundle: folder of the bundle.
        format: artifact to run; the bundle's first by default.
        threads: how many one run may use; as many as this process has cores by default.
        max_item_size: largest input, in `item_unit`.
        device: where the artifact runs, as `open_session` has it.

    Raises:
        BundleError: as `open_session`.
    """

    media_types: ClassVar[tuple[str, ...]]
    """Content types of a request whose body is one input; `*` stands for anything."""
    suffixes: ClassVar[tuple[str, ...]]
    """File suffixes looked for in folders."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Usual names of the column of a table that holds inputs, in lower case, best first."""
    takes_text: ClassVar[bool] = False
    """Whether a text is an input by itself; otherwise tables hold paths of files."""
    item_unit: ClassVar[str]
    """What the size of an input is counted in."""
    default_max_item_size: ClassVar[int]

    def __init__(
        self,
        bundle: str | Path,
        format: str | None = None,
        threads: int | None = None,
        max_item_size: int | None = None,
        device: str = AUTO,
    ) -> None:
        self.bundle = Path(bundle)
        self.metadata = read_metadata(self.bundle)
        self.format = format or next(iter(self.metadata["artifacts"]))
        self.metadata["inputs"] = inputs_of(self.metadata, self.format)  # of what runs here
        self.max_item_size = max_item_size or self.default_max_item_size
        self.session = open_session(self.bundle, format, threads, device)

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add what only this kind of input has to the command line; nothing by default."""

    def use_options(self, options: Namespace) -> None:
        """Follow the options that `add_options` added."""

    @property
    def answers_run_again(self) -> bool:
        """Whether `answer` runs the network itself, which may take long; it does not by default."""
        return False

    @property
    def hint(self) -> str:
        """What whoever writes an input should know; nothing by default."""
        return ""

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

    def decode_example(self, payload: bytes) -> Item:
        """The stored example, for an artifact to do with it all that it can."""
        return self.decode(payload)

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
            its error, as `relative_error` has it.

        Raises:
            BundleError: the difference exceeds the tolerance.
        """
        example = self.metadata["example"]
        payload = (self.bundle / example["input"]).read_bytes()
        # an artifact of reduced precision answers otherwise than the network
        stored = example.get("own_answers", {}).get(self.format, example)
        expected = np.asarray(stored[LOGITS], dtype=np.float64)
        actual = self.logits([self.decode_example(payload)])[0]
        error = relative_error(actual, expected, self.metadata.get("standardisation"))
        if not error <= stored["tolerance"]:
            raise BundleError(
                f"{self.format} answers the stored example with an error of {error:.1e}; "
                f"{stored['tolerance']:.0e} is allowed"
            )
        return error
