"""From a sound file to the numbers the network sees: the one definition.

Training, the parity check, `inference.py` and the server all call this file, and every bundle
carries a copy of it. It needs numpy, soundfile and soxr only.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

# samples of all channels that are decoded at a time
BLOCK = 1 << 18
# Hz, of files; a header may claim anything
SAMPLE_RATES = (100, 1_000_000)
# least power of a band: -100 dB
LEAST_POWER = 1e-10
# dB below the loudest of a window, beyond which nothing is told apart
DYNAMIC_RANGE = 80.0
# dB by which loudness is raised at most: what is silent stays so
MOST_GAIN = 60.0
# added to a variance before its root, as encoders of raw sound do
VARIANCE_FLOOR = 1e-7
# formats of which the header only estimates how long they are
ESTIMATED = ("MP3",)

# byte order of the size of a file behind its first four bytes: WAV, AIFF
_SIZES: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
# bytes; programs that write to a pipe claim so many or more
UNKNOWN_SIZE = 0x7FFF_0000

Waveform = npt.NDArray[np.float32]


class InvalidAudio(ValueError):
    """The bytes are not a sound that can be read."""


class AudioTooLong(InvalidAudio):
    """More seconds than the caller allows; whoever catches it knows how to allow more."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a sound becomes the input of the network.

    Attributes:
        sample_rate: Hz to which sounds are resampled.
        duration: seconds of a window, which is one input of the network.
        padding: what a sound that is shorter gets: silence at its end (`end`), or on both sides
            (`center`), or itself once more (`repeat`).
        loudness: dB to which the root of a window's mean square is brought, 0 being full scale;
            None leaves it. By at most MOST_GAIN.
        features: what the network gets: `log_mel`, or the `waveform` itself.
        window_ms, hop_ms: milliseconds of sound in one frame, and between the beginnings of two.
        n_mels: bands.
        mel_scale: `slaney` (linear below 1 kHz) or `htk`.
        fmin, fmax: Hz between which the bands lie; `fmax` None for half the sample rate.
        channels: C, how often the network gets the spectrogram: networks of pictures want three.
        normalization: `sample` brings each input to mean 0 and variance 1; `none` leaves dB, or the
            waveform.
        window_overlap: share of a window that the next one of a long sound has as well, from 0 to
            less than 1.
    """

    sample_rate: int = 16_000
    duration: float = 1.0
    padding: Literal["end", "center", "repeat"] = "end"
    loudness: float | None = None
    features: Literal["log_mel", "waveform"] = "log_mel"
    window_ms: float = 25.0
    hop_ms: float = 10.0
    n_mels: int = 64
    mel_scale: Literal["slaney", "htk"] = "slaney"
    fmin: float = 20.0
    fmax: float | None = None
    channels: int = 1
    normalization: Literal["sample", "none"] = "sample"
    window_overlap: float = 0.0

    @classmethod
    def from_config(cls, preprocessing_config: Mapping[str, Any]) -> Preprocessing:
        """Of `TaskSpec.preprocessing_config`, whose keys are the attributes."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: preprocessing_config[name] for name in names & {*preprocessing_config}})

    # --- sizes -----------------------------------------------------------------------------------

    @property
    def num_samples(self) -> int:
        """T, samples in a window."""
        return max(1, round(self.duration * self.sample_rate))

    @property
    def stride(self) -> int:
        """Samples between the beginnings of two windows of a long sound."""
        return max(1, round(self.num_samples * (1 - self.window_overlap)))

    @property
    def frame_length(self) -> int:
        """Samples of sound in one frame."""
        return round(self.window_ms * self.sample_rate / 1000)

    @property
    def hop_length(self) -> int:
        """Samples between the beginnings of two frames."""
        return round(self.hop_ms * self.sample_rate / 1000)

    @property
    def fft_length(self) -> int:
        """Samples of a Fourier transform: the next power of two."""
        return 1 << max(0, self.frame_length - 1).bit_length()

    @property
    def num_frames(self) -> int:
        """Frames of a window: one at each multiple of the hop, its beginning and end included."""
        return 1 + self.num_samples // self.hop_length

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: [C, n_mels, frames], or [T] of a waveform."""
        if self.features == "waveform":
            return (self.num_samples,)
        return (self.channels, self.n_mels, self.num_frames)

    def problems(self) -> list[str]:
        """What cannot be, one line each; they name the attribute first."""
        found: list[str] = []
        nyquist = self.sample_rate / 2
        if self.features == "waveform":
            return found
        if self.hop_length < 1:
            found.append(f"hop_ms: {self.hop_ms:g} is less than a sample; give more")
        if self.frame_length < 2:
            found.append(f"window_ms: {self.window_ms:g} holds no two samples; give more")
        elif self.frame_length > self.num_samples:
            found.append(
                f"window_ms: {self.window_ms:g} is longer than duration, {self.duration:g} seconds"
            )
        top = self.fmax if self.fmax is not None else nyquist
        if top > nyquist:
            found.append(
                f"fmax: {top:g} Hz, and sounds of {self.sample_rate} Hz hold nothing beyond "
                f"{nyquist:g}; give that or less, or null"
            )
        elif self.fmin >= top:
            found.append(f"fmin: {self.fmin:g} Hz is not below fmax, {top:g} Hz")
        if not found:
            empty = int((~self._filters().any(axis=1)).sum())
            if empty:
                found.append(
                    f"n_mels: {empty} of {self.n_mels} bands are narrower than what window_ms "
                    f"{self.window_ms:g} tells apart, and empty; give fewer, or a longer window"
                )
        return found

    # --- from the file to windows ----------------------------------------------------------------

    def read(self, source: str | Path | bytes, max_seconds: float | None = None) -> Waveform:
        """A whole sound file as float32 [N], mono, at `sample_rate`.

        Raises:
            InvalidAudio: as `blocks`.
            FileNotFoundError: no such file.
        """
        return np.concatenate(list(self.blocks(source, max_seconds)))

    def blocks(
        self, source: str | Path | bytes, max_seconds: float | None = None
    ) -> Iterator[Waveform]:
        """The same, piece by piece, of which only one is held.

        Channels are averaged, in float32 from -1 to 1; the resampling is soxr's, quality HQ.

        Args:
            source: path of a sound file, or its bytes.
            max_seconds: refuse longer ones: a small file can be very long.

        Raises:
            AudioTooLong: more seconds than allowed.
            InvalidAudio: no sound, damaged, cut off, empty, or with NaN or infinity in it.
            FileNotFoundError: no such file.
        """
        with opened(source, max_seconds) as file:
            resampler = (
                None
                if file.samplerate == self.sample_rate
                else soxr.ResampleStream(file.samplerate, self.sample_rate, 1, dtype="float32")
            )
            count = 0
            for block in _mono(file, max_seconds):
                piece = block if resampler is None else resampler.resample_chunk(block)
                count += len(piece)
                yield piece
            if resampler is not None:
                piece = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
                count += len(piece)
                yield piece
            if count == 0:
                raise InvalidAudio(f"too short: less than a sample at {self.sample_rate:,} Hz")

    def windows(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """Windows [T] over a sound of any length, of which a window or two are held at a time.

        They begin `stride` apart; the last one ends where the sound ends. A sound that is not
        longer than a window makes one, which may be shorter than T.

        Args:
            blocks: the sound, in pieces [n] of any length.
        """
        size, stride = self.num_samples, self.stride
        held = np.zeros(0, np.float32)
        begin = 0  # of the next window, within what is held
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) - begin >= size:
                yield held[begin : begin + size]
                begin += stride
            # the last window may need all of the one before
            spent = max(0, min(begin, len(held) - size))
            held, begin = held[spent:], begin - spent
        is_short = len(held) < size
        # what follows the last whole window, if anything does
        if is_short or len(held) > begin - stride + size:
            yield held if is_short else held[-size:]

    def fit(self, waveform: Waveform, begin: int | None = None) -> Waveform:
        """One window of a sound, its loudness set, and padded where it is short.

        Args:
            waveform: [N].
            begin: first sample of those that a long sound keeps; those in its middle by default.

        Returns:
            float32 [T].
        """
        missing = self.num_samples - len(waveform)
        if missing < 0:
            begin = -missing // 2 if begin is None else begin
            waveform = waveform[begin : begin + self.num_samples]
        waveform = self._leveled(waveform)
        if missing <= 0:
            return waveform
        if self.padding == "repeat":
            return np.resize(waveform, self.num_samples)
        before = missing // 2 if self.padding == "center" else 0
        return np.pad(waveform, (before, missing - before))

    def _leveled(self, waveform: Waveform) -> Waveform:
        if self.loudness is None or not waveform.any():
            return waveform
        power = np.mean(np.square(waveform, dtype=np.float64))
        gain = min(self.loudness - 10 * np.log10(power), MOST_GAIN)
        leveled: Waveform = waveform * np.float32(10 ** (gain / 20))
        return leveled

    # --- from windows to the network's input -----------------------------------------------------

    def inputs(self, waveforms: Waveform) -> npt.NDArray[np.float32]:
        """What the network gets of windows [..., T]: [..., C, n_mels, frames], or [..., T]."""
        if self.features == "waveform":
            return self.normalized(waveforms, axes=(-1,))
        mels = self.normalized(self.log_mel(waveforms), axes=(-2, -1))
        return np.repeat(mels[..., np.newaxis, :, :], self.channels, axis=-3)

    def log_mel(self, waveforms: Waveform) -> npt.NDArray[np.float64]:
        """Power in bands of the mel scale, in dB: float64 [..., n_mels, frames] of [..., T].

        A frame lies around each multiple of the hop, the sound being continued by silence on both
        sides, under a periodic Hann window in the middle of the Fourier transform. Bands are
        triangles of equal area. 0 dB is a power of 1; LEAST_POWER is the least, and so is
        DYNAMIC_RANGE below the loudest. librosa's `melspectrogram` and `power_to_db` give the same.
        """
        length, hop = self.fft_length, self.hop_length
        half = [(0, 0)] * (waveforms.ndim - 1) + [(length // 2, length // 2)]
        padded = np.pad(waveforms.astype(np.float64), half)
        frames = np.lib.stride_tricks.sliding_window_view(padded, length, axis=-1)[..., ::hop, :]
        spectrum = np.fft.rfft(frames * _hann(self.frame_length, length))
        power = np.square(spectrum.real) + np.square(spectrum.imag)  # [..., frames, frequencies]
        bands = self._filters() @ np.swapaxes(power, -1, -2)
        decibels = 10 * np.log10(np.maximum(bands, LEAST_POWER))
        loudest = decibels.max(axis=(-2, -1), keepdims=True)
        floored: npt.NDArray[np.float64] = np.maximum(decibels, loudest - DYNAMIC_RANGE)
        return floored

    def normalized(
        self, values: npt.NDArray[Any], axes: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """As `normalization` says, over these axes; float32."""
        if self.normalization == "none":
            return values.astype(np.float32)
        values = values.astype(np.float64)
        centered = values - values.mean(axis=axes, keepdims=True)
        variance = np.square(centered).mean(axis=axes, keepdims=True)
        normalized: npt.NDArray[np.float32] = centered / np.sqrt(variance + VARIANCE_FLOOR)
        return normalized.astype(np.float32)

    def _filters(self) -> npt.NDArray[np.float64]:
        top = self.sample_rate / 2 if self.fmax is None else self.fmax
        return mel_filters(
            self.sample_rate, self.fft_length, self.n_mels, self.mel_scale, self.fmin, top
        )


def opened(source: str | Path | bytes, max_seconds: float | None = None) -> soundfile.SoundFile:
    """A sound file of which only the header was read.

    Raises:
        AudioTooLong: it says that it has more seconds than allowed.
        InvalidAudio: empty, cut off, of no known format, or of an unlikely sample rate.
        FileNotFoundError: no such file.
    """
    head, size = _beginning(source)
    if size == 0:
        raise InvalidAudio("the file is empty")
    _refuse_cut_off(head, size)
    try:
        file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (soundfile.LibsndfileError, TypeError) as error:  # a raw file would need more arguments
        raise InvalidAudio("not a sound of a known format") from error
    low, high = SAMPLE_RATES
    if not low <= file.samplerate <= high:
        file.close()
        raise InvalidAudio(f"{file.samplerate} samples per second; {low:,} to {high:,} can be read")
    if file.format not in ESTIMATED:
        try:
            _refuse_long(file.frames / file.samplerate, max_seconds)
        except AudioTooLong:
            file.close()
            raise
    return file


def _beginning(source: str | Path | bytes) -> tuple[bytes, int]:
    """The first bytes of a file, and how many it has."""
    if isinstance(source, bytes):
        return source[:8], len(source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as file:
        return file.read(8), path.stat().st_size


def _refuse_cut_off(head: bytes, size: int) -> None:
    """WAV and AIFF files say how long they are; libsndfile reads what there is without a word.

    What was written as it was heard claims a size beyond any file's, or none.
    """
    if head[:4] not in _SIZES:
        return
    claimed = int.from_bytes(head[4:], _SIZES[head[:4]])
    # it does not count the first eight bytes, though some programs do
    if size < claimed < UNKNOWN_SIZE:
        raise InvalidAudio(f"cut off: {size:,} of {claimed + len(head):,} bytes")


def _refuse_long(seconds: float, max_seconds: float | None) -> None:
    if max_seconds is not None and seconds > max_seconds:
        raise AudioTooLong(f"{seconds:,.1f} seconds; the limit is {max_seconds:,g}")


def _mono(file: soundfile.SoundFile, max_seconds: float | None) -> Iterator[Waveform]:
    """All of an opened file, channels averaged, in pieces; what it says of itself is checked."""
    size = max(1, BLOCK // file.channels)
    count = 0
    try:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            count += len(block)
            _refuse_long(count / file.samplerate, max_seconds)
            mono: Waveform = block[:, 0] if file.channels == 1 else block.mean(axis=1)
            if not np.isfinite(mono).all():
                raise InvalidAudio("NaN or infinity among its samples")
            yield mono
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"damaged sound ({error.error_string})") from error
    if count == 0:
        raise InvalidAudio("it holds no sound: 0 samples")
    if file.format not in ESTIMATED and count < file.frames:
        raise InvalidAudio(
            f"damaged sound: it ends after {count / file.samplerate:.2f} of "
            f"{file.frames / file.samplerate:.2f} seconds"
        )


@lru_cache
def _hann(frame_length: int, fft_length: int) -> npt.NDArray[np.float64]:
    """A periodic Hann window in the middle of zeros."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame_length) / frame_length)
    before = (fft_length - frame_length) // 2
    return np.pad(window, (before, fft_length - frame_length - before))


@lru_cache
def mel_filters(
    sample_rate: int, fft_length: int, n_mels: int, mel_scale: str, fmin: float, fmax: float
) -> npt.NDArray[np.float64]:
    """Weights [n_mels, fft_length // 2 + 1] of frequencies in bands: triangles of area 1, in Hz.

    M. Slaney, "Auditory Toolbox", 1998.
    """
    to_mel, to_hz = _SCALES[mel_scale]
    lowest, highest = to_mel(np.array([fmin, fmax], np.float64))
    edges = to_hz(np.linspace(lowest, highest, n_mels + 2))
    low, center, high = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    frequency = np.fft.rfftfreq(fft_length, 1 / sample_rate)
    rising, falling = (frequency - low) / (center - low), (high - frequency) / (high - center)
    weights: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return weights * (2 / (high - low))


Numbers = npt.NDArray[np.float64]

# Slaney's scale: so many Hz a mel up to 1 kHz, and 27 mels for each factor of 6.4 above
_LINEAR_HZ, _KNEE_HZ, _KNEE_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, np.log(6.4) / 27


def _slaney_mel(hz: Numbers) -> Numbers:
    above = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _LINEAR_HZ, above)


def _slaney_hz(mel: Numbers) -> Numbers:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, above)


def _htk_mel(hz: Numbers) -> Numbers:
    return 2595 * np.log10(1 + hz / 700)


def _htk_hz(mel: Numbers) -> Numbers:
    return 700 * (10 ** (mel / 2595) - 1)


_SCALES = {"slaney": (_slaney_mel, _slaney_hz), "htk": (_htk_mel, _htk_hz)}
