"""Which files are sounds by their names, and which of them cannot be read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import soundfile

from .folders import FileKind

# suffixes of the formats of libsndfile that people keep sounds in
_FORMATS = {
    "AIFF": (".aif", ".aifc", ".aiff"),
    "AU": (".au", ".snd"),
    "CAF": (".caf",),
    "FLAC": (".flac",),
    "MP3": (".mp3",),
    "NIST": (".nist", ".sph"),
    "OGG": (".oga", ".ogg"),
    "RF64": (".rf64",),
    "VOC": (".voc",),
    "W64": (".w64",),
    "WAV": (".wav", ".wave"),
}

_VIDEO = "the sound of a video"
# What people call sounds and libsndfile does not read, or only some of its builds.
_KNOWN = {
    ".aac": "AAC",
    ".ac3": "Dolby Digital",
    ".amr": "AMR",
    ".ape": "Monkey's Audio",
    ".awb": "AMR",
    ".dff": "DSD",
    ".dsf": "DSD",
    ".dts": "DTS",
    ".m4a": "AAC or ALAC",
    ".m4b": "AAC",
    ".mka": "Matroska",
    ".mpc": "Musepack",
    ".ra": "RealAudio",
    ".shn": "Shorten",
    ".spx": "Speex",
    ".tta": "True Audio",
    ".wma": "Windows Media Audio",
    ".wv": "WavPack",
    ".3gp": _VIDEO,
    ".avi": _VIDEO,
    ".flv": _VIDEO,
    ".m4v": _VIDEO,
    ".mkv": _VIDEO,
    ".mov": _VIDEO,
    ".mp4": _VIDEO,
    ".mpeg": _VIDEO,
    ".mpg": _VIDEO,
    ".webm": _VIDEO,
    ".wmv": _VIDEO,
}
# what is no recording, and what does not say how it was recorded
_OTHERS = {
    ".mid": "notes, and no recording; play them into a WAV file",
    ".midi": "notes, and no recording; play them into a WAV file",
    ".pcm": "samples without a header; write them as WAV, with their sample rate",
    ".raw": "samples without a header; write them as WAV, with their sample rate",
}


@cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes of the files that this machine's libsndfile decodes, in lower case, with the dot."""
    known = soundfile.available_formats()
    found = {suffix for name in _FORMATS.keys() & known.keys() for suffix in _FORMATS[name]}
    if "OGG" in known and "OPUS" in soundfile.available_subtypes("OGG"):
        found.add(".opus")
    return frozenset(found)


def unreadable_suffix(path: str | Path) -> str | None:
    """Why a file that is a sound by its name cannot be read, and what to do, in one line.

    Returns:
        None for what can be read, and for what is no sound by its name.
    """
    return unreadable_suffixes().get(Path(path).suffix.lower())


@cache
def unreadable_suffixes() -> dict[str, str]:
    """For each suffix of sounds that this machine's libsndfile does not read, what to do."""
    old = {suffix: name for name, suffixes in _FORMATS.items() for suffix in suffixes}
    names = old | {".opus": "Opus"} | _KNOWN
    refused = {
        suffix: f"libsndfile reads no {name} here; convert the files to WAV or FLAC"
        if name != _VIDEO
        else "a video; write its sound to WAV or FLAC files"
        for suffix, name in names.items()
    }
    return {
        suffix: f"{suffix}: {reason}"
        for suffix, reason in (refused | _OTHERS).items()
        if suffix not in readable_suffixes()
    }


SOUNDS = FileKind("sounds", readable_suffixes(), unreadable_suffix)
