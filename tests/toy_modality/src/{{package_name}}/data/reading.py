"""Reading points: folders become rows. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TrainingConfig
from ..errors import DataError
from ..serving.runtime import Accepted
from ..task import TaskSpec
from .account import Account
from .folders import FileKind
from .layout import Expected, find_layout
from .splits import Examination, Splits

if TYPE_CHECKING:
    import datasets

POINTS = FileKind("points", frozenset({".txt"}), lambda path: None)
LAYOUT = "a folder with train and val, each holding a folder per class"


def read_splits(config: TrainingConfig, processor: None = None) -> Splits:
    """Read `config.data`.

    Raises:
        DataError: nothing there, or no validation points.
    """
    layout = find_layout(Path(config.data), Expected(POINTS, True, False, LAYOUT), Account())
    train = layout.train.folder
    val = layout.val.folder if layout.val else None
    if train is None or val is None:
        raise DataError(f"{config.data} has no val; give {LAYOUT}")
    names = sorted(folder.name for folder in train.iterdir() if folder.is_dir())
    return Splits(_table(train, names), _table(val, names), names)


def _table(root: Path, names: list[str]) -> datasets.Dataset:
    import datasets

    files = [path for name in names for path in sorted((root / name).glob("*.txt"))]
    if not files:
        raise DataError(f"{root} holds no points; give {LAYOUT}")
    labels = [names.index(path.parent.name) for path in files]
    return datasets.Dataset.from_dict({"path": [str(path) for path in files], "labels": labels})


def read_samples(
    config: TrainingConfig, names: list[str], processor: None
) -> tuple[datasets.Dataset, Account]:
    """Read a folder per class."""
    account = Account()
    root = Path(config.data)
    account.unknown |= {path.name for path in root.iterdir() if path.is_dir()} - set(names)
    account.check_labels(config.data, names)
    return _table(root, names), account


def count_repeated(rows: datasets.Dataset, train: datasets.Dataset) -> int:
    """How many points are the same files."""
    return len(set(rows["path"][:]) & set(train["path"][:]))


def examine(rows: datasets.Dataset, config: TrainingConfig) -> Examination:
    """Nothing: every point is read when it is needed."""
    return Examination()


def fingerprint(rows: datasets.Dataset, config: TrainingConfig) -> None:
    """None: `examine` opens nothing."""


def review(facts: Mapping[str, Mapping[str, Any]], config: TrainingConfig) -> list[str]:
    """Nothing."""
    return []


PROCESSOR_FILES: tuple[str, ...] = ()


def save_processor(processor: None, folder: Path) -> None:
    """Write nothing: points have no processor."""


def load_processor(folder: Path) -> None:
    """None: points have no processor."""


def accepted_inputs(task_spec: TaskSpec, config: TrainingConfig) -> Accepted:
    """What a bundle takes for a point."""
    return Accepted(
        suffixes=sorted(POINTS.suffixes), columns=["point", "file"], max_item_size=10_000
    )


def keep_example(splits: Splits, task_spec: TaskSpec, run_dir: Path) -> None:
    """Keep a validation point as `example.txt`."""
    (run_dir / "example.txt").write_bytes(Path(splits.val[0]["path"]).read_bytes())


def places(rows: datasets.Dataset) -> list[str]:
    """The file of each point."""
    return list(rows["path"][:])
