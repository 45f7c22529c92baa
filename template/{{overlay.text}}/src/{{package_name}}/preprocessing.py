"""From text to token ids and back: the one definition.

Training, the parity check, `inference.py` and the server all call this file, and every bundle
carries a copy of it beside `tokenizer.json`. It needs numpy and tokenizers only.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

# How tokenizers spell the tokens that are not text. The first is ours; whatever a tokenizer lacks
# is added to it, so that each has an id of its own and padding is never taken for an end.
SPECIAL_TOKENS = {
    "pad": ("<pad>", "[PAD]", "<PAD>", "<|pad|>"),
    "bos": (
        "<bos>",
        "<s>",
        "[BOS]",
        "[CLS]",
        "<cls>",
        "<|bos|>",
        "<|startoftext|>",
        "<|begin_of_text|>",
    ),
    "eos": (
        "<eos>",
        "</s>",
        "[EOS]",
        "[SEP]",
        "<sep>",
        "<|eos|>",
        "<|endoftext|>",
        "<|end_of_text|>",
    ),
    "mask": ("<mask>", "[MASK]", "<MASK>", "<|mask|>"),
    "unk": ("<unk>", "[UNK]", "<UNK>", "<|unk|>"),
}

# ids beyond it are taken for a mistake: every id costs a row of the network's embedding
MOST_IDS = 2_000_000

# bytes that are no UTF-8 appear as these characters under the error handler "surrogateescape"
_STRAY_BYTES = re.compile("([\udc80-\udcff]+)")

# longest marks first: the mark of UTF-32 begins with that of UTF-16
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class InvalidTokenizer(ValueError):
    """The file is no tokenizer, or one that could not write down every text."""


class TextTokenizer:
    """A tokenizer whose special tokens are known, and which never finds them in plain text.

    Byte-level tokenizers bring any bytes back unchanged: `decode_bytes(encode(data)) == data`.
    Whatever the tokenizer, ids are those its file states and run from 0 without a gap.

    Args:
        tokenizer: of the `tokenizers` library; special tokens it lacks are added to it.

    Raises:
        InvalidTokenizer: it has two tokens of one id, or no token for what it does not know.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        # to write it, older versions of the library list every id that is missing
        _check_highest_id(tokenizer.get_vocab())
        try:
            state = json.loads(tokenizer.to_str())
        except Exception as error:  # the library raises this very class
            raise InvalidTokenizer(f"it cannot be written to a file: {error}") from error
        self._take(tokenizer, state)

    def _take(self, tokenizer: Tokenizer, state: dict[str, Any]) -> None:
        """Complete what a `tokenizer.json` holds, and read off what is asked for often."""
        parts = _Parts(state)
        if parts.complete():
            tokenizer = Tokenizer.from_str(json.dumps(state))
        # not what the library writes: it rounds the scores of a Unigram model a little each time
        self._text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
        tokenizer.encode_special_tokens = True  # a "<pad>" that somebody typed is five characters
        self.tokenizer = tokenizer
        self._model = tokenizer.model
        self.vocab_size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        """How many ids there are, the special ones included."""
        self.is_byte_level = parts.is_byte_level
        """Whether every single byte has a token, so that nothing is ever unknown."""
        roles = parts.roles()
        self.pad_token_id = roles["pad"]
        self.bos_token_id = roles["bos"]
        self.eos_token_id = roles["eos"]
        self.mask_token_id = roles["mask"]
        self.unk_token_id = roles["unk"]
        added = tokenizer.get_added_tokens_decoder()
        self.all_special_ids = sorted(index for index, token in added.items() if token.special)
        """Ids that stand for no text, in order."""
        self._special = frozenset(self.all_special_ids)
        self._added = {i: token.content for i, token in added.items() if not token.special}
        self._fallback = parts.fallback_ids()
        self._from_text = {self.unk_token_id, *self._fallback.values()}
        self._guarded = self._special | self._from_text
        self._prefix = parts.continuing_prefix
        self._suffix = parts.end_suffix
        if len(self.all_special_ids) == self.vocab_size:
            raise InvalidTokenizer("it has special tokens only, none for text")

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
            InvalidTokenizer: not a tokenizer, or one that could not write down every text.
            OSError: the file cannot be read.
        """
        return cls._from_bytes(Path(path).read_bytes())

    @classmethod
    def _from_bytes(cls, content: bytes) -> TextTokenizer:
        if _is_sentencepiece(content):
            raise InvalidTokenizer(
                "a SentencePiece model; convert it with the library transformers: "
                "AutoTokenizer.from_pretrained(ITS_FOLDER).backend_tokenizer.save('tokenizer.json')"
            )
        try:
            tokenizer, state = Tokenizer.from_buffer(content), json.loads(content)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise InvalidTokenizer(f"not a tokenizer.json: {reason}") from error
        found = cls.__new__(cls)
        # not through __init__: the library forgets the ids that the file states for added tokens
        found._take(tokenizer, state)
        return found

    def to_str(self) -> str:
        """The content of a `tokenizer.json`."""
        return self._text

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`."""
        Path(path).write_text(self.to_str(), encoding="utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        return TextTokenizer.from_str, (self.to_str(),)

    def __len__(self) -> int:
        return self.vocab_size

    @cached_property
    def mask_token(self) -> str:
        """How a mask is spelled in a text with gaps."""
        return str(self.tokenizer.id_to_token(self.mask_token_id))

    def encode(self, text: str | bytes) -> list[int]:
        """Ids of a text, without special ones but the unknown token's.

        Bytes that are no UTF-8 become tokens of a byte where there are such, else unknown.
        """
        ids: list[int] = []
        for part in _parts_of(text):
            if _STRAY_BYTES.match(part):
                ids += self._byte_ids(part.encode("utf-8", "surrogateescape"))
                continue
            encoding = self.tokenizer.encode(part, add_special_tokens=False)
            if self._guarded.isdisjoint(encoding.ids):
                ids += encoding.ids
            else:
                ids += [index for index, _ in self._ends(encoding, part)]
        return ids

    def encode_measured(self, text: str | bytes) -> tuple[list[int], list[int]]:
        """`encode`, and how many bytes of the text each id stands for.

        What a tokenizer drops, such as spaces, counts to the next token. So the counts add up to
        the bytes of the text; one more, at the end, counts what no token follows.

        Returns:
            N ids and N + 1 counts.
        """
        ids: list[int] = []
        counts: list[int] = []
        waiting = 0
        for part in _parts_of(text):
            if _STRAY_BYTES.match(part):
                data = part.encode("utf-8", "surrogateescape")
                ids += self._byte_ids(data)
                counts += [1 + waiting, *[1] * (len(data) - 1)]
                waiting = 0
                continue
            reached = 0
            for index, end in self._ends(
                self.tokenizer.encode(part, add_special_tokens=False), part
            ):
                ids.append(index)
                counts.append(waiting + len(part[reached:end].encode()))
                reached, waiting = max(reached, end), 0
            waiting += len(part[reached:].encode())
        return ids, [*counts, waiting]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special ones left out; incomplete characters become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of ids, special ones left out."""
        kept = [index for index in map(int, ids) if index not in self._special]
        if not self.is_byte_level:
            return self.tokenizer.decode(kept).encode()
        return b"".join(map(self._bytes_of, kept))

    def _bytes_of(self, index: int) -> bytes:
        """What an id of a byte-level tokenizer stands for."""
        if index in self._added:  # matched in the text itself, before it was cut into bytes
            return self._added[index].encode()
        token = str(self.tokenizer.id_to_token(index))
        word = token.removesuffix(self._suffix)
        end = b" " if word != token else b""
        if all(character in _BYTE_OF_CHARACTER for character in word):
            return bytes(_BYTE_OF_CHARACTER[character] for character in word) + end
        return word.encode() + end

    def _ends(self, encoding: Encoding, text: str) -> Iterator[tuple[int, int]]:
        """Ids, and the character of the text at which each ends.

        A special token that the model found spelled out in the text becomes characters again.
        """
        found = zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
        for index, token, (start, end) in found:
            if index in self._guarded and (
                index not in self._from_text or text[start:end].strip() == token
            ):
                yield from ((one, end) for one in self._characters(token))
            else:
                yield index, end

    def _characters(self, word: str) -> list[int]:
        """Ids of the characters of a word; a single unknown one where it knows none."""
        ids = list(self._character(word[0], ""))
        for character in word[1:]:
            ids += self._character(character, self._prefix)
        known = [index for index in ids if index != self.unk_token_id]
        return ids if known else [self.unk_token_id]

    def _character(self, character: str, prefix: str) -> Iterator[int]:
        if prefix:
            index = self._model.token_to_id(prefix + character)
            yield self.unk_token_id if index is None else index
            return
        for token in self._model.tokenize(character):
            is_text = token.id not in self._special
            yield token.id if is_text else self.unk_token_id

    def _byte_ids(self, data: bytes) -> list[int]:
        if self.is_byte_level:
            alphabet = (self._model.token_to_id(_CHARACTER_OF_BYTE[byte]) for byte in data)
            return [self.unk_token_id if index is None else index for index in alphabet]
        return [self._fallback.get(byte, self.unk_token_id) for byte in data]


class _Parts:
    """What the JSON of a tokenizer says, and what it lacks.

    Args:
        state: content of a `tokenizer.json`; `complete` changes it.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self.model: dict[str, Any] = state["model"]
        self.added: list[dict[str, Any]] = state.setdefault("added_tokens", [])
        self.kind = _kind(self.model)
        vocab = self.model["vocab"]
        self.is_list = isinstance(vocab, list)  # Unigram: pieces with their scores
        self.vocab: dict[str, int] = (
            {piece: index for index, (piece, _) in enumerate(vocab)} if self.is_list else vocab
        )
        kinds = _kinds(state.get("normalizer")) | _kinds(state.get("pre_tokenizer"))
        alphabet = all(character in self.vocab for character in _BYTE_OF_CHARACTER)
        self.is_byte_level = "ByteLevel" in kinds and alphabet
        self.continuing_prefix = str(self.model.get("continuing_subword_prefix") or "")
        self.end_suffix = str(self.model.get("end_of_word_suffix") or "")

    def fallback_ids(self) -> dict[int, int]:
        """Id of the token for each byte that stands in for unknown characters; all or none."""
        if not self.model.get("byte_fallback"):
            return {}
        ids = {byte: self.vocab.get(f"<0x{byte:02X}>") for byte in range(256)}
        found = {byte: index for byte, index in ids.items() if index is not None}
        return found if len(found) == 256 else {}

    def unknown(self) -> str | None:
        """The token that the model gives for what it does not know; None where it has none."""
        if self.is_list:
            index = self.model.get("unk_id")
            return None if index is None else str(self.model["vocab"][index][0])
        token = self.model.get("unk_token")
        return str(token) if token in self.vocab else None

    def complete(self) -> bool:
        """Mend ids, register special tokens, and add those that are missing.

        Returns:
            whether anything changed.

        Raises:
            InvalidTokenizer: an id stands for two tokens, or some text cannot be written down.
        """
        if self.unknown() is None and not self.is_byte_level and not self.fallback_ids():
            raise InvalidTokenizer(
                f"its {self.kind} model has no unknown token, so that not every text can be "
                "written down; give the model an unk_token that is in its vocabulary"
            )
        before = json.dumps([self._options(), self.added, len(self.vocab)])
        # no text is cut or filled up in here, and the same one is always the same ids
        self.state["truncation"] = self.state["padding"] = None
        if "dropout" in self.model:
            self.model["dropout"] = None
        self._mend_ids()
        for content in self._special_spellings():
            self._register(content)
        known = self._ids()
        for role in SPECIAL_TOKENS:
            if self._of_role(role) is None:
                own = SPECIAL_TOKENS[role][0]
                # a word that the model learned keeps its meaning
                while own in known:
                    own = f"<{own}>"
                self._register(own)
        self.added.sort(key=lambda token: int(token["id"]))
        return before != json.dumps([self._options(), self.added, len(self.vocab)])

    def _options(self) -> list[Any]:
        names = ("truncation", "padding")
        return [self.model.get("dropout"), *(self.state.get(name) for name in names)]

    def roles(self) -> dict[str, int]:
        """Id of each of SPECIAL_TOKENS, once they are complete."""
        ids = self._ids()
        found = {role: self._of_role(role) for role in SPECIAL_TOKENS}
        return {role: ids[content] for role, content in found.items() if content is not None}

    def _ids(self) -> dict[str, int]:
        return self.vocab | {token["content"]: token["id"] for token in self.added}

    def _of_role(self, role: str) -> str | None:
        if role == "unk" and not self.is_byte_level and (unknown := self.unknown()) is not None:
            return unknown
        special = {token["content"] for token in self.added if token["special"]}
        own = SPECIAL_TOKENS[role][0]
        spellings = [*SPECIAL_TOKENS[role], *(f"{'<' * n}{own}{'>' * n}" for n in (1, 2, 3))]
        return next((spelling for spelling in spellings if spelling in special), None)

    def _special_spellings(self) -> Iterator[str]:
        """Tokens that are no text though they need not be registered: theirs, and what is usual.

        In BPE, what merges make of text is text, however it is spelled.
        """
        merges = self.model.get("merges") or ()
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
        learned = {"".join(pair) for pair in pairs}
        known = self._ids()
        usual = [spelling for spellings in SPECIAL_TOKENS.values() for spelling in spellings]
        named = [*_post_processed(self.state.get("post_processor"))]
        if (unknown := self.unknown()) is not None:
            named.append(unknown)
        for content in [*named, *(spelling for spelling in usual if spelling not in learned)]:
            if content in known:
                yield content

    def _register(self, content: str) -> None:
        """Make a token special; a new one gets the next id."""
        for token in self.added:
            if token["content"] == content:
                token["special"] = True
                return
        ids = self._ids()
        index = ids.get(content, max(ids.values()) + 1)
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        self.added.append({"id": index, "content": content, **flags, "special": True})

    def _mend_ids(self) -> None:
        """Make ids what the file states, without gaps; the library would count them anew."""
        names: dict[int, str] = {}
        stated = dict(self.vocab)
        for content, index in [
            *self.vocab.items(),
            *((token["content"], token["id"]) for token in self.added),
        ]:
            if names.setdefault(index, content) != content:
                raise InvalidTokenizer(
                    f"the id {index} stands for {names[index]!r} and for {content!r}; each token "
                    "needs an id of its own"
                )
            if stated.setdefault(content, index) != index:
                raise InvalidTokenizer(
                    f"{content!r} has the ids {stated[content]} and {index}; a token has one"
                )
        if not names:
            raise InvalidTokenizer("its vocabulary is empty")
        _check_highest_id(stated)
        size = max(names) + 1
        own = len(self.model["vocab"])
        outside = [token["id"] for token in self.added if token["content"] not in self.vocab]
        is_dense = self.is_list or set(self.vocab.values()) == set(range(own))
        if is_dense and outside == list(range(own, own + len(outside))):
            return
        lowest = min((score for _, score in self.model["vocab"]), default=0) if self.is_list else 0
        for index in range(size):
            content = names.get(index)
            if self.is_list and index < own:
                continue
            if content is None:
                content = f"<unused {index}>"
                self.added.append(_unused(content, index))
            if self.is_list:
                self.model["vocab"].append([content, lowest])
            self.vocab[content] = index


def _check_highest_id(vocab: Mapping[str, int]) -> None:
    content, highest = max(vocab.items(), key=lambda token: token[1], default=("", 0))
    if highest >= MOST_IDS:
        raise InvalidTokenizer(
            f"{content!r} has the id {highest}; more than {MOST_IDS:,} are not taken"
        )


def without_mark(text: str | bytes) -> str | bytes:
    """A text without the byte order mark of its file; UTF-16 and UTF-32 with one become UTF-8."""
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    for mark, codec in _BYTE_ORDER_MARKS:
        if text.startswith(mark):
            try:
                return text.decode(codec).encode()
            except UnicodeDecodeError:  # two bytes that happen to look like a mark
                return text
    return text


def document_ids(tokenizer: TextTokenizer, text: str | bytes) -> list[int]:
    """A whole text with its beginning and end marked."""
    return [tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]


def model_input(
    tokenizer: TextTokenizer, text: str | bytes, task_type: str, max_seq_len: int
) -> tuple[npt.NDArray[np.int64], int]:
    """What a network gets for one text.

    `lm`: the text as a prompt, open at its end; of a long one the end is kept. `masked_lm`: each
    mask the text spells out is one. Else a whole text; of a long one the beginning is kept. A byte
    order mark is no part of the text, as in training.

    Returns:
        ids, int64 [T] with 1 <= T <= max_seq_len, and how many tokens were cut off.
    """
    text = without_mark(text)
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


def _parts_of(text: str | bytes) -> Iterator[str]:
    """Parts that are UTF-8, and between them those that are none, as `surrogateescape` has them."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return filter(None, _STRAY_BYTES.split(data.decode("utf-8", "surrogateescape")))


def _kind(model: dict[str, Any]) -> str:
    """The type of a model; files of old versions leave it to be told by the fields."""
    if "type" in model:
        return str(model["type"])
    if isinstance(model["vocab"], list):
        return "Unigram"
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in model else "WordLevel"


def _kinds(component: Any) -> set[str]:
    """Types of a normaliser or pre-tokenizer and of what it consists of."""
    if isinstance(component, list):
        return set().union(*map(_kinds, component))
    if not isinstance(component, dict):
        return set()
    return {str(component.get("type"))}.union(*map(_kinds, component.values()))


def _post_processed(component: Any) -> Iterator[str]:
    """Tokens that a post-processor puts around a text."""
    if not isinstance(component, dict):
        return
    for name in ("sep", "cls"):
        if isinstance(component.get(name), list):
            yield component[name][0]
    special = component.get("special_tokens")
    for token in special.values() if isinstance(special, dict) else ():
        yield from token["tokens"]
    for part in component.get("processors", ()):
        yield from _post_processed(part)


def _unused(content: str, index: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **flags, "special": True}


def _is_sentencepiece(content: bytes) -> bool:
    """A protocol buffer whose first field is a piece: a message with a text and its score."""
    return content[:1] == b"\n" and content[2:3] == b"\n" and 0 in content[:200]


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
