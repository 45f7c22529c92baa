"""What images are like: every one is opened before training, and what matters about it counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL
from PIL import ExifTags, Image, ImageFile

from .. import preprocessing
from ..config import TrainingConfig
from ..errors import DataError
from ..preprocessing import ImageTooLarge, InvalidImage
from .file_facts import (
    Row,
    content_digest,
    files_fingerprint,
    located,
    looks,
    source_of,
    spread,
)
from .splits import Examination, digest_of

if TYPE_CHECKING:
    import datasets

Facts: TypeAlias = Mapping[str, Any]

# raised when `examine` comes to other facts of the same images
VERSION = 2

# this share of the values decides whether a range suits them: a few bright specks do not
BULK = 0.999

# what an image may be, beside its format, mode and size; counted under these names
MARKS = ("turned", "transparent", "several_frames", "deep_colour", "deep")


# --- Opening every image -------------------------------------------------------------------------


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """Decode every image, on all cores.

    Args:
        rows: a table with `image` (path or bytes), and perhaps `origin`, where a row was read.
        config: `max_pixels` of the largest image to open.

    Returns:
        a line for each image that cannot be used, and as facts: `images`, how many there are;
        `formats` and `modes` of Pillow with their counts; `width` and `height` in pixels, each as
        `min`, `median`, `max`; how many images are `turned` by EXIF, are `transparent`, have
        `several_frames` (or pages), are of `deep_colour` (more than 8 bits, of which Pillow reads
        8), or `deep` (grey, more than 8 bits). Of the deep ones, the lowest and highest value as
        `value_range`, and as `bulk_range` the shortest range with 99.9 % of the values, to within
        1 %; both are None where there are none. The digest is of the images' files, and of the
        labels where there are any.
    """
    tally, problems = _Tally(), []
    found = looks(rows, "image", lambda row: _look(row, config.max_pixels), "images")
    for index, look in enumerate(found):
        if isinstance(look, _Look):
            tally.add(look)
        else:
            problems.append(explain(rows[index], index, look))
    return Examination(problems, tally.facts(), digest_of(rows, ("labels",), *tally.digests))


def explain(row: Row, index: int, error: InvalidImage | FileNotFoundError) -> str:
    """One line: where an image is, what is wrong with it, and what helps.

    Args:
        row: of the table; `origin` is where it was read, if that is known.
        index: of the row, for images that have no path.
        error: what reading it raised.
    """
    remedy = "; --max_pixels allows more" if isinstance(error, ImageTooLarge) else ""
    return f"{located(row, 'image', index, error)}{remedy}"


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> str:
    """Digest of the images that `rows` name and of all else that `examine` hangs on."""
    settings = f"{VERSION}\0{PIL.__version__}\0{config.max_pixels}"
    return files_fingerprint(rows, "image", settings)


@dataclass(frozen=True)
class _Look:
    """What one image is like.

    Attributes:
        format, mode: in Pillow's words.
        width, height: in pixels, as stored.
        marks: those of MARKS that fit.
        values: of a deep image; None for others.
        digest: of its file.
    """

    format: str
    mode: str
    width: int
    height: int
    marks: frozenset[str]
    values: ValueCounts | None
    digest: str


_Outcome: TypeAlias = _Look | InvalidImage | FileNotFoundError


def _look(row: Row, max_pixels: int) -> _Outcome:
    """Decode an image as far as it goes without a range; gives the error that this raised."""
    source = source_of(row["image"])
    try:
        with preprocessing.opened(source, max_pixels) as image:
            raw_mode = _raw_mode(image)  # decoding forgets it
            values = preprocessing.deep_values(image)
            if values is None:
                preprocessing.to_mode(image, 3)
            marks = {
                "turned": image.getexif().get(ExifTags.Base.Orientation) in range(2, 9),
                "transparent": image.has_transparency_data,
                "several_frames": getattr(image, "is_animated", False),
                "deep_colour": values is None and ";16" in raw_mode,
                "deep": values is not None,
            }
            return _Look(
                image.format or "",
                image.mode,
                *image.size,
                frozenset(mark for mark, fits in marks.items() if fits),
                None if values is None else ValueCounts.of(values),
                content_digest(source),
            )
    except (InvalidImage, FileNotFoundError) as error:
        return error


def _raw_mode(image: Image.Image) -> str:
    """How a file that is not decoded yet stores pixels, such as `RGB;16B`; empty if unknown."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    arguments = image.tile[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


# --- Counting ------------------------------------------------------------------------------------


@dataclass
class ValueCounts:
    """How often values occur: exact ends, and bins that are at most 1/128 of their values wide.

    A bin is what the upper half of a float32 tells: sign, exponent, seven bits of the fraction.

    Attributes:
        low, high: the ends.
        counts: int64 [65536], of the bins in ascending order.
    """

    BLOCK = 1 << 20  # values counted at a time

    low: float = math.inf
    high: float = -math.inf
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 16, np.int64))

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> ValueCounts:
        """Of finite values, in an array of any shape."""
        counted = cls(float(values.min()), float(values.max()))
        flat = values.ravel()
        for start in range(0, flat.size, cls.BLOCK):
            block = flat[start : start + cls.BLOCK].astype(np.float32)
            counted.counts += np.bincount(_in_number_order(block) >> 16, minlength=1 << 16)
        return counted

    def add(self, other: ValueCounts) -> None:
        """Count the values of another as well."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.counts += other.counts

    def shortest_range(self, share: float) -> list[float]:
        """The shortest [low, high] of whole bins, within the ends, that holds so many values."""
        up_to = self.counts.cumsum()
        first = np.flatnonzero(self.counts)
        wanted = up_to[first] - self.counts[first] + math.ceil(share * up_to[-1])
        first, wanted = first[wanted <= up_to[-1]], wanted[wanted <= up_to[-1]]
        last = np.searchsorted(up_to, wanted)
        lows = _numbers(first << 16).clip(self.low, self.high)
        highs = _numbers((last << 16) + 0xFFFF).clip(self.low, self.high)
        shortest = (highs - lows).argmin()
        return [float(lows[shortest]), float(highs[shortest])]


_SIGN = np.uint32(1 << 31)


def _in_number_order(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """The bits of float32 (IEEE 754: sign and magnitude) as integers that ascend as they do."""
    bits = numbers.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(ordered: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Inverse of `_in_number_order`."""
    bits = ordered.astype(np.uint32)
    return np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float32).astype(np.float64)


@dataclass
class _Tally:
    """Adds up looks at images."""

    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    values: ValueCounts = field(default_factory=ValueCounts)
    digests: list[str] = field(default_factory=list)

    def add(self, look: _Look) -> None:
        self.formats[look.format] += 1
        self.modes[look.mode] += 1
        self.marks.update(look.marks)
        self.widths.append(look.width)
        self.heights.append(look.height)
        self.digests.append(look.digest)
        if look.values is not None:
            self.values.add(look.values)

    def facts(self) -> dict[str, Any]:
        """As `examine` lists them."""
        deep = self.marks["deep"] > 0
        return {
            "images": len(self.widths),
            "formats": dict(self.formats.most_common()),
            "modes": dict(self.modes.most_common()),
            "width": spread(self.widths),
            "height": spread(self.heights),
            **{mark: self.marks[mark] for mark in MARKS},
            "value_range": [self.values.low, self.values.high] if deep else None,
            "bulk_range": self.values.shortest_range(BULK) if deep else None,
        }


# --- What the facts mean -------------------------------------------------------------------------


def review(facts: Mapping[str, Facts], config: TrainingConfig) -> list[str]:
    """What people should know before they train on images like these, one line each.

    Args:
        facts: of each split, by its name, as `examine` lists them.
        config: `value_range` wins over what was measured.

    Raises:
        DataError: images of more than 8 bits without a range to scale them by.
    """
    lines = []
    value_range = config.value_range or facts["train"]["value_range"]
    if value_range is None:
        lines += _without_range(facts)
    elif config.value_range is None:
        lines += _range_problems(*value_range, *facts["train"]["bulk_range"])
    images, deep, frames, colour = (
        sum(split[name] for split in facts.values())
        for name in ("images", "deep", "several_frames", "deep_colour")
    )
    if value_range is not None and 0 < deep < images:
        lines.append(
            f"{deep:,} of {images:,} images have more than 8 bits: value_range "
            f"{_text(value_range)} scales these, while those of 8 bits are used as they are"
        )
    if frames:
        lines.append(f"{frames:,} of {images:,} images have several frames: only the first is used")
    if colour:
        lines.append(
            f"{colour:,} of {images:,} images are colour of more than 8 bits, of which only the "
            "upper 8 are read: levels may be lost; scale them to 8 bits to choose which"
        )
    return lines


def _without_range(facts: Mapping[str, Facts]) -> list[str]:
    """Training images are all of 8 bits."""
    lines = []
    for name, split in facts.items():
        if "F" in split["modes"]:
            raise DataError(
                f"{name}: {split['modes']['F']:,} images have floating-point pixels, but the "
                "training images 8 bits: no range is known to scale by; give --value_range "
                "LOW,HIGH"
            )
        if split["deep"]:
            lines.append(
                f"{name}: {split['deep']:,} images have more than 8 bits, but the training images "
                "8: their upper byte is used; --value_range LOW,HIGH scales them"
            )
    return lines


def _range_problems(low: float, high: float, bulk_low: float, bulk_high: float) -> list[str]:
    """What is wrong with a measured range.

    Raises:
        DataError: it is empty.
    """
    if low == high:
        raise DataError(
            f"every pixel of the training images of more than 8 bits is {low:g}: no range is known "
            "to scale by; give --value_range LOW,HIGH"
        )
    if bulk_high - bulk_low < (high - low) / 2:
        bulk, share = _text((bulk_low, bulk_high)), (bulk_high - bulk_low) / (high - low)
        return [
            f"{BULK:.1%} of the values in training images of more than 8 bits lie within {bulk}, "
            f"{share:.1%} of what was measured and becomes black to white, {_text((low, high))}: "
            f"--value_range {bulk_low:.6g},{bulk_high:.6g} gives them all levels"
        ]
    return []


def _text(value_range: Sequence[float]) -> str:
    return f"[{value_range[0]:.6g},{value_range[1]:.6g}]"
