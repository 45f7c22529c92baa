"""A folder for each class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from .account import Account, shown
from .folders import FileKind, find_files, holds_directly, visible
from .labels import check_classes, read_classes
from .layout import split_of, tables_in

# what people divide sets into, with a number behind
PART = re.compile(
    r"(folds?|parts?|batch|chunks?|shards?|subsets?|sessions?|dis[ck]s?|cd|vol(ume)?|day|week|month"
    r"|speakers?|spk|actors?|subjects?|participants?|patients?|persons?|users?|cameras?|cam|devices?"
    r"|mic|dir|folder)[\W_]*\d+",
    re.IGNORECASE,
)
# of a list that are looked at
MOST_CHARACTERS = 10_000_000


def read_class_folders(
    root: Path, kind: FileKind, names: list[str] | None, account: Account
) -> tuple[list[Path], list[int], list[str]]:
    """Files of every class, however deep they lie in its folder.

    Args:
        root: its folders are the classes.
        kind: of the files.
        names: the training data's classes; None to take those found here.
        account: gets what is left out, and a problem for each file that cannot be read.

    Returns:
        files, each with its class as a position in the third, the names of all classes.

    Raises:
        DataError: there are no classes, or splits inside of them.
    """
    files: list[Path] = []
    folder_of_file: list[Path] = []
    for folder in visible(root, account):
        if not folder.is_dir():
            _account_for_loose_file(folder, kind, account)
            continue
        _refuse_splits_inside(folder)
        found = find_files(folder, kind, account)
        if not found:
            account.problems.append(_without_samples(folder, kind))
        files += found
        folder_of_file += [folder] * len(found)
    if not files and not account.problems:
        raise DataError(f"{root} holds no class folders with {kind.noun} in them")
    labels, names = read_classes(
        [folder.name for folder in folder_of_file],
        lambda row: str(folder_of_file[row]),
        names,
        account,
    )
    _warn_of_classes_inside(sorted(set(folder_of_file)), kind, account)
    _warn_of_parts(names, kind, account)
    _warn_of_lists(root, files, kind, account)
    if not account.problems:
        _check_classes(names, root, set(folder_of_file))
    account.problems = list(dict.fromkeys(account.problems))  # one line for a folder, not a file
    return files, labels, names


def _without_samples(folder: Path, kind: FileKind) -> str:
    if tables := tables_in(folder):
        return (
            f"{folder} holds no {kind.noun}, but tables, {shown([one.name for one in tables])}; to "
            f"read one of them, move it into {folder.parent} and give its --data PATH, otherwise "
            "move the folder away"
        )
    return f"{folder} holds no {kind.noun}; add some or remove the folder"


def _account_for_loose_file(path: Path, kind: FileKind, account: Account) -> None:
    if kind.takes(path) or kind.refusal(path):
        account.leave_out(path, "in no class folder")
        account.warn(f"{kind.noun} in {path.parent} itself have no class and are left out")
    else:
        account.leave_out(path, f"not among {kind.noun} ({path.suffix or 'no suffix'})")


def _refuse_splits_inside(folder: Path) -> None:
    inside = [path.name for path in visible(folder, Account()) if path.is_dir()]
    found = {split for name in inside if (split := split_of(name))}
    if "train" in found and len(found) > 1:
        raise DataError(
            f"{folder} can be read in two ways: as a class whose samples lie in {shown(inside)}, "
            "or as splits inside a class; put the splits outside, as train/CLASS and val/CLASS, "
            "or give these folders other names"
        )


def _warn_of_classes_inside(folders: list[Path], kind: FileKind, account: Account) -> None:
    """Folders that all hold the same ones may be hospitals or years, and those inside classes."""
    if len(folders) < 2 or any(holds_directly(folder, kind) for folder in folders):
        return
    inside = [
        {path.name for path in visible(folder, Account()) if path.is_dir()} for folder in folders
    ]
    if len(inside[0]) > 1 and all(names == inside[0] for names in inside):
        account.warn(
            f"classes {shown([folder.name for folder in folders])} each hold the folders "
            f"{shown(sorted(inside[0]))}; if those are the classes, put them outside"
        )


def _warn_of_parts(names: Sequence[str], kind: FileKind, account: Account) -> None:
    """Folders may divide a set by something else than classes."""
    if len(names) > 1 and all(PART.fullmatch(name) for name in names):
        account.warn(
            f"classes {shown(names)} are called like parts of a set; if they are not what the "
            f"{kind.noun} are to be told apart by, put the classes outside, or give a table that "
            "labels them"
        )


def _warn_of_lists(root: Path, files: Sequence[Path], kind: FileKind, account: Account) -> None:
    """Texts beside the classes that name their files, as some sets keep their splits."""
    known = {file.relative_to(root).as_posix() for file in files}
    for path in visible(root, Account()):
        if path.suffix.lower() == ".txt" and (named := len(known & _lines(path))):
            account.warn(
                f"{path} names {named} of these {kind.noun}, as lists of splits do, and is not "
                "read: lay what it names into a folder of the split, or give a table with a "
                "column 'split'"
            )


def _lines(path: Path) -> set[str]:
    """Of a text; none where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as text:
            return {line.strip() for line in text.read(MOST_CHARACTERS).splitlines()}
    except OSError:
        return set()


def _check_classes(names: list[str], root: Path, folders: set[Path]) -> None:
    try:
        check_classes(names, str(root))
    except DataError as error:
        inner = next(iter(folders))
        raise DataError(f"{error}. If {inner} is the data set itself, --data {inner}") from error
