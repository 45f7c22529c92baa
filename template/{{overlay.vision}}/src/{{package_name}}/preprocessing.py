"""From an image file to the numbers the network sees: the one definition.

Training, the parity check, `inference.py` and the server all call this file, and every bundle
carries a copy of it. It needs numpy and Pillow only.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Scaled decoding leaves at least so many times the sides that are asked for, so that the resize
# averages over several pixels still: then it hardly differs from that of the whole image.
SCALED_SIDES = 2
# what files begin with that may hold several: GIF, TIFF, WebP; a PNG says so among its first bytes
_SEVERAL_FRAMES = (b"GIF8", b"II*\0", b"MM\0*", b"RIFF")
_ANIMATION, _HEADER = b"acTL", 4096
# EXIF orientations that exchange width and height
_QUARTER_TURNS = range(5, 9)
# What Pillow's decoders raise on damaged or hostile files.
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    struct.error,
)


class InvalidImage(ValueError):
    """The bytes are not an image that can be read."""


class ImageTooLarge(InvalidImage):
    """More pixels than the caller allows; whoever catches it knows how to allow more."""


def read_pixels(
    source: str | Path | bytes,
    image_size: Sequence[int],
    preprocessing_config: Mapping[str, Any],
    max_pixels: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Read one image as the network's pixels, not yet normalised.

    Args:
        source: path of an image file, or its bytes.
        image_size: [C, H, W], C being 1 (grey), 3 (RGB) or 4 (RGBA).
        preprocessing_config: `resize` (stretch, crop or pad) and `interpolation`; `value_range` as
            `open_image` takes it, and `jpeg_decoding` as `least_size`, where they are there.
        max_pixels: as `opened`.

    Returns:
        uint8 array [C, H, W].

    Raises:
        InvalidImage: as `open_image`.
        FileNotFoundError: no such file.
    """
    channels, height, width = image_size
    value_range = preprocessing_config.get("value_range")
    size = height, width
    least = least_size(size, preprocessing_config)
    image = open_image(source, channels, value_range, max_pixels, least)
    return fit_pixels(image, size, preprocessing_config)


def least_size(
    size: tuple[int, int], preprocessing_config: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Height and width that a decoded image needs to be resized to `size`; None for all it has.

    That is for `jpeg_decoding: scaled`; without it, or with `full`, images are decoded whole.
    """
    if preprocessing_config.get("jpeg_decoding", "full") == "full":
        return None
    height, width = size
    return SCALED_SIDES * height, SCALED_SIDES * width


def open_image(
    source: str | Path | bytes,
    channels: int,
    value_range: Sequence[float] | None = None,
    max_pixels: int | None = None,
    least: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode an image: upright, 8 bits, in the mode for `channels`; transparency over white.

    Args:
        source: path of an image file, or its bytes.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        value_range: the values [low, high] that become black and white in images of more than 8
            bits; those beyond are cut off. Without it, 16 bits keep their upper byte.
        max_pixels: as `opened`.
        least: height and width that suffice: of a larger JPEG, half, a quarter or an eighth of the
            sides is decoded, where both can be divided so. Without it, all of them.

    Raises:
        InvalidImage: as `opened`; floating-point pixels that are not finite, or have no
            `value_range`.
        FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as image:
        if least is not None:
            is_turned = _orientation(image) in _QUARTER_TURNS
            _scale_decoding(image, *(reversed(least) if is_turned else least))
        return to_mode(image, channels, value_range)


def _scale_decoding(image: Image.Image, height: int, width: int) -> None:
    """Let a JPEG be decoded at the smallest scale that leaves these sides; others stay whole.

    Both sides must be multiples of the divisor: a last pixel that stands for a part of one would
    shift the others, by up to half of one after the resize.
    """
    for divisor in (8, 4, 2):
        scaled, rests = zip(*(divmod(side, divisor) for side in image.size), strict=True)
        if not any(rests) and scaled[0] >= width and scaled[1] >= height:
            image.draft(None, scaled)
            return


@contextmanager
def opened(source: str | Path | bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """An image of which only the header was read; decoding it inside raises InvalidImage as well.

    Args:
        source: path of an image file, or its bytes.
        max_pixels: refuse larger images: a small file can claim to be far larger than the memory.
            Pillow's own limit holds by default.

    Raises:
        ImageTooLarge: more pixels than allowed.
        InvalidImage: damaged, empty, or no image.
        FileNotFoundError: no such file.
    """
    _refuse_empty(source)
    if max_pixels is not None and Image.MAX_IMAGE_PIXELS is not None:
        # above it Pillow warns, and above twice of it raises
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise ImageTooLarge(
                    f"{image.width}x{image.height} pixels; the limit is {max_pixels:,}"
                )
            yield image
    except InvalidImage:
        raise
    except Image.DecompressionBombError as error:
        limit = max_pixels or 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageTooLarge(f"more pixels than the limit of {limit:,}") from error
    except UnidentifiedImageError as error:
        raise InvalidImage("not an image of a known format") from error
    except _DECODE_ERRORS as error:
        raise InvalidImage(f"damaged image ({error})") from error


def count_frames(content: bytes) -> int:
    """How many frames or pages an image file has, of which reading takes the first."""
    if not content.startswith(_SEVERAL_FRAMES) and _ANIMATION not in content[:_HEADER]:
        return 1
    try:
        with opened(content) as image:
            return int(getattr(image, "n_frames", 1))
    except InvalidImage:  # what follows the first is damaged
        return 1


def _refuse_empty(source: str | Path | bytes) -> None:
    if isinstance(source, bytes):
        empty = not source
    elif (path := Path(source)).exists():
        empty = path.is_file() and path.stat().st_size == 0
    else:
        raise FileNotFoundError(f"{path} does not exist")
    if empty:
        raise InvalidImage("the file is empty")


def fit_pixels(
    image: Image.Image, size: tuple[int, int], preprocessing_config: Mapping[str, Any]
) -> npt.NDArray[np.uint8]:
    """Resize to `size` (height, width) as configured; uint8 array [C, H, W]."""
    height, width = size
    method = _RESAMPLING[preprocessing_config.get("interpolation", "bilinear")]
    resize = preprocessing_config.get("resize", "crop")
    if image.size != (width, height):  # Pillow counts (width, height)
        if resize == "stretch":
            image = image.resize((width, height), method)
        elif resize == "crop":
            image = ImageOps.fit(image, (width, height), method)
        elif resize == "pad":
            image = _at_least_a_pixel(image, (width, height), method)
            image = ImageOps.pad(image, (width, height), method)
        else:
            raise ValueError(f"resize is {resize!r}; give stretch, crop or pad")
    return to_channels_first(image)


def _at_least_a_pixel(
    image: Image.Image, size: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """A line instead of nothing, to which Pillow would shrink a long thin image, or raise."""
    width, height = size
    if round(image.height / image.width * width) == 0:  # as ImageOps.contain rounds
        return image.resize((width, 1), method)
    if round(image.width / image.height * height) == 0:
        return image.resize((1, height), method)
    return image


def to_channels_first(image: Image.Image) -> npt.NDArray[np.uint8]:
    """uint8 array [C, H, W] of an 8-bit image."""
    pixels = np.asarray(image, dtype=np.uint8)
    pixels = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    return np.array(pixels.transpose(2, 0, 1), order="C")


def scale_and_bias(
    channels: int, preprocessing_config: Mapping[str, Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Normalisation as one multiply and one add per pixel value: `pixels * scale + bias`.

    Equal to `(pixels / 255 - mean) / std`, or to `pixels / 255` with `normalize: false`.

    Returns:
        two float32 arrays [C, 1, 1].

    Raises:
        ValueError: mean and std do not have one value per channel.
    """
    mean, std = np.zeros(channels), np.ones(channels)
    if preprocessing_config.get("normalize", True):
        mean = np.asarray(preprocessing_config["mean"], dtype=np.float64)
        std = np.asarray(preprocessing_config["std"], dtype=np.float64)
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"mean has {len(mean)} and std has {len(std)} values for {channels} channels"
        )
    scale, bias = 1 / (255 * std), -mean / std
    shape = (channels, 1, 1)
    return scale.astype(np.float32).reshape(shape), bias.astype(np.float32).reshape(shape)


def normalize(
    pixels: npt.NDArray[np.uint8], preprocessing_config: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    """Normalise uint8 pixels [..., C, H, W] to float32 of the same shape."""
    scale, bias = scale_and_bias(pixels.shape[-3], preprocessing_config)
    normalized = pixels.astype(np.float32)
    normalized *= scale
    normalized += bias
    return normalized


def to_mode(
    image: Image.Image, channels: int, value_range: Sequence[float] | None = None
) -> Image.Image:
    """An opened image upright, with 8 bits, in the mode for `channels`; as `open_image`."""
    image.load()
    if _orientation(image) != 1:  # else Pillow would copy it, and again in convert
        image = ImageOps.exif_transpose(image)
    image = _eight_bits(image, value_range)
    if channels != 4 and image.has_transparency_data:
        # convert("RGB") would uncover whatever colour lies under the transparent pixels
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    mode = _MODES[channels]
    return image if image.mode == mode else image.convert(mode)


def _orientation(image: Image.Image) -> int:
    """EXIF's: 1 is upright."""
    orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation


def deep_values(image: Image.Image) -> npt.NDArray[Any] | None:
    """Values of an image of more than 8 bits, [H, W], integers or floats; None for 8 bits.

    Raises:
        InvalidImage: NaN or infinity among them.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    values = np.asarray(image)
    if image.mode == "F" and not np.isfinite(values).all():
        raise InvalidImage("NaN or infinity among its pixels; replace them with finite values")
    return values


def _eight_bits(image: Image.Image, value_range: Sequence[float] | None) -> Image.Image:
    """Pillow's own convert() would clip more than 8 bits at 255 instead."""
    values = deep_values(image)
    if values is None:
        return image
    if value_range is not None:
        low, high = value_range
        scaled = values.astype(np.float64)
        scaled -= low
        scaled *= 255 / (high - low)
        return Image.fromarray(scaled.clip(0, 255, out=scaled).round(out=scaled).astype(np.uint8))
    if image.mode == "F":
        raise InvalidImage(
            "floating-point pixels, and no value_range to scale them by; save 8 bits, or train "
            "with --value_range LOW,HIGH"
        )
    _warn_of_lost_levels(values)
    return Image.fromarray((values.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))


def _warn_of_lost_levels(values: npt.NDArray[Any]) -> None:
    """Without a value_range 0..65,535 becomes black to white, whatever part of it is used."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        loses = "those beyond 0 and 65,535 are cut off"
    elif high < 32768:
        loses = "it is read as dark, black to white being 0 to 65,535"
    else:
        return
    warnings.warn(
        f"the values of this image lie from {low} to {high}: {loses}; a model trained with "
        "--value_range LOW,HIGH scales them by that",
        stacklevel=2,
    )
