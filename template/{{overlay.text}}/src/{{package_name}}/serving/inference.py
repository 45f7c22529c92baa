"""Continue, complete or classify texts with this bundle: `python inference.py --text TEXT`.

In Python:

    from inference import TextInferenceEngine
    engine = TextInferenceEngine("path/of/the/bundle")
    engine.predict(b"def main():")
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from runtime import (
    Array,
    ClassPrediction,
    InferenceEngine,
    InvalidInput,
    Item,
    Prediction,
    comparable,
    likeliest,
    object_schema,
    softmax,
)
from runtime.commandline import run
from runtime.encodings import UnknownEncoding, decode_text
from runtime.predictions import NUMBERS

if TYPE_CHECKING:
    from preprocessing import TextTokenizer

BUNDLE = Path(__file__).resolve().parent


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Generation:
    """How a text is continued; the metadata of a field holds its help text."""

    max_new_tokens: int = _option(64, "tokens to add at most")
    temperature: float = _option(
        0.0, "0: the likeliest token; 1: each as likely as it is; any number of 0 or more"
    )
    top_k: int = _option(0, "draw among so many likeliest tokens; 0: all")
    seed: int = _option(0, "of the draws, for each text anew")
    stop: tuple[str, ...] = _option((), "end before any of these texts")

    def changed(self, given: Mapping[str, object]) -> Generation:
        """With the values that a request gives.

        Raises:
            InvalidInput: naming what there is, or what a value must be.
        """
        known: dict[str, Any] = {option.name: option.default for option in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise InvalidInput(f"there is no parameter {name[:80]!r}; {', '.join(known)} are")
            is_text = name == "stop"
            changes[name] = _texts(value) if is_text else _number(name, value, type(known[name]))
        return replace(self, **changes)


def _texts(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise InvalidInput("stop is no text and no list of texts")
    return tuple(texts)


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    # true and false are numbers to Python
    is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 2**63:
        wanted = f"give a {'whole ' if kind is int else ''}number of 0 or more"
        raise InvalidInput(f"{name} is {str(value)[:80]!r}; {wanted}")
    return kind(value)


@dataclass(frozen=True)
class Continuation:
    """How a text goes on.

    Attributes:
        text: what the network was given, and what it added.
        continuation: what it added.
        tokens: how many tokens that was.
        ended: whether the text ends there, as the network thinks or as was asked for.
    """

    text: str
    continuation: str
    tokens: int
    ended: bool

    SCHEMA: ClassVar = object_schema(
        text={"type": "string"},
        continuation={"type": "string"},
        tokens={"type": "integer"},
        ended={"type": "boolean"},
    )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return vars(self)


@dataclass(frozen=True)
class Filling:
    """A text with its gaps filled.

    Attributes:
        text: with the likeliest token in each gap.
        candidates: for each gap the likeliest tokens, best first, with their probabilities. Behind
            the text of those that read alike stands which token each is.
    """

    text: str
    candidates: list[dict[str, float]]

    SCHEMA: ClassVar = object_schema(
        text={"type": "string"}, candidates={"type": "array", "items": NUMBERS}
    )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return vars(self)


class TextInferenceEngine(InferenceEngine):
    """Texts in, predictions out."""

    media_types = ("text/*", "application/octet-stream")
    suffixes = (".txt",)
    columns = ("text", "texts", "sentence", "content", "review", "comment", "document", "body")
    takes_text = True
    note_names = ("truncated", "tokens_used", "tokens_given")
    item_unit = "bytes"
    default_max_item_size = 1_000_000
    form_fields = ("data", "text")
    answer_unit = "tokens"

    generation = Generation()

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """What made the network's input ids."""
        # imported late: --verify compares this file with its hash before it runs
        from preprocessing import TextTokenizer

        return TextTokenizer.load(self.bundle / "tokenizer.json")

    @property
    def max_seq_len(self) -> int:
        """Longest input of the network, in tokens."""
        return int(self.metadata["input_schema"]["max_seq_len"])

    @property
    def answers_run_again(self) -> bool:
        """A text goes on token by token."""
        return bool(self.metadata["task_type"] == "lm")

    @property
    def hint(self) -> str:
        """How a gap is written, where gaps are filled."""
        if self.metadata["task_type"] != "masked_lm":
            return ""
        return f"Write {self.tokenizer.mask_token} where a gap is."

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """Options of continuing a text; the other tasks ignore them."""
        options = parser.add_argument_group("continuing a text")
        for option in fields(Generation):
            name, meaning = f"--{option.name}", option.metadata["help"]
            usual = getattr(Generation(), option.name)
            if usual == ():
                options.add_argument(name, nargs="+", metavar="TEXT", default=(), help=meaning)
            else:
                kind = _at_least_zero(type(usual))
                help = f"{meaning} ({usual})"
                options.add_argument(name, type=kind, default=usual, help=help)

    def use_options(self, options: Namespace) -> None:
        """Continue texts as the command line says."""
        given = {option.name: getattr(options, option.name) for option in fields(Generation)}
        self.generation = Generation(**given | {"stop": tuple(options.stop)})

    def read_parameters(self, given: Mapping[str, object]) -> Generation | None:
        """How to continue the texts of a request.

        Raises:
            InvalidInput: a parameter that there is not, or a value that it cannot have; more tokens
                than `max_answer_size`.
        """
        if not self.answers_run_again:
            super().read_parameters(given)
            return None
        most = self.max_answer_size
        usual = self.generation
        if most is not None:
            usual = replace(usual, max_new_tokens=min(usual.max_new_tokens, most))
        generation = usual.changed(given)
        if most is not None and generation.max_new_tokens > most:
            raise InvalidInput(
                f"max_new_tokens is {generation.max_new_tokens}; the limit is {most}"
            )
        return generation

    def decode(self, payload: bytes) -> Item:
        """One text as `input_ids` and `attention_mask`, int64 [T]; the notes tell of a cut.

        Raises:
            InvalidInput: it is empty, too large, or no text.
        """
        from preprocessing import model_input

        if len(payload) > self.max_item_size:
            raise InvalidInput(
                f"{len(payload):,} bytes; the limit is {self.max_item_size:,}; --max_item_size "
                "allows more"
            )
        try:
            text, _ = decode_text(payload)
        except UnknownEncoding as error:
            raise InvalidInput(str(error)) from None
        if not text:
            raise InvalidInput("the text is empty")
        task_type = self.metadata["task_type"]
        ids, cut = model_input(self.tokenizer, text, task_type, self.max_seq_len)
        item = Item(input_ids=ids, attention_mask=np.ones_like(ids))
        if cut:
            # its beginning where it is continued, else its end
            item.notes = {
                "truncated": True,
                "tokens_used": len(ids),
                "tokens_given": len(ids) + cut,
            }
        return item

    def check(self, item: Item) -> None:
        """Refuse ids the network does not have, and masks that hide everything.

        Raises:
            InvalidInput: saying which.
        """
        ids, mask = item["input_ids"], item["attention_mask"]
        vocab_size = self.metadata["input_schema"]["vocab_size"]
        if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
            raise InvalidInput(f"input_ids hold something else than 0 to {vocab_size - 1}")
        if not np.isin(mask, (0, 1)).all() or not mask.any():
            raise InvalidInput("attention_mask holds 1 for tokens, at least one, else 0")

    def from_json(self, instance: object) -> bytes:
        """The text in `{"text": "..."}`.

        Raises:
            InvalidInput: another form.
        """
        text = instance.get("text") if isinstance(instance, dict) else None
        if not isinstance(text, str):
            raise InvalidInput('an instance is {"text": "..."}')
        return text.encode("utf-8", "surrogatepass")

    def collate(self, items: Sequence[Item]) -> dict[str, Array]:
        """Items of any lengths as one batch, padded on the right to the longest."""
        from preprocessing import pad

        ids, _ = pad([item["input_ids"] for item in items], self.tokenizer.pad_token_id)
        mask, _ = pad([item["attention_mask"] for item in items], 0)
        return {"input_ids": ids, "attention_mask": mask}

    def logits(self, items: Sequence[Item]) -> list[Array]:
        """Logits of each item, computed as one batch: [K] for classes, else [T, vocab_size]."""
        rows = super().logits(items)
        if self.metadata["task_type"] == "text_classification":
            return rows
        return [row[: len(item["input_ids"])] for item, row in zip(items, rows, strict=True)]

    def interpret(self, item: Item, logits: Array) -> Prediction:
        """What the network says of one item; a text to continue makes it run again."""
        match self.metadata["task_type"]:
            case "lm":
                return self._continuation(item, logits, self.generation)
            case "masked_lm":
                return self._fill(item["input_ids"], logits)
            case "text_classification":
                return ClassPrediction.from_logits(logits, self.metadata["class_names"])
            case other:
                raise ValueError(f"{other} is no text task")

    def answer(
        self, item: Item, logits: Array, parameters: Generation | None = None
    ) -> dict[str, Any]:
        """As any engine's; `parameters` say how a text is continued."""
        if parameters is None:
            return super().answer(item, logits)
        return {**self._continuation(item, logits, parameters).to_json(), **item.notes}

    def answer_in_pieces(
        self, item: Item, logits: Array, parameters: Generation | None = None
    ) -> Iterator[dict[str, Any]]:
        """A continuation as it grows; together the pieces are the `continuation` behind them."""
        if parameters is None:
            yield self.answer(item, logits)
            return
        said = 0
        for grown in self._grow(item, logits, parameters):
            text = grown.settled()
            if len(text) > said:
                yield {"piece": text[said:]}
                said = len(text)
        whole = grown.continuation()
        if len(whole.continuation) > said:
            yield {"piece": whole.continuation[said:]}
        yield {**whole.to_json(), **item.notes}

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of what `answer` gives."""
        kinds = {"lm": Continuation, "masked_lm": Filling, "text_classification": ClassPrediction}
        schema: dict[str, Any] = kinds[self.metadata["task_type"]].SCHEMA
        return schema

    def _continuation(self, item: Item, logits: Array, generation: Generation) -> Continuation:
        *_, grown = self._grow(item, logits, generation)
        return grown.continuation()

    def _grow(self, item: Item, logits: Array, generation: Generation) -> Iterator[_Grown]:
        """The text behind a prompt, at first and after each token: the same object each time."""
        random = np.random.default_rng(generation.seed)
        text = _GrowingText(self, item["input_ids"])
        grown = _Grown(self.tokenizer, item["input_ids"].tolist(), generation.stop)
        yield grown
        while len(grown.added) < generation.max_new_tokens and not grown.ended:
            token = self._choose(logits[-1], generation, random)
            if token == self.tokenizer.eos_token_id:
                grown.ended = True
                return
            grown.append(token)
            yield grown
            # nobody asks what follows the last one
            if len(grown.added) < generation.max_new_tokens and not grown.ended:
                logits = text.append(token)

    def _choose(self, logits: Array, generation: Generation, random: np.random.Generator) -> int:
        scores = comparable(logits)
        never = set(self.tokenizer.all_special_ids) - {self.tokenizer.eos_token_id}
        scores[list(never)] = -np.inf
        if generation.temperature == 0:
            return int(scores.argmax())
        top_k = generation.top_k
        if 0 < top_k < len(scores):
            scores[scores < np.sort(scores)[-top_k]] = -np.inf
        with np.errstate(over="ignore"):  # at a low temperature the others fall to minus infinity
            scores = (scores - scores.max()) / generation.temperature
        probabilities = softmax(scores)
        return int(random.choice(len(scores), p=probabilities))

    def _fill(self, ids: Array, logits: Array) -> Filling:
        gaps = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        scores = comparable(logits[gaps])
        scores[:, self.tokenizer.all_special_ids] = -np.inf
        filled = ids.copy()
        filled[gaps] = scores.argmax(axis=1)
        candidates = [self._by_text(likeliest(row)) for row in scores]
        return Filling(self.tokenizer.decode(filled.tolist()), candidates)

    def _by_text(self, shares: dict[int, float]) -> dict[str, float]:
        """Shares by what the tokens say; those that say the same have their id behind it."""
        texts = {index: self.tokenizer.decode([index]) for index in shares}
        said = list(texts.values())
        return {
            texts[index] if said.count(texts[index]) == 1 else f"{texts[index]} (token {index})": (
                share
            )
            for index, share in shares.items()
        }


Engine = TextInferenceEngine


class _GrowingText:
    """A text to which tokens are added, and what the network says of the one behind them.

    Where the artifact keeps a cache, each token alone is computed. A text longer than the network
    takes loses its first tokens, and all others change their positions: what was kept of them is
    wrong then, and the whole window is computed for every token.

    Args:
        engine: runs the network.
        prompt: int64 [T], of which no logits are asked.
    """

    def __init__(self, engine: TextInferenceEngine, prompt: Array) -> None:
        self._engine = engine
        self._window = prompt
        self._sequence = engine.session.sequence()
        self._read = 0

    def append(self, token: int) -> Array:
        """Logits of what follows, float32 [1, vocab_size]."""
        self._window = np.append(self._window, token)
        if len(self._window) > self._engine.max_seq_len:
            self._window = self._window[-self._engine.max_seq_len :]
            self._sequence = None
        if self._sequence is None:
            item = Item(input_ids=self._window, attention_mask=np.ones_like(self._window))
            return self._engine.logits([item])[0][-1:]
        unread, self._read = self._window[self._read :], len(self._window)
        return self._sequence.extend(unread)[-1:]


@dataclass
class _Grown:
    """What has been added to a prompt.

    Attributes:
        tokenizer: of the network.
        prompt, added: ids of tokens.
        stop: texts before which it ends.
        ended: whether it does.
    """

    tokenizer: TextTokenizer
    prompt: list[int]
    stop: tuple[str, ...]
    added: list[int] = field(default_factory=list)
    ended: bool = False

    def append(self, token: int) -> None:
        """Add a token, which may complete a text to stop at."""
        self.added.append(token)
        if self.stop:
            continued = self._texts()[1]
            self.ended = any(stop in continued for stop in self.stop)

    def settled(self) -> str:
        """The continuation as far as no further token can change it."""
        text = self._cut(self._texts()[1])
        # a character of which not all bytes are there, or what may become a text to stop at
        text = text.rstrip("\ufffd")
        begun = (
            length
            for stop in self.stop
            for length in range(1, len(stop))
            if text.endswith(stop[:length])
        )
        return text[: len(text) - max(begun, default=0)]

    def continuation(self) -> Continuation:
        """All of it."""
        whole, continued = self._texts()
        kept = self._cut(continued)
        whole = whole[: len(whole) - (len(continued) - len(kept))]
        return Continuation(whole, kept, len(self.added), self.ended)

    def _texts(self) -> tuple[str, str]:
        """The whole text, and what was added of it."""
        given = self.tokenizer.decode(self.prompt)
        whole = self.tokenizer.decode([*self.prompt, *self.added])
        # many tokenizers leave out the space before a first word: what was added has it
        is_longer = whole.startswith(given)
        return whole, whole[len(given) :] if is_longer else self.tokenizer.decode(self.added)

    def _cut(self, continued: str) -> str:
        """It up to the first text to stop at."""
        ends = [continued.find(stop) for stop in self.stop if stop in continued]
        return continued[: min(ends, default=len(continued))]


def _at_least_zero(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value < float("inf"):
            raise ArgumentTypeError(f"{text!r} is not a number of 0 or more")
        return value

    return parse


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(TextInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
