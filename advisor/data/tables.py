"""Arrow tables of splits: what every reader of data gives, and what is done with all of them alike."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from advisor.data.images import (
    Held,
)
from advisor.data.split_files import splits_of_names
from advisor.data.splits import SPLITS, split_of_name
from tuner.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A dataset as it was given: ``parts`` maps ``all``, or ``train``, ``validation`` and ``test``, to its rows.

    Columns of images are references, to files or into ``held``; paths in cells are relative to ``folder``, those of
    the test split to ``test_folder`` where it is a file of its own. Where the cells come out of a file (``confined``)
    they may name no files elsewhere. ``labels_are_names`` says that labels are names whatever they look like, such as
    folders called 1, 2 and 3; ``without_header`` says that columns were numbered, since nothing names them. Parts
    that were read from ``conll`` files, each by one of their names, have their columns by place. ``item_names``
    are the names of classes in columns of lists, which are named already, except where a number has no name. What is
    ``in_memory`` has no name of its own, and what came ``in_lists`` has columns that nobody named.
    """

    name: str
    place: str
    parts: Mapping[str, pa.Table]
    held: Held = field(default_factory=dict)
    folder: str = ""
    test_folder: str | None = None
    confined: bool = False
    labels_are_names: bool = False
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    item_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without_header: bool = False
    conll: Mapping[str, str] = field(default_factory=dict)
    in_memory: bool = False
    in_lists: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A dataset of the Hugging Face hub as `datasets` loads it: one `datasets.Dataset` a split, by its own name."""

    id: str
    splits: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The id without its owner."""
        return self.id.rpartition("/")[2]

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"'{self.id}'"


def only(tables: Tables, split: str) -> Tables:
    """Keep one split, as the whole of the data. Raises `OptionError` where it is not there."""
    wanted = split if split in tables.parts else split_of_name(split) or split
    if wanted not in tables.parts:
        if set(tables.parts) == {"all"}:
            raise OptionError(
                f"--split {split}: {tables.place} has no splits",
                why="it is one table",
                fix="omit --split, or pass a folder with train.*, validation.* and test.*",
            )
        raise OptionError(
            f"--split {split}: {tables.place} has no such split.{did_you_mean(split, tables.parts)}",
            why="only its rows would be used",
            fix=f"choose one of: {', '.join(tables.parts)}",
        )
    return _of_parts(tables, {"all": wanted})


def with_training_rows(tables: Tables) -> Tables:
    """Make sure that there are rows to train on: without a training split another is taken for it, with a warning."""
    parts = {name: name for name in tables.parts}  # what each is called, and was
    warnings = list(tables.warnings)
    if "train" in parts or "all" in parts:
        if "train" in parts and parts.pop("all", None) is not None:
            warnings.append(f"{tables.place} has train.* and all.*: all.* was ignored")
        elif "all" in parts and len(parts) > 1:
            parts["train"] = parts.pop("all")
    elif set(parts) == {"validation", "test"}:
        parts = {"train": "validation", "test": "test"}
        warnings.append(f"{tables.place} has no training split: its validation split is trained on")
    elif len(parts) == 1:
        (name,) = parts
        parts = {"all": name}
        warnings.append(f"{tables.place} has a {name} split only: its rows are divided into new splits")
    ordered = {name: parts[name] for name in ("all", *SPLITS) if name in parts}
    return replace(_of_parts(tables, ordered), warnings=tuple(warnings))


def _of_parts(tables: Tables, names: Mapping[str, str]) -> Tables:
    """Some of the parts under other names; `names` says what each was called."""
    return replace(
        tables,
        parts={name: tables.parts[was] for name, was in names.items()},
        conll={name: tables.conll[was] for name, was in names.items() if was in tables.conll},
    )


def merged_names(of_parts: Iterable[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Merge the names of classes in columns of lists, those of every part after those of the parts before it.

    >>> merged_names([{"tags": ("O", "B-a")}, {"tags": ("O", "B-b")}])
    {'tags': ('O', 'B-a', 'B-b')}
    """
    merged: dict[str, dict[str, None]] = {}
    for names in of_parts:
        for column, own in names.items():
            merged.setdefault(column, {}).update(dict.fromkeys(own))
    return {column: tuple(names) for column, names in merged.items()}


def refuse_no_rows(n_rows: int, *, place: str) -> None:
    """Raise `DataError` where a table has no rows."""
    if n_rows == 0:
        raise DataError(f"{place} is empty", why="it holds no rows", fix="pass labelled rows")


def of_enum(value: Any) -> Any:
    """The name of an enum's member; any other value as it is."""
    return value.name if isinstance(value, enum.Enum) else value


def known_splits(given: Mapping[str, Any], *, place: str) -> tuple[dict[str, Any], list[str]]:
    """Find the splits that are used, by their usual names, and the names of those that are not.

    A single one is all the data. Raises `DataError` where none has a name that is known.
    """
    known: dict[str, Any] = {}
    ignored = []
    split_of = {name: split for split, names in splits_of_names(map(str, given)).items() for name in names}
    plain = {str(name).lower() for name in given}
    for name, part in given.items():
        usual = split_of.get(str(name)) or ("all" if len(given) == 1 else None)
        # "test" is the test split, though "test2" stands before it
        if usual is None or usual in known or (usual in plain and str(name).lower() != usual):
            ignored.append(str(name))
        else:
            known[usual] = part
    if not known:
        raise DataError(
            f"{place} has no split named train, validation or test",
            why=f"its splits are {', '.join(map(str, given))}",
            fix="pass one of them as a Dataset, or rename them",
        )
    return known, ignored


def concatenate(tables: Iterable[pa.Table], *, place: str) -> pa.Table:
    """Put tables below each other; a column whose type differs becomes the wider type, or text."""
    import pyarrow as pa

    tables = list(tables)
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        kinds: dict[str, set[str]] = {}
        for table in tables:
            for item in table.schema:
                kinds.setdefault(item.name, set()).add(str(item.type))
        mixed = [name for name, kind in kinds.items() if len(kind) > 1]
    try:
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{place}: the columns {', '.join(mixed)} hold different kinds of values in different files",
            why="the files are read as one dataset",
            fix="save them all with the same columns and kinds of values",
        ) from error


def _as_text(table: pa.Table, names: Iterable[str]) -> pa.Table:
    import pyarrow as pa

    for name in names:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, table.column(name).cast(pa.string()))
    return table
