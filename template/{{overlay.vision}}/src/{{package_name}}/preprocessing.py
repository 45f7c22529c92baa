"""From an image file to the numbers the network sees: the one definition.

Training, the parity check, `inference.py` and the server all call this file, and every bundle
carries a copy of it. It needs numpy and Pillow only.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# More than any camera writes; a small file can claim to be far larger and exhaust the memory.
MAX_PIXELS = 100_000_000

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
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
    Image.DecompressionBombError,
)


class InvalidImage(ValueError):
    """The bytes are not an image that can be read."""


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
        preprocessing_config: `resize` (stretch, crop or pad) and `interpolation`.
        max_pixels: refuse larger images; MAX_PIXELS by default.

    Returns:
        uint8 array [C, H, W].

    Raises:
        InvalidImage: damaged, empty, too large, or of a kind that has no defined brightness range.
        FileNotFoundError: no such file.
    """
    channels, height, width = image_size
    image = open_image(source, channels, max_pixels)
    return fit_pixels(image, (height, width), preprocessing_config)


def open_image(
    source: str | Path | bytes, channels: int, max_pixels: int | None = None
) -> Image.Image:
    """Decode an image: upright, 8 bits, in the mode for `channels`; transparency over white.

    Raises:
        InvalidImage: as `read_pixels`.
        FileNotFoundError: no such file.
    """
    if isinstance(source, bytes) and not source:
        raise InvalidImage("the file is empty")
    if not isinstance(source, bytes):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if path.is_file() and path.stat().st_size == 0:
            raise InvalidImage("the file is empty")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.width * image.height > (limit := max_pixels or MAX_PIXELS):
                raise InvalidImage(f"{image.width}x{image.height} pixels; the limit is {limit:,}")
            image.load()
            return _convert(ImageOps.exif_transpose(image), channels)
    except InvalidImage:
        raise
    except UnidentifiedImageError as error:
        raise InvalidImage("not an image of a known format") from error
    except _DECODE_ERRORS as error:
        raise InvalidImage(f"damaged image ({error})") from error


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
            image = ImageOps.pad(image, (width, height), method)
        else:
            raise ValueError(f"resize is {resize!r}; give stretch, crop or pad")
    return to_channels_first(image)


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


def _convert(image: Image.Image, channels: int) -> Image.Image:
    image = _eight_bits(image)
    if channels != 4 and image.has_transparency_data:
        # convert("RGB") would uncover whatever colour lies under the transparent pixels
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(_MODES[channels])


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey keeps its upper byte; Pillow's convert() would clip it at 255 instead."""
    if image.mode == "F":
        raise InvalidImage("floating-point pixels have no defined range; save 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))
    return image
