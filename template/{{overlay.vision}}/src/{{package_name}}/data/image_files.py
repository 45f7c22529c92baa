"""Which files are images by their names, and which of them cannot be read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

from .folders import FileKind

# Formats that Pillow knows by their first bytes without being able to decode them everywhere.
_STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}

_RAW = "raw data of a camera"
_VECTORS = "vector graphics"
# What people call images and Pillow does not read, or only some of its builds.
_KNOWN = {
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".avif": "AVIF",
    ".webp": "WebP",
    ".jp2": "JPEG 2000",
    ".jxl": "JPEG XL",
    ".jxr": "JPEG XR",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".nii": "NIfTI",
    ".nrrd": "NRRD",
    ".czi": "Zeiss CZI",
    ".lif": "Leica LIF",
    ".nd2": "Nikon ND2",
    ".svs": "whole slides of Aperio",
    ".ndpi": "whole slides of Hamamatsu",
    ".xcf": "files of GIMP",
    ".ai": _VECTORS,
    ".emf": _VECTORS,
    ".svg": _VECTORS,
    ".svgz": _VECTORS,
    ".wmf": _VECTORS,
    ".3fr": _RAW,
    ".arw": _RAW,
    ".cr2": _RAW,
    ".cr3": _RAW,
    ".crw": _RAW,
    ".dng": _RAW,
    ".nef": _RAW,
    ".nrw": _RAW,
    ".orf": _RAW,
    ".pef": _RAW,
    ".raf": _RAW,
    ".rw2": _RAW,
    ".srw": _RAW,
}


@cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes of the files that this machine's Pillow decodes, in lower case, with the dot."""
    formats = Image.registered_extensions()  # loads every format there is; some can only be written
    return frozenset(
        suffix for suffix, name in formats.items() if name in Image.OPEN and name not in _STUBS
    )


def unreadable_suffix(path: str | Path) -> str | None:
    """Why a file that is an image by its name cannot be read, and what to do, in one line.

    Returns:
        None for what can be read, and for what is no image by its name.
    """
    return unreadable_suffixes().get(Path(path).suffix.lower())


@cache
def unreadable_suffixes() -> dict[str, str]:
    """For each suffix of images that this machine's Pillow does not read, what to do."""
    return {
        suffix: f"{suffix}: Pillow reads no {name} here; convert the files to PNG or TIFF"
        for suffix, name in _KNOWN.items()
        if suffix not in readable_suffixes()
    }


IMAGES = FileKind("images", readable_suffixes(), unreadable_suffix)
