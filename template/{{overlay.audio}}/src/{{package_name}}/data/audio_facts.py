"""What sounds are like: every one is heard before training, and what matters about it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import soundfile

from ..config import TrainingConfig
from ..preprocessing import AudioTooLong, InvalidAudio, Preprocessing, opened
from .account import shown
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

# raised when `examine` comes to other facts of the same sounds
VERSION = 1

# of full scale: what never exceeds it is silent (-80 dB), and what reaches it may be clipped
SILENCE, FULL_SCALE = 1e-4, 0.999
# share of the samples at full scale from which a sound counts as clipped
CLIPPED_SHARE = 1e-3

# silent sounds that are named
NAMED = 3

# classes that are told apart by how they were recorded: from this association on, and so many
# samples, people should know
ASSOCIATION, ENOUGH_TO_ASSOCIATE = 0.5, 20


# --- Hearing every sound -------------------------------------------------------------------------


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """Decode every sound, on all cores.

    Args:
        rows: a table with `audio` (path or bytes) and `labels`, and perhaps `origin`, where a row
            was read.
        config: `max_seconds` of the longest sound to hear, and how sounds become inputs.

    Returns:
        a line for each sound that cannot be used, and as facts: `sounds`, how many there are;
        `formats` in libsndfile's words, `sample_rates` in Hz and `channels`, with their counts;
        `seconds` as `min`, `median`, `max`, and `total_seconds`; how many are `longer` than the
        network's input by more than half of it, and `shorter` than half of it; how many have a
        `lower_rate` than they are resampled to; how many are `clipped`; how many are `silent`, and
        which ones; and under `tells_classes`, how closely formats, sample rates or channels go with
        the classes, where that is worth saying. The digest is of the sounds' files, and of the
        labels.
    """
    tally, problems = _Tally(config.preprocessing), []
    preprocessing, limit = config.preprocessing, config.max_seconds
    found = looks(rows, "audio", lambda row: _look(row, preprocessing, limit), "sounds")
    for index, look in enumerate(found):
        if isinstance(look, _Look):
            tally.add(look, rows[index], index)
        else:
            problems.append(explain(rows[index], index, look))
    classes = _classes(rows) if not problems else None
    return Examination(problems, tally.facts(classes), digest_of(rows, ("labels",), *tally.digests))


def _classes(rows: datasets.Dataset) -> Sequence[int] | None:
    labels = rows["labels"][:] if "labels" in rows.column_names else []
    return labels if labels and isinstance(labels[0], int) else None


def explain(row: Row, index: int, error: InvalidAudio | FileNotFoundError) -> str:
    """One line: where a sound is, what is wrong with it, and what helps.

    Args:
        row: of the table; `origin` is where it was read, if that is known.
        index: of the row, for sounds that have no path.
        error: what reading it raised.
    """
    remedy = "; --max_seconds allows more" if isinstance(error, AudioTooLong) else ""
    return f"{located(row, 'audio', index, error)}{remedy}"


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> str:
    """Digest of the sounds that `rows` name and of all else that `examine` hangs on."""
    versions = f"{VERSION}\0{soundfile.__libsndfile_version__}"
    own = f"{config.max_seconds}\0{config.duration}\0{config.sample_rate}"
    labels = digest_of(rows, ("labels",))
    return files_fingerprint(rows, "audio", f"{versions}\0{own}\0{labels}")


@dataclass(frozen=True)
class _Look:
    """What one sound is like.

    Attributes:
        format: in libsndfile's words.
        sample_rate: in Hz, as stored.
        channels: as stored.
        seconds: how long it is.
        peak: the largest sample of the mean of its channels, 1 being full scale.
        full_share: the share of samples at full scale.
        digest: of its file.
    """

    format: str
    sample_rate: int
    channels: int
    seconds: float
    peak: float
    full_share: float
    digest: str


def _look(
    row: Row, preprocessing: Preprocessing, max_seconds: float
) -> _Look | InvalidAudio | FileNotFoundError:
    """Hear a sound as it is stored; gives the error that this raised."""
    source = source_of(row["audio"])
    count = full = 0
    peak = 0.0
    try:
        with opened(source, max_seconds) as file:
            form, rate, channels = file.format, file.samplerate, file.channels
        for block in replace(preprocessing, sample_rate=rate).blocks(source, max_seconds):
            level = np.abs(block)
            count += len(block)
            full += int((level >= FULL_SCALE).sum())
            peak = max(peak, float(level.max(initial=0)))
        if count * preprocessing.sample_rate < 2 * rate:  # resampling may leave nothing
            preprocessing.read(source, max_seconds)
        return _Look(form, rate, channels, count / rate, peak, full / count, content_digest(source))
    except (InvalidAudio, FileNotFoundError) as error:
        return error


# --- Counting ------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """Adds up looks at sounds."""

    preprocessing: Preprocessing
    looks: list[_Look] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @property
    def digests(self) -> list[str]:
        return [look.digest for look in self.looks]

    def add(self, look: _Look, row: Row, index: int) -> None:
        self.looks.append(look)
        if look.peak < SILENCE:
            self.silent.append(row["audio"]["path"] or row.get("origin") or f"audio {index + 1}")

    def facts(self, classes: Sequence[int] | None) -> dict[str, Any]:
        """As `examine` lists them."""
        duration, rate = self.preprocessing.duration, self.preprocessing.sample_rate
        seconds = [look.seconds for look in self.looks]
        traits = {
            "formats": [look.format for look in self.looks],
            "sample_rates": [str(look.sample_rate) for look in self.looks],
            "channels": [str(look.channels) for look in self.looks],
        }
        counts = {name: dict(Counter(values).most_common()) for name, values in traits.items()}
        return {
            "sounds": len(self.looks),
            **counts,
            "seconds": _rounded(spread(seconds)),
            "total_seconds": round(sum(seconds), 1),
            "longer": sum(one > 1.5 * duration for one in seconds),
            "shorter": sum(one < duration / 2 for one in seconds),
            "lower_rate": sum(look.sample_rate < rate for look in self.looks),
            "clipped": sum(look.full_share > CLIPPED_SHARE for look in self.looks),
            "silent": _named(self.silent),
            "tells_classes": None if classes is None else _telling(traits, classes),
        }


def _rounded(values: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if values is None else {name: round(value, 3) for name, value in values.items()}


def _named(places: Sequence[str]) -> dict[str, Any] | None:
    return {"count": len(places), "first": list(places[:NAMED])} if places else None


def _telling(
    traits: Mapping[str, Sequence[str]], classes: Sequence[int]
) -> dict[str, float] | None:
    """Traits by which classes are told apart, and how closely."""
    if len(classes) < ENOUGH_TO_ASSOCIATE:
        return None
    found = {name: round(association(values, classes), 2) for name, values in traits.items()}
    return {name: value for name, value in found.items() if value >= ASSOCIATION} or None


def association(values: Sequence[Any], classes: Sequence[int]) -> float:
    """How closely values go with classes: Cramer's V without its bias, from 0 to 1.

    W. Bergsma, "A bias-correction for Cramer's V and Tschuprow's T", 2013.

    Args:
        values: of each sample.
        classes: of each sample.
    """
    _, rows = np.unique(np.asarray(values), return_inverse=True)
    _, columns = np.unique(np.asarray(classes), return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1)
    if min(counts.shape) < 2:
        return 0.0
    total = counts.sum()
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / total
    square = ((counts - expected) ** 2 / expected).sum() / total
    height, width = counts.shape
    square = max(0.0, square - (height - 1) * (width - 1) / (total - 1))
    least = min(size - (size - 1) ** 2 / (total - 1) for size in (height, width)) - 1
    return float(min(1.0, np.sqrt(square / least))) if least > 0 else 0.0


# --- What the facts mean -------------------------------------------------------------------------

# how facts are called in a sentence
TRAITS = {"formats": "formats", "sample_rates": "sample rates", "channels": "numbers of channels"}


def review(facts: Mapping[str, Facts], config: TrainingConfig) -> list[str]:
    """What people should know before they train on sounds like these, one line each.

    Args:
        facts: of each split, by its name, as `examine` lists them.
        config: what they become.
    """
    lines = [*_lengths(facts, config), *_rates(facts, config)]
    clipped, total = _sum(facts, "clipped"), _sum(facts, "sounds")
    if clipped:
        lines.append(
            f"{clipped:,} of {total:,} sounds reach full scale in more than {CLIPPED_SHARE:.1%} of "
            "their samples: they were probably clipped when they were recorded"
        )
    for name, split in facts.items():
        if (silent := split["silent"]) is not None:
            lines.append(
                f"{name}: {silent['count']:,} sounds are silent once their channels are "
                f"averaged, such as {shown(silent['first'])}; take them out, record them again, or "
                "keep one channel of those whose channels cancel each other out"
            )
    for trait, value in (facts["train"]["tells_classes"] or {}).items():
        lines.append(
            f"{TRAITS[trait]} go with the classes ({value:.2f} of 1, Cramer's V): a network may "
            "learn how sounds were recorded, rather than what is heard; record all classes alike"
        )
    return lines


def _sum(facts: Mapping[str, Facts], name: str) -> int:
    return sum(split[name] for split in facts.values())


def _lengths(facts: Mapping[str, Facts], config: TrainingConfig) -> list[str]:
    lines, total = [], _sum(facts, "sounds")
    longest = max(
        (split["seconds"]["max"] for split in facts.values() if split["seconds"]), default=0
    )
    if longer := _sum(facts, "longer"):
        part = "the middle" if config.augment == "none" else "a part, drawn anew in every epoch,"
        lines.append(
            f"{longer:,} of {total:,} sounds are much longer than duration, {config.duration:g} "
            f"seconds (up to {longest:g}): training hears {part} of each, validation the middle; "
            "--duration SECONDS hears more"
        )
    if (shorter := _sum(facts, "shorter")) > total / 2:
        lines.append(
            f"{shorter:,} of {total:,} sounds are shorter than half of duration, "
            f"{config.duration:g} seconds, and padded ({config.padding}); a smaller --duration "
            "wastes less"
        )
    return lines


def _rates(facts: Mapping[str, Facts], config: TrainingConfig) -> list[str]:
    lines, total = [], _sum(facts, "sounds")
    rate = config.preprocessing.sample_rate
    rates = {name: {int(one) for one in split["sample_rates"]} for name, split in facts.items()}
    if lower := _sum(facts, "lower_rate"):
        lowest = min(one for split in rates.values() for one in split)
        lines.append(
            f"{lower:,} of {total:,} sounds have fewer samples per second than sample_rate, "
            f"{rate:,} (down to {lowest:,}): nothing above {lowest // 2:,} Hz is in them; "
            f"--sample_rate {lowest} treats all alike"
        )
    for name, own in rates.items():
        unknown = sorted(one for one in own - rates["train"] if one < rate)
        if unknown:
            lines.append(
                f"{name} has sounds of {', '.join(map(str, unknown))} Hz, and train has none: what "
                "is measured there may not hold here"
            )
    return lines
