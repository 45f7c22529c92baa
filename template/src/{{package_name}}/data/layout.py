"""Where the samples of each split lie: folders, files and tables, by the names people use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DataError
from ..serving.runtime.tables import OTHER_TABLES, SUFFIXES
from .account import Account, shown
from .folders import FileKind, holds, holds_directly, visible
from .tables import TABLES

# by split, the names of its folder or file, in any case
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
# what people add to them, as in train_set, val2017 and test-images
SPLIT_ADDITIONS = re.compile(
    r"(data)?sets?|data|splits?|images?|imgs?|photos?|pictures?|texts?|samples?|files?|labels?"
    r"|annotations?|metadata|audios?|sounds?|wavs?|clips?|recordings?|(19|20)\d\d"
)
SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Source:
    """Where the samples of one split lie.

    Attributes:
        folder: one to search for files; beside a table, the one its files may lie in.
        tables: parts of one table, in order; none where a folder is all there is.
        file: a single file that holds samples itself.
    """

    folder: Path | None = None
    tables: Sequence[Path] = ()
    file: Path | None = None

    def __str__(self) -> str:
        shown_table = self.tables[0] if len(self.tables) == 1 else f"{len(self.tables)} tables"
        return str(self.file or (shown_table if self.tables else self.folder))


@dataclass(frozen=True)
class Layout:
    """The sources of all splits.

    Attributes:
        train, val, test: None where there is none.
    """

    train: Source
    val: Source | None = None
    test: Source | None = None

    def splits(self) -> dict[str, Source]:
        """Those that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: source for name, source in named.items() if source is not None}


def split_of(name: str) -> str | None:
    """The split that a name stands for: `train`, `val`, `test`, or None."""
    apart = re.sub("([a-z])([A-Z])", r"\1 \2", name).lower().replace("set", " set")
    parts = re.findall(r"[^\W\d_]+|\d+", apart)
    words = [part for part in parts if not SPLIT_ADDITIONS.fullmatch(part)]
    plain = words[0] if len(words) == 1 else ""
    return next((split for split, names in SPLIT_NAMES.items() if plain in names), None)


@dataclass
class _Entries:
    """What bears the name of one split."""

    folders: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Expected:
    """What a task reads.

    Attributes:
        kind: files that hold one sample each.
        by_class: a folder for each class will do.
        single_files: a file may hold a whole split.
        description: for people who have something else.
    """

    kind: FileKind
    by_class: bool
    single_files: bool
    description: str


def find_layout(root: Path, expected: Expected, account: Account) -> Layout:
    """Find the splits below a folder, or take a file for the training data.

    Raises:
        DataError: nothing there, nothing that this task reads, or something that can be read in
            two ways.
    """
    _check_exists(root, expected)
    if root.is_file():
        return Layout(_file_source(root, expected))
    named, others = _named(root, expected, account)
    if named["train"] is None:
        if held_out := [source for source in named.values() if source is not None]:
            raise DataError(_half_split(root, held_out[0], others, expected))
        return Layout(_folder_source(root, expected))
    if _train_is_a_class(named, others, expected):
        account.note(
            f"{named['train']} is read as the class 'train' beside {shown(_names(others))}"
        )
        return Layout(Source(folder=root))
    _account_for_others(named, others, expected, account)
    return Layout(named["train"], named["val"], named["test"])


def find_all(root: Path, expected: Expected, account: Account) -> list[Source]:
    """Where all samples lie, whichever splits they belong to.

    Raises:
        DataError: as `find_layout`; but that nothing is called train is no fault.
    """
    _check_exists(root, expected)
    if root.is_dir():
        named, others = _named(root, expected, Account())
        found = [source for source in named.values() if source is not None]
        if not found:
            return [_folder_source(root, expected)]
        if named["train"] is None and not any(_holds(path, expected) for path in others):
            return found
    return list(find_layout(root, expected, account).splits().values())


def _check_exists(root: Path, expected: Expected) -> None:
    if not root.exists():
        raise DataError(f"{root} does not exist; --data names {expected.description}")


def _file_source(path: Path, expected: Expected) -> Source:
    if expected.single_files and expected.kind.takes(path):
        return Source(file=path)
    if path.suffix.lower() in SUFFIXES:
        return Source(tables=[path], folder=_beside(path))
    reason = OTHER_TABLES.get(path.suffix.lower()) or expected.kind.refusal(path)
    raise DataError(
        f"{path} cannot be read{f': {reason}' if reason else ''}; --data names "
        f"{expected.description}"
    )


def _beside(table: Path) -> Path | None:
    """The folder of the same name beside a table."""
    folder = table.with_suffix("")
    return folder if folder.is_dir() else None


# --- With splits ---------------------------------------------------------------------------------


def _named(
    root: Path, expected: Expected, account: Account
) -> tuple[dict[str, Source | None], list[Path]]:
    """What is called after a split in a folder, or among the tables in a folder of it; the rest."""
    entries = visible(root, account)
    named = _by_split(entries, expected, account)
    tables = [] if any(named.values()) or tables_in(root) else _tables_apart(entries, expected)
    if tables:
        apart = _by_split(tables, expected, account)
        named = {split: source and replace(source, folder=root) for split, source in apart.items()}
        entries = [*tables, *(path for path in entries if path.is_file())]
    return named, [path for path in entries if not _belongs(path, named)]


def _by_split(
    entries: Sequence[Path], expected: Expected, account: Account
) -> dict[str, Source | None]:
    found = {split: _Entries() for split in SPLIT_NAMES}
    unread: dict[str, Path] = {}
    for path in entries:
        suffix = path.suffix.lower()
        if path.is_dir() and (split := split_of(path.name)):
            found[split].folders.append(path)
        elif suffix in SUFFIXES and (split := split_of(SHARD.sub("", path.stem))):
            found[split].tables.append(path)
        elif expected.single_files and expected.kind.takes(path) and (split := split_of(path.stem)):
            found[split].files.append(path)
        elif suffix in OTHER_TABLES and (split := split_of(path.stem)):
            unread.setdefault(split, path)
    for split, path in unread.items():
        if found[split] == _Entries():
            raise DataError(f"{path} cannot be read: {OTHER_TABLES[path.suffix.lower()]}")
    return {split: _split_source(split, one, expected) for split, one in found.items()}


def _split_source(split: str, found: _Entries, expected: Expected) -> Source | None:
    is_sharded = len(found.tables) > 1 and all(SHARD.search(path.stem) for path in found.tables)
    readings = [*found.folders, *found.files, *found.tables]
    whole = [*found.folders, *found.files, *([] if is_sharded else found.tables)]
    if is_sharded and not whole:
        return Source(tables=found.tables)
    if len(found.tables) == 1 and len(found.folders) == 1 and not found.files:
        table, folder = found.tables[0], found.folders[0]
        if expected.by_class and any(holds(f, expected.kind) for f in _folders(folder)):
            raise DataError(
                f"the {split} samples can be read in two ways: from the table {table}, or from "
                f"{folder}, a folder for each class; give --data {table} to use the table alone, "
                "or move one of them away"
            )
        return Source(tables=[table], folder=folder)
    if len(readings) > 1:
        raise DataError(
            f"the {split} samples can be read in several ways: {shown(_names(readings))} in "
            f"{readings[0].parent}; move all but one away"
        )
    if found.tables:
        return Source(tables=found.tables, folder=_beside(found.tables[0]))
    if found.files:
        return Source(file=found.files[0])
    return _folder_source(found.folders[0], expected) if found.folders else None


def _folder_source(folder: Path, expected: Expected) -> Source:
    """A folder of files, or one with a table in it."""
    paths, tables = visible(folder, Account()), tables_in(folder)
    folders = [path for path in paths if path.is_dir() and holds(path, expected.kind)]
    are_classes = expected.by_class and len(folders) > 1  # a single folder is no class
    tables = tables or _tables_apart(paths, expected)
    if tables and are_classes:
        raise DataError(
            f"{folder} can be read in two ways: from the table {tables[0]}, or as a folder for "
            f"each class, {shown(_names(folders))}; give --data {tables[0]} to use the table "
            "alone, or move one of them away"
        )
    if not tables or (expected.single_files and holds(folder, expected.kind)):
        unread = [path for path in paths if path.suffix.lower() in OTHER_TABLES]
        is_one_class = expected.by_class and not are_classes
        if unread and (is_one_class or not holds(folder, expected.kind)):
            raise DataError(f"{unread[0]} cannot be read: {OTHER_TABLES[unread[0].suffix.lower()]}")
        return Source(folder=folder)
    if len(tables) > 1 and not all(SHARD.search(path.stem) for path in tables):
        names = [str(path.relative_to(folder)) for path in tables]
        is_apart = tables[0].parent != folder
        alone = f"move the one to read into {folder}" if is_apart else "give --data PATH of it"
        raise DataError(
            f"{folder} holds several tables, {shown(names)}; call them train, val and test, or, to "
            f"read one of them, {alone}"
        )
    return Source(folder=folder, tables=tables)


def _tables_apart(entries: Sequence[Path], expected: Expected) -> list[Path]:
    """Tables in folders without files of their own: of what lies in the others, if not classes."""
    folders = [path for path in entries if path.is_dir() and holds(path, expected.kind)]
    could_be_classes = expected.by_class and len(folders) > 1
    if not folders or could_be_classes or expected.single_files:
        return []
    return [table for path in entries if path not in folders for table in tables_in(path)]


def tables_in(folder: Path) -> list[Path]:
    """Tables that lie directly in a folder; none where it is no folder."""
    paths = visible(folder, Account()) if folder.is_dir() else []
    return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]


def _belongs(path: Path, named: dict[str, Source | None]) -> bool:
    return any(
        source is not None and path in (source.folder, source.file, *source.tables)
        for source in named.values()
    )


def _train_is_a_class(
    named: dict[str, Source | None], others: Sequence[Path], expected: Expected
) -> bool:
    """Whether `train` is a class among others, such as bus and car.

    Then it holds files itself, as its neighbours do, and no folder for each class.
    """
    train = named["train"]
    if not expected.by_class or train is None or train.tables or train.folder is None:
        return False
    neighbours = [path for path in others if path.is_dir() and holds(path, expected.kind)]
    return (
        bool(neighbours)
        and named["val"] is None
        and named["test"] is None
        and not any(holds(path, expected.kind) for path in _folders(train.folder))
        and holds_directly(train.folder, expected.kind)
    )


def _account_for_others(
    named: dict[str, Source | None], others: Sequence[Path], expected: Expected, account: Account
) -> None:
    """Say what belongs to no split; a table's files may lie in any folder beside it."""
    has_table = any(source and source.tables for source in named.values())
    for path in others:
        if path.is_dir() and not has_table and holds(path, expected.kind):
            account.leave_out(path, "belongs to no split")
            account.warn(
                f"{path} holds {expected.kind.noun}, but belongs to no split beside "
                f"{named['train']}; move it away, or its {expected.kind.noun} into a split"
            )
        elif path.is_file() and not (has_table and expected.kind.takes(path)):
            account.leave_out(path, "belongs to no split")


def _half_split(root: Path, held_out: Source, others: Sequence[Path], expected: Expected) -> str:
    rest = [path for path in others if _holds(path, expected)]
    if not rest:
        return f"{root} has {held_out}, but nothing called train"
    return (
        f"{root} can be read in two ways: {held_out} is not to be trained on and "
        f"{shown(_names(rest))} is, or all of them belong together; call what is to be trained on "
        f"{root / 'train'}, or give {held_out} another name"
    )


def _holds(path: Path, expected: Expected) -> bool:
    """Whether something beside the splits may hold samples."""
    return path.is_file() or holds(path, expected.kind)


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder, Account()) if path.is_dir()]


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def table_description(columns: str) -> str:
    """What to call a table with these columns, for people who have something else."""
    return f"a {TABLES} table with {columns}"
