"""The model with its preprocessing: one interface, whatever goes in."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from .integrity import BundleError, read_metadata
from .predictions import Prediction, plain_prediction
from .sessions import AUTO, LOGITS, Array, inputs_of, open_session


class Item(dict[str, Array]):
    """One input, ready for the network: an array for each name, without the batch axis.

    Attributes:
        notes: what of the input the network does not see; its answer says so.
    """

    notes: Mapping[str, Any] = MappingProxyType({})


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


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """By what inputs are recognised, and how large they may be: as in training.

    Attributes:
        suffixes: of files that hold one input, in lower case; folders are searched for them.
        refused: for suffixes of what is taken for inputs and cannot be read, why, with the remedy.
        columns: what the column of a table that holds inputs is called, the best name first.
        max_item_size: the largest input, in the engine's `item_unit`.
    """

    suffixes: Sequence[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    max_item_size: int


class InvalidInput(ValueError):
    """An input that the model cannot take; the message is for whoever sent it."""


class InferenceEngine:
    """The model with its preprocessing; `inference.py` derives the one for its kind of input.

    Args:
        bundle: folder of the bundle.
        format: artifact to run; the bundle's first by default.
        threads: how many one run may use; as many as this process has cores by default.
        max_item_size: largest input, in `item_unit`; as in training by default.
        device: where the artifact runs, as `open_session` has it.

    Raises:
        BundleError: as `open_session`.
    """

    media_types: ClassVar[tuple[str, ...]]
    """Content types of a request whose body is one input; `*` stands for anything."""
    suffixes: ClassVar[tuple[str, ...]]
    """As `Accepted.suffixes`, for bundles that do not record it."""
    columns: ClassVar[tuple[str, ...]] = ()
    """As `Accepted.columns`, for bundles that do not record it."""
    takes_text: ClassVar[bool] = False
    """Whether a text is an input by itself."""
    takes_rows: ClassVar[bool] = False
    """Whether the row of a table is, as `row_payload` writes it; tables of neither name files."""
    note_names: ClassVar[tuple[str, ...]] = ()
    """What `Item.notes` may tell: a table of answers has a column for each."""
    item_unit: ClassVar[str]
    """What the size of an input is counted in."""
    default_max_item_size: ClassVar[int]
    """As `Accepted.max_item_size`, for bundles that do not record it."""
    form_fields: ClassVar[tuple[str, ...]] = ("data",)
    """Fields of a form that are inputs though they are no files."""
    answer_unit: ClassVar[str] = ""
    """What the size of an answer is counted in; nothing where all are of one size."""
    max_answer_size: int | None = None
    """Largest answer, in `answer_unit`; None for any."""

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
        self.accepted = self.accepts(self.metadata)
        self.max_item_size = max_item_size or self.accepted.max_item_size
        self.session = open_session(self.bundle, format, threads, device)

    @classmethod
    def accepts(cls, metadata: Mapping[str, Any]) -> Accepted:
        """What a bundle takes: as it records, or as this class says where it is older than that."""
        own = {
            "suffixes": cls.suffixes,
            "columns": cls.columns,
            "max_item_size": cls.default_max_item_size,
        }
        return Accepted(**own | metadata.get("accepts", {}))

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

    def decode_each(
        self, payloads: Iterable[bytes | InvalidInput]
    ) -> Iterator[Item | InvalidInput]:
        """`decode` for several inputs, in order; one that cannot be an input has its error.

        Args:
            payloads: each, or why there is none.
        """
        for payload in payloads:
            try:
                yield payload if isinstance(payload, InvalidInput) else self.decode(payload)
            except InvalidInput as error:
                yield error

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
        """What the network says of one item: a class, labels or values by default.

        Args:
            item: as `decode` made it.
            logits: of this item, [K] by default. Whoever must run the network again, to go on with
                a text, does so.
        """
        names = self.metadata["class_names"] or [str(index) for index in range(len(logits))]
        return plain_prediction(self.metadata["task_type"]).from_logits(logits, names)

    def read_parameters(self, given: Mapping[str, object]) -> Any:
        """What a request says about its answer, for `answer`; nothing by default.

        Raises:
            InvalidInput: a parameter that there is not, or a value that it cannot have.
        """
        if given:
            raise InvalidInput(f"this model takes no parameters; {next(iter(given))} was given")
        return None

    def answer(self, item: Item, logits: Array, parameters: Any = None) -> dict[str, Any]:
        """`interpret` as plain data, ready for JSON, and what of the item was left out.

        Args:
            item: as `decode` made it.
            logits: of this item.
            parameters: as `read_parameters` gave them; None for what is usual.

        Raises:
            NotFinite: no answer can be made of what the network gave.
        """
        return {**self.interpret(item, logits).to_json(), **item.notes}

    def answer_in_pieces(
        self, item: Item, logits: Array, parameters: Any = None
    ) -> Iterator[dict[str, Any]]:
        """What `answer` gives, behind `{"piece": ...}` of one that comes about little by little."""
        yield self.answer(item, logits, parameters)

    @property
    def instance_schema(self) -> dict[str, Any]:
        """JSON schema of what `from_json` takes, out of which a page can make a form; anything."""
        return {}

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of what `answer` gives."""
        schema: dict[str, Any] = plain_prediction(self.metadata["task_type"]).SCHEMA
        return schema

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
