"""Continue, complete or classify texts with this bundle: `python inference.py --text TEXT`.

In Python:

    from inference import TextInferenceEngine
    engine = TextInferenceEngine("path/of/the/bundle")
    engine.predict(b"def main():")
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from runtime import (
    Array,
    ClassPrediction,
    InferenceEngine,
    InvalidInput,
    Item,
    Prediction,
    likeliest,
    softmax,
)
from runtime.commandline import run

if TYPE_CHECKING:
    from preprocessing import TextTokenizer

BUNDLE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Generation:
    """How a text is continued.

    Attributes:
        max_new_tokens: where to stop if the text does not end before.
        temperature: 0 always takes the likeliest token; 1 draws them as likely as they are; any
            finite number of 0 or more will do.
        top_k: draw among so many of the likeliest only; 0 for all.
        seed: of the draws, for each text anew.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Continuation:
    """How a text goes on.

    Attributes:
        text: what the network was given, and what it added.
        continuation: what it added.
        tokens: how many tokens that was.
        ended: whether the network thinks the text ends there.
    """

    text: str
    continuation: str
    tokens: int
    ended: bool

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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return vars(self)


class TextInferenceEngine(InferenceEngine):
    """Texts in, predictions out."""

    media_types = ("text/*", "application/octet-stream")
    suffixes = (".txt",)
    columns = ("text", "texts", "sentence", "content", "review", "comment", "document", "body")
    takes_text = True
    item_unit = "bytes"
    default_max_item_size = 1_000_000

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
        default = Generation()
        options = parser.add_argument_group("continuing a text")
        for name, kind, meaning in (
            ("max_new_tokens", _at_least_zero(int), "tokens to add at most"),
            ("temperature", _at_least_zero(float), "0: the likeliest token; 1: as likely as it is"),
            ("top_k", _at_least_zero(int), "draw among so many likeliest tokens; 0: all"),
            ("seed", _at_least_zero(int), "of the draws"),
        ):
            value = getattr(default, name)
            options.add_argument(f"--{name}", type=kind, default=value, help=f"{meaning} ({value})")

    def use_options(self, options: Namespace) -> None:
        """Continue texts as the command line says."""
        self.generation = Generation(
            options.max_new_tokens, options.temperature, options.top_k, options.seed
        )

    def decode(self, payload: bytes) -> Item:
        """One text as `input_ids` and `attention_mask`, int64 [T]; a warning if it had to be cut.

        Raises:
            InvalidInput: it is too large.
        """
        from preprocessing import model_input

        if len(payload) > self.max_item_size:
            raise InvalidInput(
                f"{len(payload):,} bytes; the limit is {self.max_item_size:,}; --max_item_size "
                "allows more"
            )
        task_type = self.metadata["task_type"]
        ids, cut = model_input(self.tokenizer, payload, task_type, self.max_seq_len)
        if cut:
            place = "beginning" if task_type == "lm" else "end"
            warnings.warn(
                f"{cut} tokens at the {place} were cut off: the network takes {self.max_seq_len}",
                stacklevel=2,
            )
        if task_type == "masked_lm" and self.tokenizer.mask_token_id not in ids:
            warnings.warn(
                f"no gap to fill; write {self.tokenizer.mask_token} where one is", stacklevel=2
            )
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

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
                return self._continue(item["input_ids"], logits)
            case "masked_lm":
                return self._fill(item["input_ids"], logits)
            case "text_classification":
                return ClassPrediction.from_logits(logits, self.metadata["class_names"])
            case other:
                raise ValueError(f"{other} is no text task")

    def _continue(self, prompt: Array, logits: Array) -> Continuation:
        random = np.random.default_rng(self.generation.seed)
        text, added, ended = _GrowingText(self, prompt), list[int](), False
        while len(added) < self.generation.max_new_tokens and not ended:
            token = self._choose(logits[-1], random)
            ended = token == self.tokenizer.eos_token_id
            if not ended:
                added.append(token)
                # nobody asks what follows the last one
                if len(added) < self.generation.max_new_tokens:
                    logits = text.append(token)
        given = self.tokenizer.decode(prompt.tolist())
        whole = self.tokenizer.decode([*prompt.tolist(), *added])
        # many tokenizers leave out the space before a first word: what was added has it
        is_longer = whole.startswith(given)
        continuation = whole[len(given) :] if is_longer else self.tokenizer.decode(added)
        return Continuation(whole, continuation, len(added), ended)

    def _choose(self, logits: Array, random: np.random.Generator) -> int:
        scores = logits.astype(np.float64)
        never = set(self.tokenizer.all_special_ids) - {self.tokenizer.eos_token_id}
        scores[list(never)] = -np.inf
        if self.generation.temperature == 0:
            return int(scores.argmax())
        top_k = self.generation.top_k
        if 0 < top_k < len(scores):
            scores[scores < np.sort(scores)[-top_k]] = -np.inf
        with np.errstate(over="ignore"):  # at a low temperature the others fall to minus infinity
            scores = (scores - scores.max()) / self.generation.temperature
        probabilities = softmax(scores)
        return int(random.choice(len(scores), p=probabilities))

    def _fill(self, ids: Array, logits: Array) -> Filling:
        gaps = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        scores = logits[gaps].astype(np.float64)
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
            item = {"input_ids": self._window, "attention_mask": np.ones_like(self._window)}
            return self._engine.logits([item])[0][-1:]
        unread, self._read = self._window[self._read :], len(self._window)
        return self._sequence.extend(unread)[-1:]


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
