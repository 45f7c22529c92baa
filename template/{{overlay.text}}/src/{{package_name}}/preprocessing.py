"""From text to token ids and back: the one definition.

Training, the parity check, `inference.py` and the server all call this file, and every bundle
carries a copy of it beside `tokenizer.json`. It needs numpy and tokenizers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

# How tokenizers spell the tokens that are not text. The first is ours; whatever a tokenizer lacks
# is added to it, so that each has an id of its own and padding is never taken for an end.
SPECIAL_TOKENS = {
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "bos": ("<bos>", "<s>", "[CLS]", "<|startoftext|>", "<|begin_of_text|>"),
    "eos": ("<eos>", "</s>", "[SEP]", "<|endoftext|>", "<|end_of_text|>"),
    "mask": ("<mask>", "[MASK]", "<|mask|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}

# bytes that are no UTF-8 appear as these characters under the error handler "surrogateescape"
_STRAY_BYTES = re.compile("([\udc80-\udcff]+)")


class InvalidTokenizer(ValueError):
    """The file is not a tokenizer that can be read."""


class TextTokenizer:
    """A tokenizer whose special tokens are known, and which never finds them in plain text.

    Byte-level tokenizers bring any bytes back unchanged: `decode_bytes(encode(data)) == data`.

    Args:
        tokenizer: of the `tokenizers` library; special tokens it lacks are added to it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        for spellings in SPECIAL_TOKENS.values():
            if all(tokenizer.token_to_id(spelling) is None for spelling in spellings):
                tokenizer.add_special_tokens([spellings[0]])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # a "<pad>" that somebody typed is five characters
        self.tokenizer = tokenizer
        self.pad_token_id = self._special_id("pad")
        self.bos_token_id = self._special_id("bos")
        self.eos_token_id = self._special_id("eos")
        self.mask_token_id = self._special_id("mask")
        self.unk_token_id = self._special_id("unk")

    @classmethod
    def from_str(cls, text: str) -> TextTokenizer:
        """Inverse of `to_str`.

        Raises:
            InvalidTokenizer: not what `tokenizer.json` holds.
        """
        return cls._from_bytes(text.encode())

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        """Read a `tokenizer.json`.

        Raises:
            InvalidTokenizer: not a tokenizer.
            OSError: the file cannot be read.
        """
        return cls._from_bytes(Path(path).read_bytes())

    @classmethod
    def _from_bytes(cls, content: bytes) -> TextTokenizer:
        try:
            return cls(Tokenizer.from_buffer(content))
        except ValueError as error:
            raise InvalidTokenizer(f"not a tokenizer.json: {error}") from error

    def to_str(self) -> str:
        """The content of a `tokenizer.json`."""
        return self.tokenizer.to_str(pretty=False)

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`."""
        Path(path).write_text(self.to_str(), encoding="utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        return TextTokenizer.from_str, (self.to_str(),)

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the special ones included."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def all_special_ids(self) -> list[int]:
        """Ids that stand for no text."""
        added = self.tokenizer.get_added_tokens_decoder()
        return sorted(index for index, token in added.items() if token.special)

    @cached_property
    def mask_token(self) -> str:
        """How a mask is spelled in a text with gaps."""
        return str(self.tokenizer.id_to_token(self.mask_token_id))

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether every single byte has a token, so that nothing is ever unknown."""
        return all(self.tokenizer.token_to_id(c) is not None for c in _BYTE_OF_CHARACTER)

    def encode(self, text: str | bytes) -> list[int]:
        """Ids of a text, without special ones. Bytes that are no UTF-8 become tokens of a byte."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        ids: list[int] = []
        for part in _STRAY_BYTES.split(data.decode("utf-8", "surrogateescape")):
            if _STRAY_BYTES.match(part):
                ids += self._byte_ids(part.encode("utf-8", "surrogateescape"))
            elif part:
                ids += self.tokenizer.encode(part, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special ones left out; incomplete characters become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of ids, special ones left out."""
        special = set(self.all_special_ids)
        kept = [int(index) for index in ids if int(index) not in special]
        if not self.is_byte_level:
            return self.tokenizer.decode(kept).encode()
        tokens = (self.tokenizer.id_to_token(index) or "" for index in kept)
        return bytes(_BYTE_OF_CHARACTER[character] for token in tokens for character in token)

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """How many bytes of text each id stands for: int64 [vocab_size], 0 for special ids."""
        lengths = [len(self.decode_bytes([index])) for index in range(self.vocab_size)]
        return np.array(lengths, dtype=np.int64)

    def _special_id(self, role: str) -> int:
        ids = map(self.tokenizer.token_to_id, SPECIAL_TOKENS[role])
        return next(index for index in ids if index is not None)

    def _byte_ids(self, data: bytes) -> list[int]:
        ids = (self.tokenizer.token_to_id(_CHARACTER_OF_BYTE[byte]) for byte in data)
        return [self.unk_token_id if index is None else index for index in ids]


def document_ids(tokenizer: TextTokenizer, text: str | bytes) -> list[int]:
    """A whole text with its beginning and end marked."""
    return [tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]


def model_input(
    tokenizer: TextTokenizer, text: str | bytes, task_type: str, max_seq_len: int
) -> tuple[npt.NDArray[np.int64], int]:
    """What a network gets for one text.

    `lm`: the text as a prompt, open at its end; of a long one the end is kept. `masked_lm`: each
    mask the text spells out is one. Else a whole text; of a long one the beginning is kept.

    Returns:
        ids, int64 [T] with 1 <= T <= max_seq_len, and how many tokens were cut off.
    """
    if task_type == "lm":
        ids = [tokenizer.bos_token_id, *tokenizer.encode(text)]
        cut = max(0, len(ids) - max_seq_len)
        return np.array(ids[cut:], dtype=np.int64), cut
    ids = _with_masks(tokenizer, text) if task_type == "masked_lm" else tokenizer.encode(text)
    room = max(1, max_seq_len - 2)  # for beginning and end
    whole = [tokenizer.bos_token_id, *ids[:room], tokenizer.eos_token_id][:max_seq_len]
    return np.array(whole, dtype=np.int64), max(0, len(ids) - room)


def pad(
    sequences: Sequence[npt.NDArray[np.int64]], pad_token_id: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Fill up on the right to the longest.

    Returns:
        ids and attention mask (1 for tokens, 0 for padding), both int64 [B, T].
    """
    length = max(map(len, sequences))
    ids = np.full((len(sequences), length), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask


def _with_masks(tokenizer: TextTokenizer, text: str | bytes) -> list[int]:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    first, *others = data.split(tokenizer.mask_token.encode())
    ids = tokenizer.encode(first)
    for part in others:
        ids += [tokenizer.mask_token_id, *tokenizer.encode(part)]
    return ids


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies, after GPT-2.

    Printable bytes stand for themselves, the others follow behind U+00FF.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + position): byte for position, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_alphabet()
_CHARACTER_OF_BYTE = {byte: character for character, byte in _BYTE_OF_CHARACTER.items()}
