"""Reading images: folders, tables and sets of the hub become rows. Nothing here needs torch.

Whoever only looks at data need not wait for it to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import preprocessing
from ..atomic import write_whole
from ..config import TrainingConfig
from ..preprocessing import InvalidImage
from ..serving.runtime import Accepted
from ..task import TaskSpec
from .account import Account
from .columns import IMAGE
from .file_samples import FileSamples
from .image_facts import examine as examine
from .image_facts import fingerprint as fingerprint
from .image_facts import review as review
from .image_files import IMAGES, unreadable_suffixes
from .splits import Splits
from .table_labels import ColumnSettings

if TYPE_CHECKING:
    import datasets

# in pixels: every bundle takes an image of this size, whatever training allows
LARGEST_EXAMPLE = 10_000_000


def _feature() -> Any:
    import datasets

    return datasets.Image(decode=False)


def _columns(config: TrainingConfig) -> ColumnSettings:
    return ColumnSettings(
        config.image_column, config.label_column, config.target_columns, config.label_separator
    )


SAMPLES = FileSamples(
    kind=IMAGES,
    one="an image",
    column="image",
    usual_columns=IMAGE,
    setting="image_column",
    feature=_feature,
    outputs={
        "vision_classification": "classes",
        "vision_multilabel": "labels",
        "vision_regression": "targets",
    },
    columns=_columns,
    used_settings={
        "vision_classification": ("image_column", "label_column"),
        "vision_multilabel": ("image_column", "label_column", "target_columns", "label_separator"),
        "vision_regression": ("image_column", "target_columns"),
    },
    examine=examine,
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
    """Read all images of `config.data`, whichever splits they belong to.

    Raises:
        DataError: as `FileSamples.read_samples`.
    """
    return SAMPLES.read_samples(config, names)


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many images are among those of the training: the same files, or of equal content."""
    return SAMPLES.count_repeated(rows, train)


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each image, or where it is in its table."""
    return SAMPLES.places(rows)


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes for an image: what was one here."""
    _, height, width = task_spec.input_schema["image_size"]
    return Accepted(
        suffixes=sorted(IMAGES.suffixes),
        refused=unreadable_suffixes(),
        columns=list(dict.fromkeys((config.image_column or IMAGE[0], *IMAGE))),
        # the example that a bundle draws itself is as large as the network's input
        max_item_size=max(config.max_pixels, height * width),
    )


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep one validation image as `example.*`: the bundle stores it with its prediction."""
    content, suffix = SAMPLES.first(splits.val)
    try:
        with preprocessing.opened(content, LARGEST_EXAMPLE):
            pass
    except InvalidImage:  # no bundle could take it
        return
    # a hub's images may have no name
    write_whole(run_dir / f"example{suffix or '.png'}", content)


# what `save_processor` writes: pixels need nothing that was learned from data
PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: images have no processor."""


def load_processor(folder: Path) -> None:
    """None: images have no processor."""
