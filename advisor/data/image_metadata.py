"""Tables beside images as Hugging Face's ImageFolder has them: ``metadata.csv`` with a column ``file_name``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.data.columns import LABEL_NAMES
from advisor.data.files import read_file
from advisor.data.image_folders import METADATA, ImageTree, splits_of_folders
from advisor.data.images import shown_name
from advisor.data.splits import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

FILE_NAME = "file_name"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Rows by split, each split's tables below each other; paths in ``file_name`` are relative to the tree's folder."""

    parts: Mapping[str, Sequence[pa.Table]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_metadata(tree: ImageTree) -> Metadata | None:
    """What the metadata files in a tree of images say of them; None where there are none.

    One may lie on top and name images below, or one in the folder of each split. Classes are in a column, or, where no
    column is named like labels, the folders that the images lie in.
    """
    results = {path: read_file(Path(path)) for path in _metadata_files(tree)}
    results = {path: result for path, result in results.items() if FILE_NAME in result.table.column_names}
    if not results:
        return None
    splits = splits_of_folders(tree)
    start = os.path.relpath(tree.inner, tree.folder)
    parts: dict[str, list[pa.Table]] = {}
    outside: list[str] = []
    for path, result in results.items():
        names = _relative_names(result.table, os.path.relpath(os.path.dirname(path), tree.folder))
        table = _with_column(result.table, FILE_NAME, names)
        if not any(column.lower() in tier for column in table.column_names for tier in LABEL_NAMES):
            table = _with_classes(table, names, start=start, splits=splits)
        for split, rows in _rows_of_splits(names, start=start, splits=splits).items():
            if split is None:
                outside += [names[row] or "" for row in rows]
            else:
                parts.setdefault(split, []).append(table.take(rows))
    warnings = [warning for result in results.values() for warning in result.warnings]
    if outside:
        warnings.append(
            f"{tree.folder}: {len(outside):,} rows of the metadata name images outside the folders of the splits and "
            f"were not used, such as {outside[0]}"
        )
    warnings += _unnamed(tree, parts)
    named = {os.path.normpath(os.path.join(tree.folder, name)) for rows in parts.values() for name in _names_in(rows)}
    without_ending = [path for path in tree.files if os.path.normpath(path) in named]
    warnings += tree.notes(but=(*results, *without_ending))
    class_names = {name: classes for result in results.values() for name, classes in result.class_names.items()}
    ordered = {split: parts[split] for split in ("all", *SPLITS) if split in parts}
    return Metadata(parts=ordered, class_names=class_names, warnings=tuple(warnings))


def _metadata_files(tree: ImageTree) -> list[str]:
    """One a folder: the same rows may be there as CSV and as JSON lines."""
    chosen: dict[str, str] = {}
    for name in reversed(METADATA):
        for path in tree.tables:
            if os.path.basename(path).lower() == name and os.path.isfile(path):
                chosen[os.path.dirname(path)] = path
    return sorted(chosen.values())


def _relative_names(table: pa.Table, folder: str) -> list[str | None]:
    import pyarrow as pa

    cells = table.column(FILE_NAME).cast(pa.large_string()).to_pylist()
    plain = (cell.strip().replace("\\", "/") if cell else "" for cell in cells)
    return [os.path.normpath(os.path.join(folder, cell)) if cell else None for cell in plain]


def _with_column(table: pa.Table, name: str, values: Sequence[str | None]) -> pa.Table:
    import pyarrow as pa

    column = pa.array(values, pa.string())
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)


def _steps(name: str | None, start: str) -> list[str]:
    """The folders on the way to an image, from the one that holds the classes or splits."""
    return [] if name is None else os.path.dirname(os.path.relpath(name, start)).split(os.sep)


def _rows_of_splits(
    names: Sequence[str | None], *, start: str, splits: Mapping[str, str]
) -> dict[str | None, list[int]]:
    """The rows of each split, by the folder of the image; None for those in none, though there are splits."""
    if not splits:
        return {"all": list(range(len(names)))}
    split_of = {name: split for split, name in splits.items()}
    rows: dict[str | None, list[int]] = {}
    for row, name in enumerate(names):
        first = next(iter(_steps(name, start)), "")
        rows.setdefault(split_of.get(first), []).append(row)
    return rows


def _with_classes(table: pa.Table, names: Sequence[str | None], *, start: str, splits: Mapping[str, str]) -> pa.Table:
    """A column ``label`` of the folders that the images lie in, where all lie in class folders, two at least."""
    depth = 1 if splits else 0
    steps = [_steps(name, start)[depth:] for name in names if name is not None]
    if not all(steps) or len({step[0] for step in steps} - {""}) < 2 or any(not step[0] for step in steps):
        return table
    classes = iter([shown_name(step[0]) for step in steps])
    return _with_column(table, "label", [None if name is None else next(classes) for name in names])


def _names_in(tables: Sequence[pa.Table]) -> Iterator[str]:
    """What the cells of the column of paths name."""
    for table in tables:
        yield from filter(None, table.column(FILE_NAME).to_pylist())


def _unnamed(tree: ImageTree, parts: Mapping[str, Sequence[pa.Table]]) -> Iterator[str]:
    """A warning that counts the images which no row names."""
    named = {
        os.path.normpath(os.path.join(tree.folder, name)).casefold()
        for tables in parts.values()
        for name in _names_in(tables)
    }
    named |= {os.path.splitext(name)[0] for name in named if os.path.splitext(name)[1] == ""}
    left = [path for path in tree.images if os.path.normpath(path).casefold() not in named]
    left = [path for path in left if os.path.splitext(os.path.normpath(path).casefold())[0] not in named]
    if left:
        were = (
            "image is not named in the metadata and was"
            if len(left) == 1
            else ("images are not named in the metadata and were")
        )
        yield f"{tree.folder}: {len(left):,} {were} not used, such as {shown_name(left[0])}"
