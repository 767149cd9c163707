"""Labelled texts or images of any kind -> `TargetData`: columns read, rows checked, classes named, splits made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from advisor.data.classes import check_texts, name_classes
from advisor.data.column_kinds import column_of_splits
from advisor.data.columns import Columns, choose_columns
from advisor.data.divide import divide_rows
from advisor.data.image_paths import ImageFinder, column_of_ids, refuse_root
from advisor.data.numbers_target import are_fractions, divide_numbers
from advisor.data.options import REGRESSION, DataOptions
from advisor.data.read import (
    missing_file,
    read_data,
    read_images_of_folder,
    read_path,
    tables_of_rows,
)
from advisor.data.rows import (
    as_column_name,
    drop_incomplete,
    gather_rows,
    has_no_labels,
    names_paths,
    one_foreign_label,
    shortened,
)
from advisor.data.sentences import holds_sentences
from advisor.data.several import cells_as_lists, labels_as_lists
from advisor.data.several_target import divide_several
from advisor.data.splits import (
    SPLITS,
)
from advisor.data.tables import Tables
from advisor.data.tagged_target import load_tagged
from advisor.data.target import TargetData
from tuner.errors import DataError, OptionError


def load_target(data: Any, options: DataOptions | None = None) -> TargetData:
    """Read, check and divide a dataset.

    `data` is a path, a hub id, ``example:NAME``, a data frame, a `datasets` object, (texts, labels) or (images,
    labels); a column of images may hold paths relative to the table's folder, which lead out of it only into
    ``images_root`` (`advisor.data.image_paths`). Given splits are used; what is missing of test and validation is
    carved out of the training rows, stratified by class, with copies of a text (and, with ``group``, all rows of a
    group) on one side. A class with too few texts raises, unless ``drop_rare`` leaves such classes out. Labels may be
    numbers to predict (`advisor.data.numbers_target`). Tagged
    sentences (`advisor.data.sentences.holds_sentences`) are divided by `advisor.data.tagged_target.load_tagged`.

    Rows may have several labels: lists, texts with a ``label_separator``, or columns of 0 and 1, which are recognised
    or named with commas between (`advisor.data.several`).

    Args:
        data: what is read.
        options: what is said of it; by default all is found out from the data.

    Raises:
        TransferError: for everything that a user can put right.
    """
    options = options or DataOptions()
    text, image, label, group, text_pair = map(
        as_column_name, (options.text, options.image, options.label, options.group, options.text_pair)
    )
    options = replace(options, text=text, image=image, label=label, group=group, text_pair=text_pair)
    tables = read_data(data, header=options.header, names=options.columns)
    if holds_sentences(tables, text=text, label=label):
        return load_tagged(tables, options)
    tables = tables_of_rows(tables, split=options.split)
    test, images_root = options.test, options.images_root
    tables = _with_test(tables, test, header=options.header) if test is not None else tables
    first = next(iter(tables.parts))
    finders = _finders(tables, images_root)
    if image is None and text is None and text_pair is None:
        image = column_of_ids(tables.parts[first], finder=finders[first])
    taken = [name for name in (text, text_pair, image, group) if name is not None]
    tables, lists = labels_as_lists(tables, label=label, taken=taken, separator=options.label_separator)
    columns = choose_columns(
        tables.parts[first], place=tables.place, text=text, text_pair=text_pair, image=image, label=lists or label,
        group=group, images=True, several=lists is not None,
    )  # fmt: skip
    assert columns.label is not None
    several = lists is not None
    if not several:
        tables, several = cells_as_lists(tables, columns.label, separator=options.label_separator)
    if test is not None:
        _check_test_labels(tables, columns, test)
    if images_root is not None and not names_paths(tables, columns.image):
        refuse_root(images_root)
    rows = gather_rows(tables, columns, finders)
    for note in _unused_splits(tables, columns):
        rows = rows.warn(note)
    del tables
    rows = drop_incomplete(rows)
    fractions = options.task is None and not rows.class_names and not several and are_fractions(rows.labels)
    if options.task == REGRESSION or fractions:
        check_texts(rows)
        return divide_numbers(rows, seed=options.seed)
    rows = rows if several else name_classes(rows)
    check_texts(rows)
    divide = divide_several if several else divide_rows
    return divide(rows, drop_rare=options.drop_rare, seed=options.seed)


def _with_test(tables: Tables, test: str | Path, *, header: bool | None) -> Tables:
    path = Path(test).expanduser()
    result = read_images_of_folder(path) if path.is_dir() else None
    if path.is_dir() and (result is None or "all" not in result.parts):
        raise OptionError(
            f"--test {path} is a folder",
            why="the winner is scored on the rows of one file",
            fix="pass a table with labels, such as test.csv, or a DATA folder that holds train.* and test.*",
        )
    if result is None:
        if not path.exists():
            raise missing_file(path)
        names = [] if tables.without_header else next(iter(tables.parts.values())).column_names
        result = read_path(path, header=False if tables.without_header else header, names=names)
    rows = result.parts.get("test", next(iter(result.parts.values())))
    parts = dict(tables.parts)
    parts["train"] = parts.pop("all") if "all" in parts else parts["train"]
    warnings = (*tables.warnings, *result.warnings)
    if "test" in parts:
        warnings = (*warnings, f"the test split of {tables.place} was replaced by {path.name}")
    parts["test"] = rows
    ordered = {name: parts[name] for name in SPLITS if name in parts}
    return replace(
        tables,
        parts=ordered,
        held={**tables.held, **result.held},
        test_folder=result.folder,
        class_names={**result.class_names, **tables.class_names},
        warnings=warnings,
    )


def _check_test_labels(tables: Tables, columns: Columns, test: str | Path) -> None:
    """A test file that the user names must have labels; a test split without them, as contests have, is left out."""
    assert columns.label is not None
    table = tables.parts["test"]
    mask = one_foreign_label(table, tables, columns.label)
    if columns.label not in table.column_names or mask is not None or has_no_labels(table, columns.label, tables):
        raise DataError(
            f"{test} has no labels in a column '{columns.label}'"
            + (f": every row holds '{shortened(mask)}', which no training row does" if mask else ""),
            why="the winner is scored on its rows",
            fix="pass a test file with the same columns, or omit --test: rows of the data are then held out",
        )


def _finders(tables: Tables, root: str | Path | None) -> dict[str, ImageFinder]:
    """What finds the images that the cells of each split name."""
    finders = {
        split: ImageFinder(
            folder=tables.folder, root=root, confined=tables.confined, split=None if split == "all" else split
        )
        for split in tables.parts
    }
    if tables.test_folder is not None and "test" in finders:
        finders["test"] = ImageFinder(folder=tables.test_folder, root=root, confined=True)
    return finders


def _unused_splits(tables: Tables, columns: Columns) -> Iterator[str]:
    """A warning where one table says in a column which split each row is of, since new splits are made all the same."""
    found = column_of_splits(tables.parts["all"]) if set(tables.parts) == {"all"} else None
    if found is not None and found[0] not in (columns.label, columns.group, columns.text, columns.text_pair):
        name, splits = found
        yield (
            f"column '{name}' of {tables.place} names splits ({', '.join(splits)}) and was not used: new splits are "
            "made of all rows; to keep those, save each as a file (train.csv, test.csv) and pass their folder"
        )
