"""Which texts are the same, or nearly so.

Nearly equal are texts that share most of their shingles: pieces of `SHINGLE` characters, of the
text in lower case with a space for whatever is no letter or digit. What share that is, MinHash
signatures estimate; only texts with a band of these in common are compared.

A. Broder, "On the Resemblance and Containment of Documents", 1997 (shingles, MinHash);
J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets", 2014, chapter 3 (bands). The
signatures lie in one array and are sorted band by band: tables of hashes in Python would take ten
times the memory.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from ..config import TrainingConfig
from ..preprocessing import TextTokenizer
from .doctor import Indices, Samples, Similar, first_of_each
from .reading import place, read_splits
from .splits import Splits

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Signatures = npt.NDArray[np.uint32]

# Characters of a shingle.
SHINGLE = 5

# Least share of shingles that near duplicates have in common (Jaccard), in short and in long texts,
# and shingles that go with a word: between the two, one word may be another.
LEAST_COMMON, MOST_NEEDED, WORD = 0.55, 0.8, 16

# Of texts with LEAST_COMMON, 99.9 % have a band of BAND_ROWS equal rows, one of BANDS.
BANDS, BAND_ROWS = 42, 3

# Texts with the same band that each is compared with; a larger group links up all the same.
NEAREST = 4

# Tokens of the longest piece of a corpus that is compared, and texts that are read at a time.
LONGEST_PIECE = 4096
CHUNK = 512

# Tokens of a text by which people recognise it.
SHOWN_TOKENS = 24

_NO_WORD = re.compile(r"[\W_]+")


def whole_samples(splits: Splits, config: TrainingConfig) -> Splits:
    """Rows of whole texts, not cut to `max_seq_len`: of a corpus, its documents.

    Documents of more than `LONGEST_PIECE` tokens are several rows.
    """
    longest = 10**9 if config.task == "text_classification" else LONGEST_PIECE
    whole = replace(config, max_seq_len=longest, packing=False)
    return read_splits(whole, splits.processor)


def where(row: dict[str, Any], number: int, processor: TextTokenizer) -> str:
    """The row of a text, and how it begins.

    Args:
        row: of a split.
        number: of the row, from 0.
        processor: makes texts of ids again.
    """
    begin = " ".join(processor.decode(row["input_ids"][:SHOWN_TOKENS]).split())
    return f"{place(row.get('origin'), number)}: {begin!r}"


def find_similar(samples: Samples, config: TrainingConfig, console: Console) -> Similar:
    """Compare every text with all others.

    Equal are texts with the same characters. Texts with fewer than `SHINGLE` letters and digits
    have no near duplicates: there is too little in them.

    Args:
        samples: rows with `input_ids`.
        config: not needed for texts.
        console: for the progress.
    """
    digests: list[str | None] = []
    signed, counts = [], []
    starts = range(0, len(samples), CHUNK)
    quiet = not console.is_terminal
    for start in track(starts, "Comparing texts", console=console, transient=True, disable=quiet):
        numbers = np.arange(start, min(start + CHUNK, len(samples)))
        texts = [samples.processor.decode(ids) for ids in samples.values("input_ids", numbers)]
        digests += [hashlib.blake2b(t.encode(), digest_size=16).hexdigest() for t in texts]
        present = shingles(texts)
        signed.append(sign(present))
        counts.append(np.diff(present.indptr))
    different = first_of_each(digests)
    signatures = np.concatenate(signed)[different]
    pairs = candidate_pairs(signatures)
    scores = agreement(signatures, pairs)
    near = scores >= needed(np.concatenate(counts)[different][pairs].mean(1))
    return Similar(digests, different[pairs[near]], scores[near])


def plain_features(samples: Samples, numbers: Indices) -> csr_array:
    """Pieces of words in some texts, weighed by how rare they are: float64 [n, 2^16].

    Args:
        samples: rows with `input_ids`.
        numbers: which of them, ascending.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    # A linear model of these holds as many numbers for each class.
    pieces = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(2, 4),
        n_features=2**16,
        norm=None,
        alternate_sign=False,
    )
    counts = [
        pieces.transform(map(samples.processor.decode, samples.values("input_ids", part)))
        for part in np.array_split(numbers, math.ceil(len(numbers) / CHUNK))
    ]
    weighed = TfidfTransformer(sublinear_tf=True).fit_transform(vstack(counts))
    return cast("csr_array", weighed)


def normalized(text: str) -> str:
    """The letters and digits of a text, in lower case, single spaces between the words."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def shingles(texts: list[str]) -> csr_array:
    """Which shingles each text has: 1 for those, float32 [N, 2^24] of their hashes."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char",
        preprocessor=normalized,
        ngram_range=(SHINGLE, SHINGLE),
        n_features=2**24,
        binary=True,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    return cast("csr_array", vectorizer.transform(texts))


def sign(present: csr_array) -> Signatures:
    """MinHash signatures, uint32 [N, BANDS * BAND_ROWS]; the largest number without shingles.

    Two texts agree in a row with a probability of what share of their shingles they have in common.
    Hashing is by multiplication and shift (M. Dietzfelbinger et al., 1997).

    Args:
        present: as `shingles` returns them.
    """
    rows = BANDS * BAND_ROWS
    signatures = np.full((present.shape[0], rows), np.iinfo(np.uint32).max, dtype=np.uint32)
    some = np.diff(present.indptr) > 0
    starts = present.indptr[:-1][some]
    if not len(starts):
        return signatures
    generator = np.random.default_rng(0)
    factors = generator.integers(2**63, size=rows, dtype=np.uint64) | np.uint64(1)
    terms = generator.integers(2**63, size=rows, dtype=np.uint64)
    hashes = present.indices.astype(np.uint64)
    for row, (factor, term) in enumerate(zip(factors, terms, strict=True)):
        mixed = ((hashes * factor + term) >> np.uint64(32)).astype(np.uint32)
        signatures[some, row] = np.minimum.reduceat(mixed, starts)
    return signatures


def candidate_pairs(signatures: Signatures) -> Indices:
    """Pairs of texts that agree in a whole band: int64 [P, 2].

    Args:
        signatures: uint32 [N, BANDS * BAND_ROWS].
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    usable = np.flatnonzero((signatures != np.iinfo(np.uint32).max).any(1))
    for band in np.split(signatures[usable], BANDS, axis=1):
        order = np.lexsort(band.T)
        ordered = band[order]
        for step in range(1, NEAREST + 1):
            same = (ordered[step:] == ordered[:-step]).all(1)
            found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.unique(np.sort(usable[np.concatenate(found)], axis=1), axis=0)


def needed(count: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of shingles that two texts need in common to be nearly equal.

    Args:
        count: shingles of one of them, on average.
    """
    share: npt.NDArray[np.float64] = (count - WORD) / (count + WORD)
    return share.clip(LEAST_COMMON, MOST_NEEDED)


def agreement(signatures: Signatures, pairs: Indices) -> npt.NDArray[np.float32]:
    """Share of equal rows, which estimates what share of shingles is common: float32 [P].

    Args:
        signatures: uint32 [N, BANDS * BAND_ROWS].
        pairs: int64 [P, 2].
    """
    equal = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        first, second = pairs[part].T
        equal[part] = (signatures[first] == signatures[second]).mean(1)
    return equal
