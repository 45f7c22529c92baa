"""Which images are the same, or nearly so.

Candidates are found in thumbnails and confirmed in larger pictures. Nothing is hashed: a hash of a
flat or smooth image is made of noise. Thumbnails of near duplicates lie close together, and so do
the means of their blocks, which are never farther apart: a search tree over these misses none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import track

from .. import preprocessing
from ..config import TrainingConfig
from ..preprocessing import InvalidImage
from .doctor import Indices, Samples, Similar, first_of_each, nearest_pairs
from .file_samples import place
from .splits import Splits

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Pixels = npt.NDArray[np.uint8]
Result = TypeVar("Result")

# Sides of a thumbnail's brightness and of its two colour channels, and of the means of blocks.
THUMBNAIL, COLOUR, BLOCKS = 16, 4, 4

# Sides of the picture in which a candidate is confirmed.
PICTURE = 64

# Largest root mean square difference of two thumbnails, in levels of 0..255: JPEG makes less.
THUMBNAIL_LEVELS = 3.0

# The same for two pictures; beyond it, they may differ by less than they vary themselves.
PICTURE_LEVELS = 2.0

# Near duplicates that are looked for, for each image; a larger group links up all the same.
NEAREST = 8

# Images that are decoded before the next ones are read.
CHUNK = 512


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        digest: of its size and pixels.
        thumbnail: uint8 [THUMBNAIL^2 + 2 COLOUR^2]: brightness, then colour.
    """

    digest: str
    thumbnail: Pixels


def whole_samples(splits: Splits, config: TrainingConfig) -> Splits:
    """The rows as they are: each is a whole image."""
    return splits


def where(row: dict[str, Any], number: int, processor: None) -> str:
    """The file of an image, or its row where it has none.

    Args:
        row: of a split.
        number: of the row, from 0.
        processor: None.
    """
    return place(row["image"]["path"], row.get("origin"), number)


def find_similar(samples: Samples, config: TrainingConfig, console: Console) -> Similar:
    """Compare every image with all others; those that cannot be read are left out.

    Equal are images with the same pixels, whatever the format of their files. Nearly equal are
    those that differ as by another quality of JPEG or another size; mirrored or cropped ones are
    not. Images of less than about 16 pixels a side have too little in them to survive that.

    Args:
        samples: rows with `image`.
        config: how many channels an image has.
        console: for the progress.
    """
    assert config.image_size is not None
    channels = config.image_size[0]
    found = _of_images(
        samples,
        np.arange(len(samples)),
        lambda source: _fingerprint(source, channels),
        "Comparing images",
        console,
    )
    fingerprints = list(found)
    digests = [None if one is None else one.digest for one in fingerprints]
    different = first_of_each(digests)
    kept = (fingerprints[number] for number in different)
    thumbnails = np.array([one.thumbnail for one in kept if one is not None], dtype=np.uint8)
    candidates = different[near_thumbnails(thumbnails)]
    return Similar(digests, *_confirm(samples, candidates, console))


def plain_features(samples: Samples, numbers: Indices) -> csr_array | None:
    """None: pixels as they are tell little of what an image shows."""
    return None


def _of_images(
    samples: Samples,
    numbers: Indices,
    look: Callable[[bytes | str], Result],
    title: str,
    console: Console,
) -> Iterator[Result | None]:
    """What `look` sees in each of the images, in their order; None where it cannot be read."""

    def try_to(image: dict[str, Any]) -> Result | None:
        try:
            return look(image["bytes"] or image["path"])
        except (InvalidImage, FileNotFoundError):
            return None

    chunks = range(0, len(numbers), CHUNK)
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        for start in track(
            chunks, title, console=console, transient=True, disable=not console.is_terminal
        ):
            images = samples.values("image", numbers[start : start + CHUNK])
            yield from pool.map(try_to, images)


def _fingerprint(source: bytes | str, channels: int) -> Fingerprint:
    image = preprocessing.open_image(source, channels)
    digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    if channels == 4:
        image = preprocessing.open_image(source, 3)  # transparency over white, as people see it
    seen = image.convert("RGB").convert("YCbCr")
    bright = _resized(seen.getchannel("Y"), THUMBNAIL)
    colour = _resized(seen, COLOUR)[..., 1:]
    return Fingerprint(digest.hexdigest(), np.concatenate([bright.ravel(), colour.ravel()]))


def _resized(image: Image.Image, side: int) -> Pixels:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)


def near_thumbnails(thumbnails: Pixels) -> Indices:
    """Pairs of thumbnails that differ by no more than `THUMBNAIL_LEVELS`: int64 [P, 2].

    Args:
        thumbnails: [N, THUMBNAIL^2 + 2 COLOUR^2].
    """
    pairs = nearest_pairs(_block_means(thumbnails), NEAREST, THUMBNAIL_LEVELS)
    bright, colour = slice(0, THUMBNAIL**2), slice(THUMBNAIL**2, None)
    near = np.ones(len(pairs), dtype=bool)
    for part in (bright, colour):
        near &= _levels(thumbnails[:, part], pairs) <= THUMBNAIL_LEVELS
    return pairs[near]


def _block_means(thumbnails: Pixels) -> npt.NDArray[np.float32]:
    """Brightness and colour in BLOCKS x BLOCKS places: float32 [N, 3 BLOCKS^2]."""
    bright, colour = np.split(thumbnails.astype(np.float32), [THUMBNAIL**2], axis=1)
    side = THUMBNAIL // BLOCKS
    blocks = bright.reshape(-1, BLOCKS, side, BLOCKS, side).mean((2, 4)).reshape(-1, BLOCKS**2)
    return np.concatenate([blocks, colour], axis=1)


def _levels(pixels: Pixels, pairs: Indices) -> npt.NDArray[np.float32]:
    """Root mean square difference of each pair: float32 [P]."""
    levels = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), 10_000):
        part = slice(start, start + 10_000)
        first, second = (pixels[pairs[part, side]].astype(np.float32) for side in (0, 1))
        levels[part] = ((first - second) ** 2).mean(1) ** 0.5
    return levels


def _confirm(
    samples: Samples, candidates: Indices, console: Console
) -> tuple[Indices, npt.NDArray[np.float32]]:
    """The candidates that are near in a larger picture too, and how similar they are.

    Two pictures with nothing in common differ by 1.4 of their standard deviation.
    """
    if not len(candidates):
        return candidates, np.empty(0, dtype=np.float32)
    numbers = np.unique(candidates)
    seen = list(_of_images(samples, numbers, _picture, "Confirming", console))
    assert all(picture is not None for picture in seen)  # they could be read a moment ago
    pictures = np.stack([picture for picture in seen if picture is not None])
    pairs = np.searchsorted(numbers, candidates)
    levels = _levels(pictures, pairs)
    near = levels <= np.maximum(PICTURE_LEVELS, pictures.std(1)[pairs].mean(1))
    return candidates[near], (1 - levels[near] / 255).astype(np.float32)


def _picture(source: bytes | str) -> Pixels:
    return _resized(preprocessing.open_image(source, 1), PICTURE).ravel()
