"""Samples that are files: in a folder for each class, named by a table, or stored inside one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TrainingConfig
from ..errors import DataError
from ..serving.runtime.named_files import NamedFiles
from .account import Account, shown
from .class_folders import read_class_folders
from .columns import find_column, recognise_column, warn_of_unused_settings
from .description import summarize
from .folders import FileKind, visible
from .labels import check_classes, class_text
from .layout import Expected, table_description
from .sources import SplitSource, is_labelled, read_all_sources, read_sources
from .splits import (
    GROUP,
    Examination,
    Splits,
    labels_of,
    set_aside,
    set_aside_groups,
    validation_choice,
    warn_of_rare_classes,
    warn_of_shared_groups,
)
from .table_labels import ColumnSettings, Outputs, label_feature, labelling_columns, read_labels
from .tables import Table

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# bytes of files that are compared with each other at most: to read a whole training set takes long
MOST_COMPARED = 2**30

# where a row was read, for messages
ORIGIN = "origin"


@dataclass(frozen=True)
class FileSamples:
    """What kinds of files differ in, and how they all are read.

    The rows have a column of that kind, bytes and path, of which one may be missing; `labels`; of
    tables `origin`, where a row is in it, and `group` where there are groups.

    Attributes:
        kind: of the files.
        one: what one is called, with its article.
        column: of the rows.
        usual_columns: what a table calls it, the documented name first.
        setting: of the configuration, that names it.
        usual_groups: what a table calls the column of groups; none where there are none.
        feature: how `datasets` stores files of this kind.
        outputs: what the labels of each task are.
        columns: which columns a configuration names.
        used_settings: settings of columns that each task uses.
        examine: opens every sample.
    """

    kind: FileKind
    one: str
    column: str
    usual_columns: Sequence[str]
    setting: str
    feature: Callable[[], Any]
    outputs: Mapping[str, Outputs]
    columns: Callable[[TrainingConfig], ColumnSettings]
    used_settings: Mapping[str, Sequence[str]]
    examine: Callable[[datasets.Dataset, TrainingConfig], Examination]
    usual_groups: Sequence[str] = ()

    @property
    def noun(self) -> str:
        """What one is called, without its article."""
        return self.one.partition(" ")[2]

    def read_splits(self, config: TrainingConfig) -> Splits:
        """Read `config.data`: folders, tables or a set of the hub.

        Without validation data, `config.validation_split` of the training rows are set aside, with
        the same share of every class, chosen by `config.seed`; where there are groups, whole ones.
        A test split is read, but never trained on.

        Raises:
            DataError: nothing there, nothing that can be read in one way, or samples that cannot be
                used, all of them named.
        """
        account, outputs = Account(), self.outputs[config.task]
        sources = read_sources(config.data, self._expected(config.task), account)
        train, names = self._read_split(sources.splits["train"], config, None, account)
        labelling = labelling_columns(outputs, self.columns(config), names)
        held_out = {
            split: self._read_split(source, config, names, account)[0]
            for split, source in sources.splits.items()
            if split == "val"
            or (split == "test" and is_labelled(source, self.kind, labelling, account))
        }
        if account.problems:  # in rows; whoever mends those wants to know of the files as well
            account.problems += self._unreadable([train, *held_out.values()], config)
        account.check(config.data)
        self._account_for_unnamed(sources.splits.values(), [train, *held_out.values()], account)
        self._warn_of_repeated({"train": train, **held_out}, outputs, account)
        warn_of_shared_groups({"train": train, **held_out}, account)
        used = self.used_settings[config.task]
        warn_of_unused_settings(config, used, sources.has_table, account)
        is_classes = outputs == "classes"
        if is_classes:
            check_classes(names, config.data)
        validation = sources.validation
        if "val" not in held_out:
            classes = labels_of(train) if is_classes else None
            has_groups = GROUP in train.column_names
            validation = validation_choice(config, is_classes, by_group=has_groups)
            divide = set_aside_groups if has_groups else set_aside
            train, held_out["val"] = divide(train, classes, config)
        val, test = held_out["val"], held_out.get("test")
        if is_classes:
            warn_of_rare_classes(labels_of(val), names, account)
        summary = summarize(
            data=config.data,
            layout=sources.layout,
            validation=validation or "",
            splits={"train": train, "val": val, "test": test},
            outputs=outputs,
            names=names,
            account=account,
        )
        return Splits(train, val, names, test=test, summary=summary)

    def read_samples(
        self, config: TrainingConfig, names: list[str]
    ) -> tuple[datasets.Dataset, Account]:
        """Read all samples of `config.data`, whichever splits they belong to.

        Raises:
            DataError: as `read_splits`, or labels that the network has not learned.
        """
        import datasets

        account = Account()
        sources = read_all_sources(config.data, self._expected(config.task), account)
        parts = [self._read_split(source, config, names, account)[0] for source in sources]
        account.check_labels(config.data, names)
        if account.problems:
            account.problems += self._unreadable(parts, config)
        account.check(config.data)
        rows = datasets.concatenate_datasets(parts)
        if Path(config.data).is_dir():  # a single table need not name what lies beside it
            self._account_for_unnamed(sources, parts, account)
        self._warn_of_repeated({"all": rows}, self.outputs[config.task], account)
        return rows, account

    def count_repeated(self, rows: datasets.Dataset, train: datasets.Dataset) -> int:
        """How many samples are among those of the training: the same files, or equal contents.

        Contents are compared where sizes agree, unless that would be too much to read.
        """
        mine, others = self._statuses(rows), self._statuses(train)
        files = {(status.st_dev, status.st_ino) for _, status in others}
        sizes = {status.st_size for _, status in mine}
        alike = {path: status.st_size for path, status in others if status.st_size in sizes}
        if sum(alike.values()) > MOST_COMPARED:
            alike = {}
        compared, contents = set(alike.values()), {_file_digest(path) for path in alike}
        return sum(
            (status.st_dev, status.st_ino) in files
            or (status.st_size in compared and _file_digest(path) in contents)
            for path, status in mine
        )

    def places(self, rows: datasets.Dataset) -> list[str]:
        """The file of each sample, or where it is in its table."""
        paths, _ = self._paths(rows)
        has_origin = ORIGIN in rows.column_names
        origins = rows[ORIGIN][:] if has_origin else [None] * len(rows)
        return [place(*one, number) for number, one in enumerate(zip(paths, origins, strict=True))]

    def first(self, rows: datasets.Dataset) -> tuple[bytes, str]:
        """What the first sample's file holds, and its suffix; empty where it has no name."""
        sample = rows[0][self.column]
        content = sample["bytes"] or Path(sample["path"]).read_bytes()
        return content, Path(sample["path"] or "").suffix.lower()

    # --- One split -------------------------------------------------------------------------------

    def _expected(self, task: str) -> Expected:
        outputs = self.outputs[task]
        label = {"classes": "label", "labels": "labels", "targets": "values"}[outputs]
        table = table_description(f"a column {self.usual_columns[0]} and {label}")
        by_class = outputs == "classes"
        description = f"a folder per class, or {table}" if by_class else table
        return Expected(self.kind, by_class, single_files=False, description=description)

    def _read_split(
        self, source: SplitSource, config: TrainingConfig, names: list[str] | None, account: Account
    ) -> tuple[datasets.Dataset, list[str]]:
        if source.table is not None:
            return self._read_table(source, source.table, config, names, account)
        root = source.folder or Path()
        if self.outputs[config.task] != "classes":
            raise DataError(
                f"{root} is a folder of {self.kind.noun}, but {config.task} needs a table with "
                "labels"
            )
        files, labels, names = read_class_folders(root, self.kind, names, account)
        return self._rows([str(file) for file in files], labels, "classes"), names

    def _read_table(
        self,
        source: SplitSource,
        table: Table,
        config: TrainingConfig,
        names: list[str] | None,
        account: Account,
    ) -> tuple[datasets.Dataset, list[str]]:
        if not len(table):
            account.check(config.data)
            raise DataError(f"{table.name} has no rows")
        settings, outputs = self.columns(config), self.outputs[config.task]
        column = find_column(table, self.usual_columns, settings.input, self.setting, account)
        rest, more = table.without(column), {}
        group = self._group_column(rest, settings, account, is_training=names is None)
        if group is not None:
            rest, more = rest.without(group), {GROUP: _groups(table, group, account)}
        labels, names = read_labels(rest, outputs, settings, names, account)
        more[ORIGIN] = [table.place(row) for row in range(len(table))]
        if table.stored is not None and not _are_texts(table.stored, column):
            return self._stored(table, column, labels, outputs, more, account), names
        finder = self._finder(Path(table.name), source.folder, account)
        files = [
            self._named_file(value, origin, finder, account)
            for value, origin in zip(table.values(column), more[ORIGIN], strict=True)
        ]
        self._check_found(table, finder, account)
        return self._rows(files, labels, outputs, more), names

    def _group_column(
        self, table: Table, settings: ColumnSettings, account: Account, *, is_training: bool
    ) -> str | None:
        """The column of groups; None where there is none, or it is what is predicted.

        Only training samples, of which some may be set aside, must have the one that was given.
        """
        if settings.group is None and not self.usual_groups:
            return None
        if not is_training and settings.group not in (None, *table.columns):
            return None
        found = recognise_column(table, self.usual_groups, settings.group, "group_column")
        if found is None or found == settings.label or found in settings.targets:
            return None
        if settings.group is None:
            account.note(
                f"column {found!r} is taken for the group of a sample: validation shares none with "
                "training"
            )
        return found

    def _stored(
        self,
        table: Table,
        column: str,
        labels: Sequence[Any],
        outputs: Outputs,
        more: Mapping[str, list[str]],
        account: Account,
    ) -> datasets.Dataset:
        """Files whose bytes are in the table, or structures of bytes and path; they stay there."""
        import datasets

        assert table.stored is not None
        files = table.stored.select_columns(column)
        files = files if column == self.column else files.rename_column(column, self.column)
        try:
            files = files.cast_column(self.column, self.feature())
        # of what is no file, or has to be encoded to be one
        except (TypeError, ValueError, NotImplementedError, ImportError) as error:
            raise DataError(
                f"{table.name}: column {column!r} holds {_type_of(table.stored, column)}; give the "
                f"file of each {self.noun}: its name, its bytes, or a structure of bytes and path"
            ) from error
        paths, has_bytes = self._paths(files)
        without_bytes = [row for row, stored in enumerate(has_bytes) if not stored]
        if without_bytes:  # then the path is all there is
            finder = self._finder(Path(table.name), None, account)
            for row in without_bytes:
                paths[row] = self._named_file(paths[row], more[ORIGIN][row], finder, account)
            files = self._with_paths(files, paths)
        rest = self._rows([""] * len(labels), labels, outputs, more).remove_columns(self.column)
        return datasets.concatenate_datasets([files, rest], axis=1)

    def _with_paths(self, files: datasets.Dataset, paths: list[str | None]) -> datasets.Dataset:
        """The same bytes with other paths."""
        import datasets
        import pyarrow as pa

        def replaced(batch: pa.Table, numbers: list[int]) -> pa.Table:
            contents = batch[self.column].combine_chunks().field("bytes")
            names = pa.array([paths[number] for number in numbers], pa.string())
            files = pa.StructArray.from_arrays([contents, names], ["bytes", "path"])
            return pa.table({self.column: files})

        return (
            files.with_format("arrow")
            .map(
                replaced,
                batched=True,
                with_indices=True,
                features=datasets.Features({self.column: self.feature()}),
                load_from_cache_file=False,
            )
            .with_format(None)
        )

    def _rows(
        self,
        files: list[str],
        labels: Sequence[Any],
        outputs: Outputs,
        more: Mapping[str, list[str]] | None = None,
    ) -> datasets.Dataset:
        """Rows of files, with their labels, and columns of texts beside them."""
        import datasets
        import pyarrow as pa

        texts = more or {}
        features = {self.column: self.feature(), "labels": label_feature(outputs)}
        features |= dict.fromkeys(texts, datasets.Value("string"))
        # an array: as Python's objects, some features encode each file
        columns = {self.column: pa.array(files, pa.string()), "labels": list(labels), **texts}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    # --- Names of files --------------------------------------------------------------------------

    def _finder(self, table: Path, folder: Path | None, account: Account) -> NamedFiles:
        return NamedFiles(
            table if table.exists() else None, folder, self.kind.suffixes, account.note
        )

    def _named_file(self, value: Any, origin: str, finder: NamedFiles, account: Account) -> str:
        if value is None or not str(value).strip():
            account.problems.append(f"{origin}: the {self.noun} is missing")
        elif not isinstance(value, str):
            account.problems.append(
                f"{origin}: the {self.noun} is {value!r}; it must be a file's name"
            )
        else:
            try:
                return str(finder.find(value))
            except FileNotFoundError as error:
                account.problems.append(f"{origin}: {error}")
        return ""

    def _check_found(self, table: Table, finder: NamedFiles, account: Account) -> None:
        """Where all that is wrong is that no file was found, one line says more than one each."""
        if len(table) == len(finder.missing) == len(account.problems) > 1:
            raise DataError(
                f"none of the {len(finder.missing)} {self.kind.noun} that {table.name} names was "
                f"found, {shown(finder.missing)}; names count from its folder: mend them, or move "
                f"the table beside the folder where its {self.kind.noun} lie"
            )

    def _paths(self, rows: datasets.Dataset) -> tuple[list[str | None], list[bool]]:
        """Path of each sample, and whether its bytes are stored, which are not read for that."""
        paths: list[str | None] = []
        stored: list[bool] = []
        for chunk in rows.with_format("arrow")[:][self.column].chunks:
            paths += chunk.field("path").to_pylist()
            stored += chunk.field("bytes").is_valid().to_pylist()
        return paths, stored

    def _files(self, rows: datasets.Dataset) -> Iterator[str]:
        """Paths of the samples that are files."""
        return (
            path
            for path, is_stored in zip(*self._paths(rows), strict=True)
            if path and not is_stored
        )

    def _statuses(self, rows: datasets.Dataset) -> list[tuple[str, os.stat_result]]:
        return [(path, Path(path).stat()) for path in self._files(rows)]

    # --- What people should know -----------------------------------------------------------------

    def _unreadable(self, splits: Sequence[datasets.Dataset], config: TrainingConfig) -> list[str]:
        """Problems of the samples that were found at all."""
        problems = []
        for rows in splits:
            found = np.flatnonzero(
                [bool(path) or stored for path, stored in zip(*self._paths(rows), strict=True)]
            )
            problems += self.examine(rows.select(found), config).problems
        return problems

    def _account_for_unnamed(
        self,
        sources: Iterable[SplitSource],
        splits: Sequence[datasets.Dataset],
        account: Account,
    ) -> None:
        """Say which files lie among those of a table without being named by it."""
        tables = [source.table for source in sources if source.table is not None]
        if not tables or any(table.stored is not None for table in tables):
            return  # what is inside a table is all used, and too large to look through for this
        named = {path for rows in splits for path in self._files(rows)}
        for folder in sorted({Path(path).parent for path in named}):
            for path in visible(folder, Account()):
                if self.kind.takes(path) and str(path) not in named:
                    account.leave_out(path, f"{self.one} that no table names")

    def _warn_of_repeated(
        self, splits: Mapping[str, datasets.Dataset], outputs: Outputs, account: Account
    ) -> None:
        """A file that several rows name may be validated on after it was trained on."""
        noun = self.kind.noun
        named: dict[str, list[tuple[str, bytes]]] = {}
        for split, rows in splits.items():
            labels = labels_of(rows)
            for row, (path, is_stored) in enumerate(zip(*self._paths(rows), strict=True)):
                if path and not is_stored:
                    named.setdefault(os.path.normpath(path), []).append(
                        (split, labels[row].tobytes())
                    )
        across, differently, again = [], [], []
        for path, places in named.items():
            if len({split for split, _ in places}) > 1:
                across.append(path)
            elif len({label for _, label in places}) > 1:
                differently.append(path)
            elif len(places) > 1:
                again.append(path)
        if across:
            account.warn(
                f"{noun} in several splits: {shown(across)}; what a model answers for {noun} it "
                "was trained on says little"
            )
        if differently:
            remedy = "join them in one row" if outputs == "labels" else "keep the row that is right"
            account.warn(
                f"{noun} that several rows name, with different labels: {shown(differently)}; "
                f"{remedy}"
            )
        if again:
            account.warn(f"{noun} that several rows name: {shown(again)}; one row for each will do")


def place(path: str | None, origin: str | None, number: int) -> str:
    """The file of a sample, or its row, counted from 1, where it has none."""
    return path or origin or f"row {number + 1}"


def _file_digest(path: str) -> bytes:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()


def _are_texts(rows: datasets.Dataset, column: str) -> bool:
    return str(getattr(rows.features[column], "dtype", "")) in ("string", "large_string")


def _type_of(rows: datasets.Dataset, column: str) -> str:
    """Of a column, in Arrow's words."""
    return str(rows.features.arrow_schema.field(column).type)


def _groups(table: Table, column: str, account: Account) -> list[str]:
    """The group of each row as text; a problem where it is missing."""
    groups = []
    for row, value in enumerate(table.values(column)):
        text = "" if value is None else class_text(value).strip()
        if not text:
            account.problems.append(f"{table.place(row)}: the group, {column!r}, is missing")
        groups.append(text)
    return groups
