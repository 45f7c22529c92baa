"""What this modality adds to the configuration: how a sound reaches the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

if TYPE_CHECKING:
    from .preprocessing import Preprocessing

Task = Literal["audio_classification", "audio_multilabel", "audio_regression"]


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only an audio project has."""

    RECORDED: ClassVar[Mapping[str, Any]] = {
        "sample_rate": 16_000,
        "features": "log_mel",
        "window_ms": 25.0,
        "hop_ms": 10.0,
        "n_mels": 64,
        "mel_scale": "slaney",
        "fmin": 20.0,
        "fmax": None,
        "normalization": "sample",
    }

    SIZE_SETTING: ClassVar[str] = "duration"
    CHANNELS_SETTING: ClassVar[str] = "channels: {}"

    sample_rate: Annotated[Annotated[int, Field(ge=1000, le=384_000)] | None, Kept] = None
    """Hz to which sounds are resampled; null for the record's, or 16000.

    A sound holds nothing above half of it.
    """

    duration: Annotated[float, Field(gt=0, le=600), Kept] = 1.0
    """Seconds of sound that the network gets at a time.

    Longer sounds are cropped, at random where there is an `augment`, else to their middle; bundles
    hear all of them, window by window.
    """

    padding: Annotated[Literal["end", "center", "repeat"], Kept] = "end"
    """What shorter sounds get: silence at the end or on both sides, or themselves once more."""

    loudness: Annotated[Annotated[float, Field(ge=-80, le=0)] | None, Kept] = None
    """dB of full scale to which the root mean square of a window is brought; null leaves it."""

    features: Annotated[Literal["log_mel", "waveform"] | None, Kept] = None
    """What the network gets: log_mel (a spectrogram), or waveform; null: the record's, or log_mel.

    waveform is for encoders of raw sound, such as those of transformers.
    """

    window_ms: Annotated[Annotated[float, Field(gt=0)] | None, Kept] = None
    """Milliseconds of sound in one column of the spectrogram; null for the record's, or 25."""

    hop_ms: Annotated[Annotated[float, Field(gt=0)] | None, Kept] = None
    """Milliseconds from one column to the next; null for the record's, or 10."""

    n_mels: Annotated[Annotated[int, Field(ge=1)] | None, Kept] = None
    """Rows of the spectrogram, bands of the mel scale; null for the record's, or 64."""

    mel_scale: Annotated[Literal["slaney", "htk"] | None, Kept] = None
    """How the mel scale is defined, slaney or htk; null for the record's, or slaney."""

    fmin: Annotated[Annotated[float, Field(ge=0)] | None, Kept] = None
    """Hz where the lowest band begins; null for the record's, or 20."""

    fmax: Annotated[Annotated[float, Field(gt=0)] | None, Kept] = None
    """Hz where the highest band ends; null for the record's, or half of sample_rate."""

    channels: Annotated[Literal[1, 3], Kept] = 1
    """How often the network gets the spectrogram: 3 for networks of pictures in colour."""

    normalization: Annotated[Literal["sample", "none"] | None, Kept] = None
    """sample: each input has mean 0 and variance 1; none; null for the record's, or sample."""

    window_overlap: Annotated[float, Field(ge=0, lt=1), Kept] = 0.0
    """Share of a window that the next one has as well, where bundles hear long sounds."""

    max_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Longest sound, in seconds: a small file can be far longer than the memory holds."""

    augment: Literal["none", "light", "strong"] = "light"
    """Random changes to training sounds: light (shift, gain, noise) or strong (masks as well).

    Both crop longer sounds at random; none hears their middle, as validation does.
    """

    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of MixUp, which blends training sounds of a micro-batch and their classes; 0: never."""

    audio_column: Annotated[str | None, Kept] = None
    """Column of a table that names or holds the sound; null for one by a usual name."""

    group_column: Annotated[str | None, Kept] = None
    """Column of what samples share that belong together, such as a speaker; null: a usual name.

    Where validation samples are set aside, they share no group with those to train on.
    """

    target_columns: Annotated[list[str], Kept] = field(default_factory=list)
    """Columns to predict: numbers, or labels as zeros and ones; empty for all that are left."""

    label_separator: Annotated[str | None, Kept] = None
    """Between several labels in one text of a table; null to recognise it."""

    @field_validator("target_columns", mode="before")
    @classmethod
    def _columns_with_commas(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @property
    def preprocessing(self) -> Preprocessing:
        """How these settings make the network's input of a sound; all of them are settled."""
        # imported late: whoever asks for help need not wait for numpy and a decoder
        from .preprocessing import Preprocessing

        return Preprocessing(**{one.name: vars(self)[one.name] for one in fields(Preprocessing)})

    def input_problems(self) -> list[str]:
        """Contradictions between the fields above, one line each."""
        defaults = vars(InputConfig())
        if all(vars(self)[n] in (value, self.RECORDED.get(n)) for n, value in defaults.items()):
            return []  # these go together: nobody has to wait for numpy to tell that
        open_fields = [
            name
            for name, value in self.RECORDED.items()
            if value is not None and vars(self)[name] is None
        ]
        return [] if open_fields else self.preprocessing.problems()
