"""The built-in sample set: digits from zero to nine, spoken by 42 voices of eSpeak NG, as WAV.

The synthesiser comes in the package espeakng-loader, which projects need for this alone; what it
says is theirs. Voices of validation are not among those of training. Accent, rate, pitch, loudness
and noise vary, so that no digit is known by its level or its length.
"""

from __future__ import annotations

import csv
import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import DataError
from .new_folder import new_folder

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAMPLE_RATE = 16_000

# Variants of eSpeak NG that say the same each time, by how they sound; each has one accent. Some
# differ in little but their names: none of validation is made almost like one of training.
_WOMEN = {
    "train": ("f1", "f4", "Andrea", "anika", "aunty", "grandma", "steph"),
    "val": ("Annie", "belinda", "linda"),
}
_MEN = {
    "train": (
        *("m1", "m2", "m4", "m5", "m6", "m8", "adam", "Alex", "boris", "david", "Denis", "ed"),
        *("edward", "Gene", "gustave", "Hugo", "ian", "iven", "Jacky", "Lee", "Mario", "Michael"),
        *("pablo", "rob", "travis"),
    ),
    "val": ("m3", "m7", "john", "marcelo", "max", "paul", "quincy"),
}
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan")
# how often each speaker says each word
_TIMES = {"train": 5, "val": 4}

# words a minute
_RATES = (120, 260)
# percent of what eSpeak NG can do, around the voice's own
_PITCHES = (25, 75)
# dB of the loudest sample, 0 being full scale
_PEAKS = (-24.0, -1.0)
# dB of the word above the noise, and from where on it counts as noisy
_SIGNAL_TO_NOISE, _NOISY = (3.0, 30.0), 12.0
# how steeply noise falls with frequency: 0 is white, 2 is brown
_SLOPES = (0.0, 2.0)
# seconds of noise before and behind the word
_MARGINS = (0.02, 0.3)
# dB below the loudest sample, from which on the synthesiser's silence begins
_SILENCE = -45.0

Waveform = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Speaker:
    """Who says words.

    Attributes:
        split: `train` or `val`.
        voice: variant of eSpeak NG.
        accent: a language of it.
        is_woman: whether the voice sounds like a woman's.
        times: how often each word is said.
        seed: of all that varies.
    """

    split: str
    voice: str
    accent: str
    is_woman: bool
    times: int
    seed: int


@dataclass(frozen=True)
class _Utterance:
    """A word as it was recorded.

    Attributes:
        speaker: who says it.
        word: which.
        seconds: how long it lasts.
        is_noisy: whether there is much noise.
        waveform: with margins and noise, [N], at SAMPLE_RATE.
    """

    speaker: _Speaker
    word: str
    seconds: float
    is_noisy: bool
    waveform: Waveform


def write_sample(destination: Path, task: str) -> int:
    """Write the words in the layout that `task` reads; the folder appears whole or not at all.

    Classification: a folder per word. Multilabel and regression: `sounds/` with a manifest for
    training and one for validation, which name the speaker; the labels are the word, and whether a
    woman says it and whether it is noisy; the value is how many seconds the word lasts.

    Returns:
        how many sounds were written.

    Raises:
        DataError: the destination exists or cannot be written; the synthesiser does not work.
    """
    # The synthesiser says the same only in a process that has said nothing yet.
    fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        with new_folder(destination) as folder, fresh as process:
            return process.submit(_write, folder, task, _speakers()).result()
    except BrokenProcessPool as error:
        raise DataError("eSpeak NG has ended the process that wrote the sample set") from error


def _speakers() -> list[_Speaker]:
    voices = [
        (split, voice, is_woman)
        for split in ("train", "val")
        for named, is_woman in ((_WOMEN, True), (_MEN, False))
        for voice in named[split]
    ]
    return [
        _Speaker(split, voice, _ACCENTS[seed % len(_ACCENTS)], is_woman, _TIMES[split], seed)
        for seed, (split, voice, is_woman) in enumerate(voices)
    ]


def _write(folder: Path, task: str, speakers: Sequence[_Speaker]) -> int:
    rows: dict[str, list[list[str]]] = {"train": [], "val": []}
    number = 0
    for number, spoken in enumerate(_utterances(speakers), 1):
        speaker = spoken.speaker
        file = f"{number:04}_{speaker.voice}.wav"
        if task == "audio_classification":
            path = folder / speaker.split / spoken.word / file
        else:
            path = folder / "sounds" / file
            label = _labels(spoken) if task == "audio_multilabel" else f"{spoken.seconds:.4f}"
            rows[speaker.split].append([f"sounds/{file}", speaker.voice, label])
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, spoken.waveform, SAMPLE_RATE, subtype="PCM_16")
    if task != "audio_classification":
        value = "labels" if task == "audio_multilabel" else "seconds"
        for split, lines in rows.items():
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as table:
                csv.writer(table).writerows([["audio", "speaker", value], *lines])
    return number


def _labels(spoken: _Utterance) -> str:
    extra = [("woman", spoken.speaker.is_woman), ("noisy", spoken.is_noisy)]
    return ";".join([spoken.word, *(name for name, holds in extra if holds)])


def _utterances(speakers: Sequence[_Speaker]) -> Iterator[_Utterance]:
    """All words of all speakers."""
    speech = _Synthesiser()
    for speaker in speakers:
        rng = np.random.default_rng(speaker.seed)
        speech.use(speaker.accent, speaker.voice)
        for word in WORDS * speaker.times:
            said = speech.say(word, int(rng.integers(*_RATES)), int(rng.integers(*_PITCHES)))
            ratio = float(rng.uniform(*_SIGNAL_TO_NOISE))
            yield _Utterance(
                speaker=speaker,
                word=word,
                seconds=len(said) / SAMPLE_RATE,
                is_noisy=ratio < _NOISY,
                waveform=_recorded(said, ratio, rng),
            )


def _recorded(said: Waveform, ratio: float, rng: np.random.Generator) -> Waveform:
    """A word in noise that lies `ratio` dB below it, at some distance."""
    before, behind = (rng.uniform(*_MARGINS, size=2) * SAMPLE_RATE).astype(int)
    word = np.pad(said, (before, behind))
    noise = _noise(len(word), rng)
    noise *= np.sqrt(np.mean(said**2) / np.mean(noise**2)) * 10 ** (-ratio / 20)
    together = word + noise
    peak = 10 ** (rng.uniform(*_PEAKS) / 20)
    recorded: Waveform = together * (peak / np.abs(together).max())
    return recorded


def _noise(length: int, rng: np.random.Generator) -> Waveform:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    slope = rng.uniform(*_SLOPES)
    weights = np.arange(1, len(spectrum) + 1, dtype=np.float64) ** (-slope / 2)
    return np.fft.irfft(spectrum * weights, length)


class _Synthesiser:
    """eSpeak NG, by way of its C functions; `speak_lib.h` describes them.

    Raises:
        DataError: it cannot be started.
    """

    SYNCHRONOUS, DONT_EXIT = 2, 0x8000  # no thread, no sound card; errors do not end the process
    RATE, PITCH = 1, 3  # numbers of its parameters
    UTF8 = 1

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._data = Path(espeakng_loader.get_data_path())
        self._rate = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, str(self._data).encode(), self.DONT_EXIT
        )
        if self._rate <= 0:
            raise DataError(
                "eSpeak NG does not start; `uv sync --reinstall-package espeakng-loader`"
            )
        self._pieces: list[npt.NDArray[np.int16]] = []
        # kept, as the library calls it
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def use(self, language: str, variant: str) -> None:
        """Speak with a variant of a language's voice.

        Raises:
            DataError: there is none.
        """
        voice = f"{language}+{variant}"
        # a variant that is not there would be left out without a word
        is_there = (self._data / "voices" / "!v" / variant).is_file()
        if not is_there or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"eSpeak NG has no voice {voice}")

    def say(self, text: str, rate: int, pitch: int) -> Waveform:
        """A text without the silence around it, [N] at SAMPLE_RATE.

        Args:
            text: what to say.
            rate: words a minute.
            pitch: 0 to 99; 50 is the voice's own.
        """
        self._pieces.clear()
        self._library.espeak_SetParameter(self.RATE, rate, 0)
        self._library.espeak_SetParameter(self.PITCH, pitch, 0)
        content = text.encode() + b"\0"
        self._library.espeak_Synth(content, len(content), 0, 1, 0, self.UTF8, None, None)
        self._library.espeak_Synchronize()
        spoken = np.concatenate(self._pieces) / 32768
        waveform: Waveform = soxr.resample(spoken, self._rate, SAMPLE_RATE)
        [loud] = np.nonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (_SILENCE / 20))
        return waveform[loud[0] : loud[-1] + 1]

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
