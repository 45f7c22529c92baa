"""Reading sounds: folders, tables and sets of the hub become rows. Nothing here needs torch.

Whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_whole
from ..config import TrainingConfig
from ..preprocessing import InvalidAudio, opened
from ..serving.runtime import Accepted
from ..task import TaskSpec
from .account import Account
from .audio_facts import examine as examine
from .audio_facts import fingerprint as fingerprint
from .audio_facts import review as review
from .audio_files import SOUNDS, unreadable_suffixes
from .file_samples import FileSamples
from .splits import Splits
from .table_labels import ColumnSettings

if TYPE_CHECKING:
    import datasets

# in seconds: every bundle takes a sound of this length, whatever training allows
LONGEST_EXAMPLE = 60

# The first name is the documented one and wins; the others are what people call it as well.
AUDIO = (
    "audio", "sound", "sounds", "audio_path", "audio_file", "audio_filepath", "wav", "wav_path",
    "wav_file", "recording", "clip", "clip_path", "file_name", "filename", "file", "filepath",
    "file_path", "path", "fname", "name",
)  # fmt: skip
GROUPS = (
    "speaker", "speaker_id", "speakers", "spk", "spk_id", "client_id", "recording_id", "session",
    "session_id", "subject", "subject_id", "patient", "patient_id", "group", "group_id",
)  # fmt: skip


def _feature() -> Any:
    import datasets

    return datasets.Audio(decode=False)


def _columns(config: TrainingConfig) -> ColumnSettings:
    return ColumnSettings(
        config.audio_column,
        config.label_column,
        config.target_columns,
        config.label_separator,
        config.group_column,
    )


SAMPLES = FileSamples(
    kind=SOUNDS,
    one="a sound",
    column="audio",
    usual_columns=AUDIO,
    setting="audio_column",
    feature=_feature,
    outputs={
        "audio_classification": "classes",
        "audio_multilabel": "labels",
        "audio_regression": "targets",
    },
    columns=_columns,
    used_settings={
        "audio_classification": ("audio_column", "label_column", "group_column"),
        "audio_multilabel": (
            "audio_column",
            "label_column",
            "target_columns",
            "label_separator",
            "group_column",
        ),
        "audio_regression": ("audio_column", "target_columns", "group_column"),
    },
    examine=examine,
    usual_groups=GROUPS,
)


def read_splits(config: TrainingConfig, processor: None = None) -> Splits:
    """Read `config.data`: folders, tables or a set of the hub, as the README's table lists them.

    Raises:
        DataError: as `FileSamples.read_splits`.
    """
    return SAMPLES.read_splits(config)


def read_samples(
    config: TrainingConfig, names: list[str], processor: None
) -> tuple[datasets.Dataset, Account]:
    """Read all sounds of `config.data`, whichever splits they belong to.

    Raises:
        DataError: as `FileSamples.read_samples`.
    """
    return SAMPLES.read_samples(config, names)


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many sounds are among those of the training: the same files, or of equal content."""
    return SAMPLES.count_repeated(rows, train)


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each sound, or where it is in its table."""
    return SAMPLES.places(rows)


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes for a sound: what was one here."""
    return Accepted(
        suffixes=sorted(SOUNDS.suffixes),
        refused=unreadable_suffixes(),
        columns=list(dict.fromkeys((config.audio_column or AUDIO[0], *AUDIO))),
        # the example that a bundle makes itself is as long as the network's input
        max_item_size=round(max(config.max_seconds, config.duration, 1)),
    )


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep one validation sound as `example.*`: the bundle stores it with its prediction."""
    content, suffix = SAMPLES.first(splits.val)
    try:
        with opened(content, LONGEST_EXAMPLE) as file:
            found = f".{file.format.lower()}"
    except InvalidAudio:  # no bundle could take it
        return
    # a hub's sounds may have no name
    write_whole(run_dir / f"example{suffix or found}", content)


# what `save_processor` writes: features need nothing that was learned from data
PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: sounds have no processor."""


def load_processor(folder: Path) -> None:
    """None: sounds have no processor."""
