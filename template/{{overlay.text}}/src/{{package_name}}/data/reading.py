"""Reading texts: corpora and tables become rows, and a tokenizer is learned. Needs no torch.

Whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers
from tokenizers import Tokenizer

from ..atomic import write_whole
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import (
    SPECIAL_TOKENS,
    InvalidTokenizer,
    TextTokenizer,
    model_input,
    without_mark,
)
from ..serving.runtime import Accepted
from ..serving.runtime.encodings import UnknownEncoding, decode_text
from ..serving.runtime.tables import Number
from ..task import TaskSpec
from .account import Account
from .class_folders import read_class_folders
from .columns import (
    LABEL,
    TEXT,
    account_for_columns,
    find_column,
    plain_column,
    warn_of_unused_settings,
)
from .description import summarize
from .folders import FileKind, find_files
from .labels import check_classes, read_classes
from .layout import Expected, table_description
from .packing import Packing, lengths_of
from .sources import Sources, SplitSource, is_labelled, read_all_sources, read_sources
from .splits import (
    Examination,
    Splits,
    digest_of,
    hold_out,
    too_few,
    validation_choice,
    warn_of_rare_classes,
)
from .tables import Table

if TYPE_CHECKING:
    import datasets

TEXT_SUFFIXES = frozenset((".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".log"))
DOCUMENTS = dict.fromkeys(
    (".pdf", ".docx", ".doc", ".odt", ".rtf", ".epub", ".pages"),
    "a formatted document; save it as plain text, .txt",
)
# in bytes; a bundle's limit, since training reads on where a network stops
LARGEST_TEXT = 1_000_000


def _refusal(path: Path) -> str | None:
    if path.suffix.lower() in DOCUMENTS:
        return DOCUMENTS[path.suffix.lower()]
    if not path.suffix:
        return "no suffix; call it .txt if it is a text, or let its name begin with a dot"
    return None


TEXTS = FileKind("texts", TEXT_SUFFIXES, _refusal)

# to be raised whenever the same texts and settings would give other rows than before
CACHE_VERSION = 4

# characters that are tokenised at a time; memory stays bounded for files of any size
PIECE = 1_000_000

# A tokenizer learns from runs without a space in pieces of so many characters, longer ones being
# the exception: its merges would take a time that grows with the square of a word's length.
LONG_RUN = re.compile(r"\S{257,}|\s{257,}")
LEARNED_PIECE = 64
# Of so many characters in such runs all are learned from, of the next so many half, then a third.
LEARNED_RUNS = 500_000

# a split by whole texts may hold out at most this share of the characters, and at least this part
# of what validation_split asks for
MOST_HELD_OUT, LEAST_HELD_OUT = 0.5, 0.25

# A text of one line is divided within the line only if there is this much of it.
DIVISIBLE_LINE = 1_000

# a larger share of unknown tokens is worth a warning
MANY_UNKNOWN = 0.05


# --- Reading -------------------------------------------------------------------------------------


def read_splits(config: TrainingConfig, processor: TextTokenizer | None = None) -> Splits:
    """Read `config.data`, learn a tokenizer from the training texts, and tokenise everything.

    The README's table lists the layouts: folders of texts, tables, a set of the hub. Without
    validation data, `config.validation_split` of the documents, or of each class, is set aside; of
    a single document, its end. A test split is read, but never trained on.

    Args:
        config: where the texts lie and what becomes of them.
        processor: a tokenizer, used instead of `config.tokenizer`, or of learning one.

    Returns:
        tables with `input_ids`, and with `labels` for classification. They are cached on disk by
        `datasets`, so that the same texts are tokenised once.

    Raises:
        DataError: nothing there, nothing that can be read in one way, or texts that cannot be used,
            all of them named.
    """
    account = Account()
    sources = read_sources(config.data, _expected(config.task), account)
    is_labelled_task = config.task == "text_classification"
    used = ("text_column", "label_column") if is_labelled_task else ("text_column",)
    warn_of_unused_settings(config, used, sources.has_table, account)
    if is_labelled_task:
        return _read_labelled(config, sources, processor, account)
    return _read_corpus(config, sources, processor, account)


def read_samples(
    config: TrainingConfig, names: list[str], processor: TextTokenizer
) -> tuple[datasets.Dataset, Account]:
    """Read all texts of `config.data`, whichever splits they belong to.

    Raises:
        DataError: as `read_splits`, or classes that the network has not learned.
    """
    account = Account()
    sources = read_all_sources(config.data, _expected(config.task), account)
    if config.task == "text_classification":
        parts = [_labelled_texts(source, config, names, account)[0] for source in sources]
        account.check_labels(config.data, names)
        account.check(config.data)
        rows = _labelled_table(_Labelled.joined(parts), processor, config)
    else:
        documents = [one for source in sources for one in _documents(source, config, account)]
        account.check(config.data)
        rows = _corpus_table(documents, processor, config, measured=True)
    _check_known({"the samples": rows}, processor, config, account)
    return rows, account


# training samples that are compared at most: of more, the digests would take much memory
MOST_COMPARED = 2_000_000


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many samples have the same tokens as one of the training, unless those are very many."""
    if len(train) > MOST_COMPARED:
        return 0
    trained_on = set(_digests_of_ids(train))
    return sum(digest in trained_on for digest in _digests_of_ids(rows))


def _digests_of_ids(rows: datasets.Dataset) -> Iterator[bytes]:
    for batch in rows.select_columns("input_ids").with_format("arrow").iter(10_000):
        for ids in batch["input_ids"]:
            content = ids.values.to_numpy().tobytes()
            yield hashlib.blake2b(content, digest_size=16).digest()


def _expected(task: str) -> Expected:
    if task == "text_classification":
        table = table_description("columns text and label")
        return Expected(TEXTS, True, False, f"{table}, or a folder of texts for each class")
    table = table_description("a column text")
    return Expected(TEXTS, False, True, f"a text file, a folder of them, or {table}")


@dataclass(frozen=True)
class Document:
    """A text, or part of one: characters from `start` to `end`.

    Attributes:
        name: where it comes from, for messages.
        read: gives the whole text; it is read again each time, so that memory stays free.
        version: changes whenever the whole text does.
    """

    name: str
    read: Callable[[], str]
    version: tuple[str | int, ...]
    start: int = 0
    end: int | None = None

    @classmethod
    def of_file(cls, path: Path, account: Account) -> Document | None:
        """A file's text; None, and a problem of the account, where it cannot be read."""
        try:
            text, encoding = decode_text(path.read_bytes())
        except UnknownEncoding as error:
            account.problems.append(f"{path}: {error}")
        except OSError as error:
            account.problems.append(f"{path}: {error.strerror}")
        else:
            if encoding != "UTF-8":
                account.note(f"some texts are {encoding}")
            if text.strip():
                return cls(str(path), partial(_file_text, path), (_digest(text),))
            account.problems.append(f"{path}: empty")
        return None

    def text(self) -> str:
        """The text between `start` and `end`."""
        return self.read()[self.start : self.end]

    @property
    def identity(self) -> tuple[str | int | None, ...]:
        """Changes whenever the text does."""
        return *self.version, self.start, self.end


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _file_text(path: Path) -> str:
    return decode_text(path.read_bytes())[0]


def _row_text(values: Sequence[Any], row: int) -> str:
    return str(without_mark(str(values[row])))


# --- Texts without labels ------------------------------------------------------------------------


def _read_corpus(
    config: TrainingConfig, sources: Sources, tokenizer: TextTokenizer | None, account: Account
) -> Splits:
    found = {split: _documents(source, config, account) for split, source in sources.splits.items()}
    account.check(config.data)
    validation = sources.validation
    if "val" not in found:
        found["train"], found["val"], validation = _set_aside(found["train"], config)
    tokenizer = tokenizer or _tokenizer(
        config,
        lambda: (piece for document in found["train"] for piece in _pieces(document.text())),
        [document.identity for document in found["train"]],
    )
    rows = {
        split: _corpus_table(documents, tokenizer, config, measured=split != "train")
        for split, documents in found.items()
    }
    _check_known(rows, tokenizer, config, account)
    if config.packs_texts:
        _note_packing(rows["train"], config, account)
    summary = summarize(
        data=config.data,
        layout=sources.layout,
        validation=str(validation),
        splits=rows,
        outputs="",
        names=[],
        account=account,
    )
    for split, documents in found.items():
        lengths = [len(document.text()) for document in documents]
        summary["splits"][split] |= {
            "documents": len(documents),
            "characters": _spread(lengths),
        }
    return Splits(rows["train"], rows["val"], [], tokenizer, test=rows.get("test"), summary=summary)


def _documents(source: SplitSource, config: TrainingConfig, account: Account) -> list[Document]:
    if source.table is not None:
        return _table_documents(source.table, config, account)
    if source.file is not None:
        paths = [source.file]
    else:
        folder = source.folder or Path()
        paths = find_files(folder, TEXTS, account)
        if not paths:
            account.check(config.data)
            raise DataError(
                f"{folder} holds no texts ({', '.join(sorted(TEXT_SUFFIXES))}); give "
                f"{_expected(config.task).description}"
            )
    documents = [Document.of_file(path, account) for path in paths]
    return [document for document in documents if document is not None]


def _table_documents(table: Table, config: TrainingConfig, account: Account) -> list[Document]:
    """Every row with a text in it; corpora of the hub are full of blank ones."""
    values = table.columns[find_column(table, TEXT, config.text_column, "text_column", account)]
    documents = []
    for row, text in enumerate(values):
        if isinstance(text, str) and text.strip():
            version = (_digest(text),)
            documents.append(Document(table.place(row), partial(_row_text, values, row), version))
        else:
            account.leave_out(table.place(row), "blank")
    if not documents:
        account.check(config.data)
        raise DataError(f"{table.name} has no text in its rows")
    return documents


def _set_aside(
    documents: list[Document], config: TrainingConfig
) -> tuple[list[Document], list[Document], str]:
    """Texts to train on, those to validate on, and for people how they were chosen.

    Whole texts validate, unless by characters that would leave one side nearly empty.
    """
    share = config.validation_split
    if len(documents) == 1:
        train, val = _divided(documents, share)
        return train, val, f"the last {share:.0%} of the text"
    held_out = set(hold_out(np.zeros(len(documents)), share, config.seed))
    lengths = [len(document.text()) for document in documents]
    held_share = sum(lengths[row] for row in held_out) / sum(lengths)
    if LEAST_HELD_OUT * share <= held_share <= max(MOST_HELD_OUT, share):
        kept = [row for row in range(len(documents)) if row not in held_out]
        return (
            [documents[row] for row in kept],
            [documents[row] for row in sorted(held_out)],
            validation_choice(config, by_class=False),
        )
    train, val = _divided(documents, share)
    return (
        train,
        val,
        f"the last {share:.0%} of the characters of all {len(documents)} texts: by whole texts it "
        f"would be {held_share:.1%} of them",
    )


def _divided(documents: list[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Texts in their order, the last `share` of their characters apart: one may be cut in two."""
    lengths = [len(document.text()) for document in documents]
    place = round(sum(lengths) * (1 - share))
    train, val = list[Document](), list[Document]()
    for document, length in zip(documents, lengths, strict=True):
        if length <= place:
            train.append(document)
        elif place <= 0:
            val.append(document)
        elif cut := _cut(document.text(), place, room=max(round(sum(lengths) * share) // 4, 1)):
            train.append(replace(document, end=cut))
            val.append(replace(document, start=cut))
        else:
            raise DataError(f"{document.name} has too few lines to set some aside; add texts")
        place -= length
    if not train or not val:
        raise DataError(f"{documents[0].name} has too few lines to set some aside; add texts")
    return train, val


def _cut(text: str, place: int, room: int) -> int:
    """Where to cut a text: behind a line or a word, at most `room` characters before `place`.

    Returns:
        0 where it is one short line.
    """
    for end in "\n", "\r", "\u2028", " ":
        if end == " " and len(text) < DIVISIBLE_LINE:
            break
        if (cut := text.rfind(end, place - room, place) + 1) > 0:
            return cut
    return text.rfind("\n", 0, place) + 1 if len(text) < DIVISIBLE_LINE else place


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {
        "min": min(values),
        "median": int(np.median(np.asarray(values))),
        "max": max(values),
        "sum": sum(values),
    }


# --- Texts with a class --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labelled:
    """Texts of one split, with where they are and the class of each."""

    texts: list[str]
    origins: list[str]
    labels: list[int]

    @classmethod
    def joined(cls, parts: Sequence[_Labelled]) -> _Labelled:
        return cls(
            [text for part in parts for text in part.texts],
            [origin for part in parts for origin in part.origins],
            [label for part in parts for label in part.labels],
        )

    def select(self, rows: Iterable[int]) -> _Labelled:
        chosen = list(rows)
        return _Labelled(
            [self.texts[row] for row in chosen],
            [self.origins[row] for row in chosen],
            [self.labels[row] for row in chosen],
        )


def _read_labelled(
    config: TrainingConfig, sources: Sources, tokenizer: TextTokenizer | None, account: Account
) -> Splits:
    train, names = _labelled_texts(sources.splits["train"], config, None, account)
    found = {"train": train}
    columns = [*LABEL, *([plain_column(config.label_column)] if config.label_column else [])]
    for split, source in sources.splits.items():
        if split == "val" or (split == "test" and is_labelled(source, TEXTS, columns, account)):
            found[split] = _labelled_texts(source, config, names, account)[0]
    account.check(config.data)
    check_classes(names, config.data)
    validation = sources.validation or validation_choice(config, by_class=True)
    if "val" not in found:
        held_out = hold_out(np.array(train.labels), config.validation_split, config.seed)
        if not held_out:
            raise DataError(too_few(config.data, len(train.texts), has_classes=True))
        kept = sorted(set(range(len(train.texts))) - set(held_out))
        found |= {"train": train.select(kept), "val": train.select(held_out)}
    warn_of_rare_classes(found["val"].labels, names, account)
    texts = found["train"].texts
    tokenizer = tokenizer or _tokenizer(config, lambda: iter(texts), texts)
    rows = {split: _labelled_table(one, tokenizer, config) for split, one in found.items()}
    _check_known(rows, tokenizer, config, account)
    summary = summarize(
        data=config.data,
        layout=sources.layout,
        validation=validation,
        splits=rows,
        outputs="classes",
        names=names,
        account=account,
    )
    for split, one in found.items():
        summary["splits"][split]["characters"] = _spread(list(map(len, one.texts)))
    return Splits(
        rows["train"], rows["val"], names, tokenizer, test=rows.get("test"), summary=summary
    )


def _labelled_texts(
    source: SplitSource, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[_Labelled, list[str]]:
    if source.table is not None:
        return _table_texts(source.table, config, names, account)
    files, labels, names = read_class_folders(source.folder or Path(), TEXTS, names, account)
    documents = [Document.of_file(path, account) for path in files]
    texts = [document.text() if document is not None else "" for document in documents]
    return _Labelled(texts, [str(file) for file in files], labels), names


def _table_texts(
    table: Table, config: TrainingConfig, names: list[str] | None, account: Account
) -> tuple[_Labelled, list[str]]:
    if not len(table):
        account.check(config.data)
        raise DataError(f"{table.name} has no rows")
    column = find_column(table, TEXT, config.text_column, "text_column", account)
    rest = table.without(column)
    label_column = find_column(rest, LABEL, config.label_column, "label_column", account)
    texts = table.values(column)
    for row, text in enumerate(texts):
        if isinstance(text, Number) or not isinstance(text, str | None):
            account.problems.append(f"{table.place(row)}: text is {text!s}; it must be a text")
        elif not (text or "").strip():
            account.problems.append(f"{table.place(row)}: text is blank")
    account_for_columns(rest, [label_column], account)
    labels, names = read_classes(rest.values(label_column), table.place, names, account)
    origins = [table.place(row) for row in range(len(table))]
    return _Labelled(texts, origins, labels), names


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """No problems: `read_splits` has opened every text and named those it could not read.

    The digest is of the tokens, and of the labels where there are any.
    """
    return Examination(digest=digest_of(rows, ("input_ids", "labels")))


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> None:
    """None: `examine` opens nothing."""


def review(facts: Mapping[str, Mapping[str, Any]], config: TrainingConfig) -> list[str]:
    """Nothing."""
    return []


# --- Tokenising ----------------------------------------------------------------------------------


def learn_tokenizer(texts: Iterable[str], vocab_size: int) -> TextTokenizer:
    """Byte-level BPE: every byte is a token, the most frequent neighbours are merged.

    The time it takes grows no faster than the texts, however long their lines and words are.

    Args:
        texts: what to learn from.
        vocab_size: tokens at most, special ones included; little text has fewer to merge.
    """
    tokenizer = Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[spellings[0] for spellings in SPECIAL_TOKENS.values()],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=sys.stdout.isatty(),  # older versions print blank lines elsewhere
    )
    tokenizer.train_from_iterator(_learnable(texts), trainer)
    return TextTokenizer(tokenizer)


def _learnable(texts: Iterable[str]) -> Iterator[str]:
    """The texts, long runs without a space cut to pieces, and of many pieces only some."""
    seen = 0
    for text in texts:
        reached = 0
        for run in LONG_RUN.finditer(text):
            yield text[reached : run.start()]
            reached = run.end()
            for start in range(run.start(), run.end(), LEARNED_PIECE):
                stride = 1 + seen // LEARNED_RUNS
                if (seen // LEARNED_PIECE) % stride == 0:
                    yield text[start : min(start + LEARNED_PIECE, run.end())]
                seen += LEARNED_PIECE
        yield text[reached:]


def _tokenizer(
    config: TrainingConfig, texts: Callable[[], Iterator[str]], identity: object
) -> TextTokenizer:
    """The tokenizer that `config.tokenizer` names, or one learned from the texts, once."""
    import datasets

    if config.tokenizer is not None:
        try:
            return TextTokenizer.load(config.tokenizer)
        except IsADirectoryError as error:
            raise DataError(
                f"tokenizer: {config.tokenizer} is a folder; give the tokenizer.json in it"
            ) from error
        except OSError as error:
            raise DataError(f"tokenizer: {config.tokenizer}: {error.strerror}") from error
        except InvalidTokenizer as error:
            raise DataError(f"tokenizer: {config.tokenizer}: {error}") from error
    name = f"{_fingerprint(identity, config.vocab_size)}.json"
    cached = Path(datasets.config.HF_DATASETS_CACHE) / "tokenizers" / name
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cached, learn_tokenizer(texts(), config.vocab_size).to_str())
    return TextTokenizer.load(cached)


def _corpus_table(
    documents: list[Document], tokenizer: TextTokenizer, config: TrainingConfig, *, measured: bool
) -> datasets.Dataset:
    """Samples of the documents.

    Measured ones tell in `text_bytes` what each token stands for, and in `origin` where they begin.
    """
    columns = {"input_ids": ["int32"]} | ({"text_bytes": ["int32"]} if measured else {})
    length = config.max_seq_len
    assert length is not None  # settled, by a record or without

    def samples() -> Iterator[dict[str, Any]]:
        rest: dict[str, list[int]] = {name: [] for name in columns}
        begin = ""  # of what is in the rest

        def sample(start: int) -> dict[str, Any]:
            values = {name: values[start : start + length] for name, values in rest.items()}
            return {**values, "origin": begin} if measured else values

        for document in documents:
            begin = begin if rest["input_ids"] else document.name
            read = 0
            for piece in _document_pieces(document, tokenizer, measured=measured):
                for name, values in zip(rest, piece, strict=True):
                    rest[name] += values
                read += len(piece[0])
                held = len(rest["input_ids"])
                whole = held // length * length
                for start in range(0, whole, length):
                    yield sample(start)
                    begin = f"{document.name}, token {read - (held - start - length) + 1}"
                for values in rest.values():
                    del values[:whole]
            if config.packing is not True and rest["input_ids"]:
                yield sample(0)
                for values in rest.values():
                    values.clear()
        if rest["input_ids"]:
            yield sample(0)

    identity = [(document.name, document.identity) for document in documents]
    settings = (tokenizer.to_str(), config.max_seq_len, config.packing is True)
    kinds: dict[str, Any] = columns | ({"origin": "string"} if measured else {})
    return _cached_table(samples, kinds, (identity, settings, measured))


def _note_packing(rows: datasets.Dataset, config: TrainingConfig, account: Account) -> None:
    assert config.max_seq_len is not None  # settled, by a record or without
    packing = Packing.of(lengths_of(rows), config.max_seq_len)
    account.note(
        f"packing: {len(rows):,} training samples share {len(packing):,} rows of "
        f"{packing.capacity:,} tokens, which are {packing.fullness:.0%} full"
    )


def _document_pieces(
    document: Document, tokenizer: TextTokenizer, *, measured: bool
) -> Iterator[tuple[list[int], ...]]:
    """Ids, and if measured the bytes of each, which add up to those of the text."""
    if not measured:
        yield ([tokenizer.bos_token_id],)
        for piece in _pieces(document.text()):
            yield (tokenizer.encode(piece),)
        yield ([tokenizer.eos_token_id],)
        return
    yield [tokenizer.bos_token_id], [0]
    waiting = 0
    for piece in _pieces(document.text()):
        ids, counts = tokenizer.encode_measured(piece)
        counts[0] += waiting
        waiting = counts.pop()
        yield ids, counts
    yield [tokenizer.eos_token_id], [waiting]


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of about PIECE characters, each from a space or line to the next."""
    start = 0
    while len(text) - start > PIECE:
        limit = start + PIECE
        place = max(text.rfind(end, start + PIECE // 2, limit) for end in (" ", "\n"))
        stop = place if place > start else limit
        yield text[start:stop]
        start = stop
    yield text[start:]


def _check_known(
    rows: Mapping[str, datasets.Dataset],
    tokenizer: TextTokenizer,
    config: TrainingConfig,
    account: Account,
) -> None:
    """Say how much the tokenizer does not know.

    Raises:
        DataError: in a split there is nothing else.
    """
    if config.tokenizer is None or tokenizer.is_byte_level:
        return
    for split, table in rows.items():
        counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        for batch in table.select_columns("input_ids").with_format("arrow").iter(10_000):
            ids = batch["input_ids"].combine_chunks().flatten().to_numpy()
            counts += np.bincount(ids, minlength=tokenizer.vocab_size)
        unknown = int(counts[tokenizer.unk_token_id])
        counts[tokenizer.all_special_ids] = 0
        known = int(counts.sum())
        if not known:
            raise DataError(
                f"tokenizer: {config.tokenizer} knows no word of the texts in {split}; it was made "
                "for others"
            )
        if unknown > MANY_UNKNOWN * (known + unknown):
            account.warn(
                f"{unknown / (known + unknown):.0%} of the tokens in {split} are unknown to "
                f"{config.tokenizer}: what they say is lost"
            )


def _labelled_table(
    found: _Labelled, tokenizer: TextTokenizer, config: TrainingConfig
) -> datasets.Dataset:
    length = config.max_seq_len
    assert length is not None  # settled, by a record or without

    def samples() -> Iterator[dict[str, Any]]:
        for text, origin, label in zip(found.texts, found.origins, found.labels, strict=True):
            ids, cut = model_input(tokenizer, text, config.task, length)
            yield {"input_ids": ids, "labels": label, "cut": cut, "origin": origin}

    settings = (tokenizer.to_str(), config.max_seq_len)
    columns = {"input_ids": ["int32"], "labels": "int64", "cut": "int64", "origin": "string"}
    identity = (found.texts, found.origins, found.labels, settings)
    rows = _cached_table(samples, columns, identity)
    if cut := sum(tokens > 0 for tokens in rows["cut"]):
        warnings.warn(
            f"{cut} of {len(rows)} texts are longer than max_seq_len ({config.max_seq_len} tokens) "
            "and were cut",
            stacklevel=2,
        )
    return rows


def _cached_table(
    samples: Callable[[], Iterator[dict[str, Any]]], columns: dict[str, Any], identity: object
) -> datasets.Dataset:
    """The samples as a table on disk, written only if no such table is there already."""
    from datasets import Dataset as Table
    from datasets import Features, List, Value, disable_progress_bars

    disable_progress_bars()
    features = {
        name: List(Value(kind[0])) if isinstance(kind, list) else Value(kind)
        for name, kind in columns.items()
    }
    return Table.from_generator(
        samples, features=Features(features), fingerprint=_fingerprint(identity)
    )


def _fingerprint(*identity: object) -> str:
    content = json.dumps([CACHE_VERSION, identity])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


# --- What an export needs later ------------------------------------------------------------------


# what `save_processor` writes
PROCESSOR_FILES: tuple[str, ...] = ("tokenizer.json",)


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes for a text: what was one here."""
    return Accepted(
        suffixes=sorted(TEXT_SUFFIXES),
        refused=DOCUMENTS,
        columns=list(dict.fromkeys((config.text_column or TEXT[0], *TEXT))),
        max_item_size=LARGEST_TEXT,
    )


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep a piece of a validation text as `example.txt`: the bundle stores it with its answer."""
    write_whole(run_dir / "example.txt", _example(splits, task_spec))


def _example(splits: Splits, task_spec: TaskSpec) -> bytes:
    tokenizer: TextTokenizer = splits.processor
    ids = splits.val[0]["input_ids"]
    if task_spec.task_type == "text_classification":
        return tokenizer.decode_bytes(ids)
    # a bundle stores a logit for every token of the example and of the vocabulary
    ids = ids[: min(8, task_spec.input_schema["max_seq_len"] - 2)]
    if task_spec.task_type == "lm":
        return tokenizer.decode_bytes(ids)
    middle = len(ids) // 2
    before, after = tokenizer.decode_bytes(ids[:middle]), tokenizer.decode_bytes(ids[middle + 1 :])
    return before + tokenizer.mask_token.encode() + after


def save_processor(processor: TextTokenizer | None, folder: Path) -> None:
    """Write the tokenizer into a run or a bundle.

    Raises:
        DataError: there is none.
    """
    if processor is None:
        raise DataError("a network for texts needs the tokenizer that made its input")
    write_whole(folder / "tokenizer.json", processor.to_str())


def load_processor(folder: Path) -> TextTokenizer:
    """The tokenizer kept with a run.

    Raises:
        DataError: it is gone or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        return TextTokenizer.load(path)
    except (OSError, InvalidTokenizer) as error:
        raise DataError(f"{path}: {error}") from error


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each text, or where it is in its table."""
    has_origin = "origin" in rows.column_names
    origins = rows["origin"][:] if has_origin else [None] * len(rows)
    return [place(origin, number) for number, origin in enumerate(origins)]


def place(origin: str | None, number: int) -> str:
    """Where a text comes from, or its row, counted from 1."""
    return origin or f"row {number + 1}"
