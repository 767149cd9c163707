"""Labelled texts or images of any kind -> `TargetData`: columns read, rows checked, classes named, splits made."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from advisor.cautions import joined_labels_note
from advisor.column_kinds import column_of_splits
from advisor.columns import Columns, choose_columns, several_labels
from advisor.fasttext import is_fasttext
from advisor.files import is_nested
from advisor.image_folders import list_images
from advisor.image_paths import ImageFinder, column_of_ids, path_references, refuse_root
from advisor.images import (
    IMAGE_SUFFIXES,
    EncodedColumn,
    Held,
    contents_of,
    images_column,
    is_reference,
    name_of,
    pictures_of,
    references_in,
)
from advisor.missing import MISSING_TEXT, is_missing_text, missing_labels
from advisor.splits import (
    FEWEST_TRAINING_ROWS,
    SPLITS,
    carve_missing,
    ids_per_class,
    kept_together,
    labels_per_text,
    leakage_note,
    leaks,
    number_texts,
    percent_of,
    repeats_note,
    sentence_units,
    shared_groups,
    with_article,
    without_leaks,
)
from advisor.tables import (
    Tables,
    concatenate,
    is_table_folder,
    loaded_from_hub,
    missing_file,
    read_images_of_folder,
    read_path,
    read_tables,
)
from advisor.tagged import is_tagged, read_literal
from tuner.errors import DataError, OptionError, did_you_mean
from tuner.given import plain_list, plain_value
from tuner.pairs import BETWEEN, paired
from tuner.pictures import Pictures, is_one_picture

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LONGEST_SHOWN = 300
_SPLIT_ATTEMPTS = 20  # groups that hold several classes may leave one of them without training rows


@dataclass(frozen=True, kw_only=True)
class TargetData:
    """The user's labelled dataset, checked and divided.

    ``texts`` and ``labels`` hold every usable row (n of them), and texts that are equal but for capitals, white space
    and forms of characters share their ``text_ids``; ``train``,
    ``validation`` and ``test`` are positions in them. Rows of ``train`` or ``validation`` whose text also occurs in a
    later split stand in no split: they are left out so that scores are not flattered.

    Of image data (``kind`` is "image") ``texts`` holds references, each a path or a place in what is ``held`` in
    memory; images of equal content share their ``text_ids``, and `pictures_at` opens them.

    Of tagged sentences (``task`` is "token_classification") ``texts`` are the words joined by spaces, ``words`` and
    ``tags`` hold n tuples of words and (words,) positions in ``class_names``, whose first is "O", and ``labels`` (n,)
    only say what was spread over splits, and is over samples: 0 for no entity, else a number for the rarest type.
    """

    name: str
    kind: str = "text"
    task: str = "sequence_classification"
    texts: pd.Series = field(repr=False)
    held: Held = field(default_factory=dict, repr=False)
    words: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    tags: tuple[NDArray[np.int64], ...] = field(default=(), repr=False)
    scheme: str | None = None
    text_ids: NDArray[np.int32] = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    class_names: tuple[str, ...]
    groups: NDArray[np.int32] | None = field(default=None, repr=False)
    train: NDArray[np.int64] = field(repr=False)
    validation: NDArray[np.int64] = field(repr=False)
    test: NDArray[np.int64] = field(repr=False)
    columns: Mapping[str, str | None]
    given_splits: tuple[str, ...] = ()
    n_duplicates: int = 0  # rows beyond the first of each exact text
    n_conflicting: int = 0  # texts with more than one label
    n_leaked: int = 0  # rows of validation or test whose text also occurs in train
    n_dropped: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fingerprint: str

    @property
    def tagged(self) -> bool:
        """Whether words are labelled rather than whole rows."""
        return self.task == "token_classification"

    @property
    def n_examples(self) -> int:
        """Number of usable rows, all splits together."""
        return len(self.labels)

    @property
    def n_classes(self) -> int:
        """Number of classes; of tagged sentences of different tags."""
        return len(self.class_names)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Rows of each class, or words of each tag, in the order of ``class_names``."""
        labels = np.concatenate(self.tags) if self.tagged else self.labels
        return np.bincount(labels, minlength=len(self.class_names))

    def tags_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> list[list[str]]:
        """The tags of the sentences at these positions, by name."""
        return [[self.class_names[number] for number in self.tags[int(row)]] for row in positions]

    def kept_together(self, positions: NDArray[np.integer[Any]]) -> NDArray[np.int32] | None:
        """Numbers of the rows that folds must not part, equal texts and groups; None where each row stands alone."""
        groups = None if self.groups is None else self.groups[positions]
        if self.tagged and groups is not None:
            return sentence_units(self.text_ids[positions], groups)
        units = kept_together(self.text_ids[positions], groups)
        return units if groups is not None or len(np.unique(units)) < len(units) else None

    def texts_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> list[str]:
        """The texts at these positions, as a list."""
        return list(self.texts.iloc[np.asarray(positions)])

    def pictures_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> Pictures:
        """The images at these positions, decoded when they are asked for."""
        return pictures_of(self.texts_at(positions), held=self.held)

    def rows_at(
        self, positions: Sequence[int] | NDArray[np.integer[Any]]
    ) -> list[str] | list[tuple[str, ...]] | Pictures:
        """What a model is fed: the texts, the words of the sentences, or the images at these positions."""
        if self.tagged:
            return [self.words[int(row)] for row in positions]
        return self.pictures_at(positions) if self.kind == "image" else self.texts_at(positions)


def load_target(
    data: Any,
    *,
    text: str | None = None,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    text_pair: str | None = None,
    split: str | None = None,
    test: str | Path | None = None,
    images_root: str | Path | None = None,
    drop_rare: bool = False,
    header: bool | None = None,
    seed: int = 0,
) -> TargetData:
    """Read, check and divide a dataset.

    `data` is a path, a hub id, ``example:NAME``, a data frame, a `datasets` object, (texts, labels) or (images,
    labels); `image` names a column of images, or of paths relative to the table's folder, which lead out of it only
    into `images_root` (`advisor.image_paths`). Given splits are used; what is missing of test and validation is carved
    out of the training rows, stratified by class, with
    copies of a text (and, with `group`, all rows of a group) on one side. A class with too few texts raises, unless
    `drop_rare` leaves such classes out. Tagged sentences (`advisor.tagged.is_tagged`) are read and divided by
    `advisor.tagged_target.load_tagged`. Everything a user can put right raises a `TransferError`.
    """
    text, image, label, group, text_pair = map(_column_name, (text, image, label, group, text_pair))
    data = loaded_from_hub(data)
    if is_tagged(data, text=text, label=label):
        from advisor.tagged_target import load_tagged

        other = {
            "text-pair": text_pair, "image": image, "images-root": images_root, "drop-rare": drop_rare,
            "no-header": header is False,
        }  # fmt: skip
        return load_tagged(data, text=text, label=label, group=group, split=split, test=test, seed=seed, refused=other)
    named = [name for name in (text, text_pair, image, label, group) if name is not None]
    tables = read_tables(data, split=split, header=header, names=named)
    tables = _with_test(tables, test, header=header) if test is not None else tables
    first = next(iter(tables.parts))
    finders = _finders(tables, images_root)
    if image is None and text is None and text_pair is None:
        image = column_of_ids(tables.parts[first], finder=finders[first])
    columns = choose_columns(
        tables.parts[first], place=tables.place, text=text, text_pair=text_pair, image=image, label=label, group=group,
        images=True,
    )  # fmt: skip
    if test is not None:
        _check_test_labels(tables, columns, test)
    if images_root is not None and not _names_paths(tables, columns.image):
        refuse_root(images_root)
    rows = _gather(tables, columns, finders)
    for note in _unused_splits(tables, columns):
        rows = rows.warn(note)
    del tables
    rows = _drop_incomplete(rows)
    rows = _name_classes(rows)
    _check_texts(rows)
    return _divide(rows, drop_rare=drop_rare, seed=seed)


def read_texts(data: Any, *, text: str | None = None, text_pair: str | None = None) -> tuple[list[str], str]:
    """The texts of a file or object, and their column's name; as `read_new_texts`, which also has warnings."""
    return read_new_texts(data, text=text, text_pair=text_pair)[:2]


def read_new_texts(
    data: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    header: bool | None = None,
    names: Sequence[str] = (),
) -> tuple[list[str], str, tuple[str, ...]]:
    """The texts of a file or object without need of labels, in its order and none dropped, their column, and warnings.

    A ``.txt`` file is one text a line, a folder of text files one text a file, sorted by path; a list of strings is
    taken as it is; of several splits, the test split. Missing texts are empty strings, which `notes_on_texts` counts.
    With `text_pair`, the column of second texts, or a list of (text, text), they are pairs (`tuner.pairs`). `header`
    says whether the first line of a file names its columns, and `names` which are known to be there (`read_file`).
    """
    text, text_pair = _column_name(text), _column_name(text_pair)
    if isinstance(data, Iterator) or type(data).__name__ in ("Series", "Index", "ndarray", "Column"):
        data = plain_list(data)
    if (
        isinstance(data, (list, tuple))
        and data
        and all(isinstance(value, str | None) for value in map(plain_value, data))
    ):
        return [plain_value(value) or "" for value in data], "text", ()
    if isinstance(data, list) and data and all(_is_pair(item) for item in data):
        return [paired(first or "", second or "") for first, second in data], "text", ()
    if isinstance(data, (str, Path)) and Path(data).suffix.lower() == ".txt":
        path = Path(data).expanduser()
        if not path.is_file():
            raise missing_file(path)
        if text is None and text_pair is None and header is None:
            lines = _read_lines(path)
            if not is_fasttext("\n".join(lines)):
                return lines, "line", ()
        elif text_pair is not None and text_pair not in _read_lines(path)[0]:
            raise DataError(
                f"{path} holds a text a line, and a pair needs two columns",
                why=f"the second text of a pair is read in a column '{text_pair}'",
                fix="pass a CSV, JSONL or Parquet file with a column for each of the two texts",
            )
    known = [name for name in (text, text_pair) if name is not None]
    tables = read_tables(data, header=header, names=[*known, *names], labelled=False)
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    column = text
    if column is None and table.num_columns == 1:
        column = table.column_names[0]
    chosen = choose_columns(table, place=tables.place, text=column, text_pair=text_pair, labelled=False)
    texts = _without_markers(table.column(chosen.content))
    if text_pair is not None:
        seconds = _without_markers(table.column(text_pair))
        texts = [paired(first, second) for first, second in zip(texts, seconds, strict=True)]
    return texts, chosen.content, tables.warnings


def _column_name(name: Any) -> str | None:
    """A column's name as a text: of frames it may be a number."""
    return None if name is None else str(name)


def _without_markers(column: pa.ChunkedArray) -> list[str]:
    """The texts of a column, those that are missing or stand for it empty."""
    return ["" if value is None or is_missing_text(value) else value for value in column.to_pylist()]


def _is_pair(item: Any) -> bool:
    """Two texts, of which one may be missing."""
    pair = isinstance(item, (list, tuple)) and len(item) == 2
    return pair and any(item) and all(part is None or isinstance(part, str) for part in item)


def notes_on_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """How many texts hold nothing, or pairs in one of their texts, said; nothing where all are filled.

    >>> notes_on_texts(["a film", " ", ""])
    ('2 of 3 texts are empty: they are labelled all the same, and their labels say little',)
    >>> notes_on_texts([paired("a film", ""), paired("a film", "a cat")])
    ('1 of 2 pairs lacks a text: it is labelled all the same, and its label says little',)
    """
    n = sum(not all(part.strip().strip("\u200b\ufeff").strip() for part in text.split(BETWEEN)) for text in texts)
    if not n:
        return ()
    pairs = any(BETWEEN in text for text in texts)
    what = ("lacks a text" if n == 1 else "lack a text") if pairs else ("is empty" if n == 1 else "are empty")
    labelled = "they are labelled all the same, and their labels say little"
    if n == 1:
        labelled = "it is labelled all the same, and its label says little"
    return (f"{n:,} of {len(texts):,} {'pairs' if pairs else 'texts'} {what}: {labelled}",)


def read_images(
    data: Any, *, image: str | None = None, images_root: str | Path | None = None, header: bool | None = None
) -> tuple[Pictures, list[str], tuple[str, ...]]:
    """The images of a folder, file or object without need of labels, in its order and none dropped, their names, and
    warnings.

    `data` is an image file, a folder of images however deep, an array, a list of paths, arrays or PIL images, or a
    table with a column of images or of paths, `image`, which lead out of the table's folder only into `images_root`; of
    several splits, the test split. Raises `DataError` where there are no images, `MissingFileError` for a path that
    does not exist.
    """
    image = _column_name(image)
    given = _images_alone(data) if image is None else None
    if given is None:
        given = _images_of_tables(read_tables(data, header=header), image=image, images_root=images_root)
    else:
        refuse_root(images_root)
    column, held, warnings = given
    references = ["" if name is None else name for name in column.to_pylist()]
    if not references:
        raise DataError("there are no images", why="the list is empty", fix="pass at least one image")
    return pictures_of(references, held=held), [name_of(name, held=held) for name in references], warnings


def _images_alone(data: Any) -> tuple[pa.ChunkedArray, Held, tuple[str, ...]] | None:
    """References to images that come without a table: a file, a folder, a list or an array; None of anything else."""
    warnings: tuple[str, ...] = ()
    if isinstance(data, (str, Path)):
        path = Path(data).expanduser()
        if path.is_dir() and not is_table_folder(path):
            column, held, warnings = list_images(path)
        elif path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            column, held = images_column([path], place=str(path))
        else:
            return None
    elif is_one_picture(data):
        column, held = images_column([data], place="the image")
    elif isinstance(data, list) or getattr(data, "ndim", 0) >= 3 or type(data).__name__ == "Series":
        column, held = images_column(data, place="the images")
    else:
        return None
    return references_in(column), held, warnings


def _images_of_tables(
    tables: Tables, *, image: str | None, images_root: str | Path | None
) -> tuple[pa.ChunkedArray, Held, tuple[str, ...]]:
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    finder = ImageFinder(folder=tables.folder, root=images_root, confined=tables.confined)
    image = image or column_of_ids(table, finder=finder)
    chosen = choose_columns(table, place=tables.place, image=image, labelled=False, images=True)
    if chosen.image is None:
        raise DataError(
            f"{tables.place} holds no images",
            why="no column holds images or paths to them",
            fix=f"pass --image with one of: {', '.join(table.column_names)}",
        )
    if images_root is not None and not _names_paths(tables, chosen.image):
        refuse_root(images_root)
    column = path_references(table.column(chosen.image), finder=finder, place=tables.place, name=chosen.image)
    return column, _held_within(tables.held, finder, place=tables.place), tables.warnings


def _read_lines(path: Path) -> list[str]:
    try:
        # Not splitlines: a line separator inside a text (U+2028, a form feed) is no new row.
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start:,})",
            why="each of its lines is taken as a text",
            fix="save it as UTF-8, or pass a CSV, JSONL or Parquet file",
        ) from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} is empty", why="each of its lines is taken as a text", fix="pass a file with texts")
    return lines


# --- rows of all splits, one below the other


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows on their way to `TargetData`. ``split`` indexes `SPLITS`; -1 are rows that nobody divided yet."""

    name: str
    place: str
    columns: Columns
    texts: pa.ChunkedArray  # or references to images
    contents: NDArray[np.uint64] | None  # of images: equal content, equal number; 0 is not there
    held: Held
    folder: str
    labels_are_names: bool
    labels: Any  # Arrow values first, class numbers once the classes are named
    class_names: tuple[str, ...]  # of a ClassLabel column at first
    groups: NDArray[np.int32] | None
    split: NDArray[np.int8]
    given_splits: tuple[str, ...]
    n_dropped: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def noun(self) -> str:
        """What is classified."""
        return "text" if self.contents is None else "image"

    def keep(self, mask: NDArray[np.bool_], *, reason: str) -> _Rows:
        """Only the rows where `mask` holds; the others are counted under `reason`."""
        import pyarrow as pa

        if mask.all():
            return self
        selected = pa.array(mask)
        n_lost = int(len(mask) - mask.sum())
        return replace(
            self,
            texts=self.texts.filter(selected),
            contents=None if self.contents is None else self.contents[mask],
            labels=self.labels[mask] if isinstance(self.labels, np.ndarray) else self.labels.filter(selected),
            groups=None if self.groups is None else self.groups[mask],
            split=self.split[mask],
            n_dropped={**self.n_dropped, reason: self.n_dropped.get(reason, 0) + n_lost},
        )

    def warn(self, message: str) -> _Rows:
        return replace(self, warnings=(*self.warnings, message))


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
    mask = _one_foreign_label(table, tables, columns.label)
    if columns.label not in table.column_names or mask is not None or _has_no_labels(table, columns.label, tables):
        raise DataError(
            f"{test} has no labels in a column '{columns.label}'"
            + (f": every row holds '{_short(mask)}', which no training row does" if mask else ""),
            why="the winner is scored on its rows",
            fix="pass a test file with the same columns, or leave --test away: rows of the data are then held out",
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


def _names_paths(tables: Tables, image: str | None) -> bool:
    """Whether a column holds paths of images, or some of the encoded images in it may be paths."""
    if image is None:
        return False
    columns = (table.column(image) for table in tables.parts.values() if image in table.column_names)
    encoded = any(isinstance(items, EncodedColumn) for items in tables.held.values())
    return encoded or any(not is_reference(column.type) for column in columns)


def _held_within(held: Held, finder: ImageFinder, *, place: str) -> Held:
    """What is held, where paths among encoded images are those that the table may name."""
    if not finder.confined:
        return held
    return {
        name: items.with_paths(lambda path: finder.find_one(path, place=place))
        if isinstance(items, EncodedColumn)
        else items
        for name, items in held.items()
    }


def _gather(tables: Tables, columns: Columns, finders: Mapping[str, ImageFinder]) -> _Rows:
    """The columns that are read, all splits below each other. A split without labels cannot be used and is left out."""
    assert columns.label is not None
    asked = (columns.content, columns.text_pair, columns.label, columns.group)
    wanted = [name for name in asked if name is not None]
    chosen: dict[str, pa.Table] = {}
    warnings = list(tables.warnings)
    for split, table in tables.parts.items():
        missing = [name for name in wanted if name not in table.column_names]
        if split not in ("all", "train"):
            if missing == [columns.label] or _has_no_labels(table, columns.label, tables):
                warnings.append(f"the {split} split of {tables.place} has no labels: it was not used")
                continue
            if (mask := _one_foreign_label(table, tables, columns.label)) is not None:
                warnings.append(
                    f"the {split} split of {tables.place} has no labels: every row holds '{_short(mask)}', which no "
                    "training row does; it was not used"
                )
                continue
        if missing:
            raise DataError(
                f"the {split} split of {tables.place} has no column '{missing[0]}'."
                + did_you_mean(missing[0], table.column_names),
                why=f"it is read in the other splits; this one has: {', '.join(table.column_names)}",
                fix="give the columns the same names in every split",
            )
        chosen[split] = table.select(list(dict.fromkeys(wanted)))
        if columns.image is not None:
            chosen[split] = _with_references(chosen[split], columns.image, finder=finders[split], place=tables.place)
    held = _held_within(tables.held, next(iter(finders.values())), place=tables.place)
    together = concatenate(chosen.values(), place=tables.place)
    content = _content(together, columns)
    contents = None if columns.image is None else contents_of(content.to_pylist(), held=held)
    numbers = [-1 if split == "all" else SPLITS.index(split) for split in chosen]
    return _Rows(
        name=tables.name,
        place=tables.place,
        columns=columns,
        texts=content,
        contents=contents,
        held={} if columns.image is None else held,
        folder=tables.folder,
        labels_are_names=tables.labels_are_names,
        labels=together.column(columns.label),
        class_names=tables.class_names.get(columns.label, ()),
        groups=None if columns.group is None else _group_numbers(together.column(columns.group)),
        split=np.repeat(np.array(numbers, np.int8), [table.num_rows for table in chosen.values()]),
        given_splits=tuple(split for split in chosen if split != "all"),
        n_dropped={},
        warnings=tuple(warnings),
    )


def _with_references(table: pa.Table, column: str, *, finder: ImageFinder, place: str) -> pa.Table:
    position = table.column_names.index(column)
    found = path_references(table.column(column), finder=finder, place=place, name=column)
    return table.set_column(position, column, found)


def _has_no_labels(table: pa.Table, label: str, tables: Tables) -> bool:
    """Whether a split's labels are masked: all missing or blank, or all -1 where the classes have names."""
    import pyarrow.compute as pc

    if label not in table.column_names:
        return False
    column = table.column(label)
    if column.null_count == len(column):
        return True
    if _is_text(column.type):
        values = {value.strip() for value in pc.unique(column).to_pylist() if value is not None}
        return values <= missing_labels(values)
    return label in tables.class_names and bool((pc.max(column).as_py() or 0) < 0)


def _one_foreign_label(table: pa.Table, tables: Tables, label: str) -> str | None:
    """The label that all rows of a split have and no training row has, as -1 of unlabelled ones; else None."""
    training = tables.parts.get("train", tables.parts.get("all"))
    if training is None or label not in table.column_names or label not in training.column_names:
        return None
    if is_nested(table.schema.field(label).type) or is_nested(training.schema.field(label).type):
        return None
    own = _written(table.column(label))
    return next(iter(own)) if len(own) == 1 and not own & _written(training.column(label)) else None


def _written(column: pa.ChunkedArray) -> set[str]:
    """The different labels of a column as texts, so that 1, 1.0 and "1" are one."""
    import pyarrow.compute as pc

    found = set()
    for value in pc.unique(column).to_pylist():
        text = "" if value is None else str(value).strip()
        number = re.fullmatch(r"(-?\d+)\.0*", text)
        found.add(number[1] if number else text)
    return found - missing_labels(found)


def _content(table: pa.Table, columns: Columns) -> pa.ChunkedArray:
    """The texts, of pairs both in one (`tuner.inputs.paired`), missing where one of them is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first = _without_mark(_as_large_text(table.column(columns.content)))
    if columns.text_pair is None:
        return first
    both = (first, _without_mark(_as_large_text(table.column(columns.text_pair))))
    filled = [pc.if_else(pc.match_substring_regex(texts, MISSING_TEXT), None, texts) for texts in both]
    return pc.binary_join_element_wise(*filled, pa.scalar(BETWEEN, pa.large_string()))


def _without_mark(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts without what stands between those of a pair; copied only where it occurs."""
    import pyarrow.compute as pc

    found = pc.any(pc.match_substring(column, BETWEEN)).as_py()
    return pc.replace_substring(column, BETWEEN, " ") if found else column


def _as_large_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """64-bit offsets, the type pandas uses: the bytes of the texts are shared, not copied."""
    import pyarrow as pa

    return column.cast(pa.large_string())


def _group_numbers(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """A number for each group; rows without one are groups of their own."""
    import pyarrow.compute as pc

    if _is_text(column.type):
        column = pc.if_else(pc.match_substring_regex(column, MISSING_TEXT), None, column)
    encoded = pc.dictionary_encode(column.combine_chunks())
    numbers: NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(encoded.dictionary) + np.arange(len(alone), dtype=np.int32)
    return numbers


def _rows_left_out(part: int, whole: int) -> str:
    return f"{part:,} {'row was' if part == 1 else 'rows were'} left out ({percent_of(part, whole)})"


def _drop_incomplete(rows: _Rows) -> _Rows:
    """Leave out rows without a label or a text, counted; most labels or all texts missing raises."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(rows.split)
    labels = rows.labels
    markers: list[str] = []
    if _is_text(labels.type):
        labels = pc.utf8_trim_whitespace(labels)
        if not rows.labels_are_names:
            found = missing_labels(value for value in pc.unique(labels).to_pylist() if value is not None)
            markers = sorted(found - {""})
        labelled = pc.invert(pc.is_in(labels, pa.array([None, "", *markers], labels.type)))
    elif pa.types.is_floating(labels.type):
        labelled = pc.fill_null(pc.invert(pc.is_nan(labels)), False)
    elif rows.class_names and pa.types.is_integer(labels.type):
        labelled = pc.fill_null(pc.greater_equal(labels, 0), False)
    else:
        labelled = pc.is_valid(labels)
    rows = replace(rows, labels=labels)
    has_label = np.asarray(labelled)
    n_missing = int(n - has_label.sum())
    if n_missing > n / 2:
        raise DataError(
            f"{rows.place}: {n_missing:,} of {n:,} rows have no label in column '{rows.columns.label}'"
            + (f", but {' or '.join(map(repr, markers))}" if markers else ""),
            why="advice from the few labelled rows would not be about this dataset",
            fix="label more rows, pass only the labelled ones, or name another column with --label",
        )
    if rows.contents is not None:
        _check_images_are_there(rows)
        has_text = rows.contents > 0
    else:
        has_text = ~np.asarray(pc.fill_null(pc.match_substring_regex(rows.texts, MISSING_TEXT), True))
    if not has_text.any():
        raise DataError(
            f"{rows.place}: all texts in column '{rows.columns.text}' are empty",
            why="there is nothing to classify",
            fix="pass --text with the column that holds the texts",
        )
    n_empty = int((has_label & ~has_text).sum())
    if n_missing:
        held = ""
        if markers:
            are = "is" if len(markers) == 1 else "are"
            held = (
                f": {' and '.join(map(repr, markers))} in column '{rows.columns.label}' {are} read as missing; a class "
                "that is called so needs another name, such as 'no answer'"
            )
        rows = rows.warn(f"{_rows_left_out(n_missing, n)} for want of a label{held}")
    if n_empty:
        such = _missing_texts(rows, has_label & ~has_text)
        if rows.contents is not None:
            such = f", such as {_example(rows, has_label & ~has_text)}"
        rows = rows.warn(f"{_rows_left_out(n_empty, n)} for want of {with_article(rows.noun)}{such}")
    rows = rows.keep(has_label, reason="missing_label")
    return rows.keep(has_text[has_label], reason="empty_text" if rows.contents is None else "missing_image")


def _missing_texts(rows: _Rows, mask: NDArray[np.bool_]) -> str:
    """What stands in the texts that are missing, where it is more than blanks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.unique(rows.texts.filter(pa.array(mask))).to_pylist()
    markers = sorted({text for value in values if value and (text := value.strip().strip("\u200b\ufeff").strip())})
    return f", or with nothing but {' or '.join(map(repr, markers[:3]))}" if markers else ""


def _example(rows: _Rows, mask: NDArray[np.bool_]) -> str:
    """The reference of the first of these images."""
    number = int(np.flatnonzero(mask)[0])
    name = rows.texts[number].as_py() or f"row {number + 1:,}"
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."


def _check_images_are_there(rows: _Rows) -> None:
    """Raise where most images are missing: a wrong folder or column, then, rather than a few lost files."""
    assert rows.contents is not None
    missing = rows.contents == 0
    n, n_missing = len(missing), int(missing.sum())
    if 2 * n_missing > n:
        web = "; addresses on the web are not downloaded" if "://" in _example(rows, missing) else ""
        raise DataError(
            f"{rows.place}: {n_missing:,} of {n:,} images in column '{rows.columns.content}' are missing or empty, "
            f"such as {_example(rows, missing)}",
            why=f"paths are taken relative to {rows.folder or 'the current folder'}{web}",
            fix="check the paths, or pass --image with the column that holds them",
        )


# --- classes


def _name_classes(rows: _Rows) -> _Rows:
    """Labels as class numbers. Names are sorted, numbers by value; the names of a `ClassLabel` keep their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = rows.labels
    if rows.class_names and pa.types.is_integer(labels.type):
        numbers = np.asarray(labels).astype(np.int64)
        if numbers.max() >= len(rows.class_names):
            raise DataError(
                f"{rows.place}: label {numbers.max()} in column '{rows.columns.label}' has no name",
                why=f"the column names {len(rows.class_names)} classes, counted from 0",
                fix="repair the dataset's features, or cast the column to plain integers",
            )
        used = np.unique(numbers)
        if len(used) < len(rows.class_names):
            unused = [name for i, name in enumerate(rows.class_names) if i not in set(used.tolist())]
            rows = rows.warn(f"classes without a row were left out: {_listed(unused)}")
        names = tuple(rows.class_names[i] for i in used)
        return _checked_classes(
            replace(rows, labels=np.searchsorted(used, numbers).astype(np.int32), class_names=names)
        )
    labels = labels if rows.labels_are_names else _simplest_type(labels)
    encoded = pc.dictionary_encode(labels.combine_chunks())
    values = encoded.dictionary
    if not rows.labels_are_names:
        _check_label_values(rows, values, np.asarray(encoded.indices))
        if pa.types.is_floating(values.type):
            rows = rows.warn(
                f"column '{rows.columns.label}' holds fractional numbers, which were taken as names of {len(values)} "
                "classes: their order is not learned"
            )
    shown = [_label_name(value) for value in values.to_pylist()]
    by_name = _is_text(values.type)
    if by_name and rows.labels_are_names and all(name.isascii() and name.isdigit() for name in shown):
        order = sorted(range(len(shown)), key=lambda i: (int(shown[i]), shown[i]))  # folders called 1, 2 ... 10
    else:
        order = sorted(range(len(shown)), key=shown.__getitem__) if by_name else np.argsort(np.asarray(values)).tolist()
    rank = np.empty(len(shown), np.int32)
    rank[order] = np.arange(len(shown), dtype=np.int32)
    names = tuple(shown[i] for i in order)
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    alike = [" / ".join(group) for group in folded.values() if len(group) > 1]
    for note in () if rows.labels_are_names else joined_labels_note(names, column=rows.columns.label):
        rows = rows.warn(note)
    if alike:
        rows = rows.warn(f"class names that differ in capitals only are kept apart: {_listed(alike)}")
    return _checked_classes(replace(rows, labels=rank[np.asarray(encoded.indices)], class_names=names))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _simplest_type(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Integers where every label is one (also "3" and 3.0), floats where every label is a number, else as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if _is_text(labels.type):
            if pc.all(pc.match_substring_regex(labels, r"^-?(0|[1-9][0-9]{0,17})$")).as_py():
                return labels.cast(pa.int64())
            if pc.all(pc.match_substring_regex(labels, r"^[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$")).as_py() and not (
                pc.any(pc.match_substring_regex(labels, r"^0[0-9]")).as_py()
            ):
                return _simplest_type(labels.cast(pa.float64()))
            return labels
        if pa.types.is_floating(labels.type) or pa.types.is_decimal(labels.type):
            labels = labels.cast(pa.float64())
            if pc.all(pc.equal(pc.floor(labels), labels)).as_py():
                return labels.cast(pa.int64())
            return labels
        if pa.types.is_integer(labels.type):
            return labels.cast(pa.int64())
    except pa.ArrowInvalid:
        return labels  # numbers beyond 64 bits stay what they were: names
    return labels if pa.types.is_boolean(labels.type) else labels.cast(pa.string())


def _label_name(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_label_values(rows: _Rows, values: pa.Array, codes: NDArray[np.int32]) -> None:
    """Raise where the labels are a quantity, free text, or lists rather than classes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n, n_values = len(codes), len(values)
    column = rows.columns.label
    where = f"{rows.place}: column '{column}'"
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        numbers = np.asarray(values)
        spread = float(numbers.max()) - float(numbers.min()) + 1
        fractional = pa.types.is_floating(values.type)
        many = n_values > 10 if fractional else n_values > 30 and (spread > 2 * n_values or 2 * n_values >= n)
        if many:
            raise DataError(
                f"{where} looks like a quantity to predict: {n_values:,} different "
                f"{'numbers' if fractional else 'integers'} from {numbers.min():g} to {numbers.max():g} in {n:,} rows",
                why="this is classification; regression targets are not supported",
                fix="cut the values into classes (low, middle, high), or name the label column with --label",
            )
        return
    if not _is_text(values.type):
        return
    if n_values and all(_is_written_list(value) for value in values.to_pylist()):
        raise several_labels(str(column), place=rows.place)
    mean_length = float(pc.mean(pc.utf8_length(values)).as_py())
    if n_values > 10 and (n_values > n / 2 or (n_values > n / 5 and mean_length > 40)):
        raise DataError(
            f"{where} looks like free text: {n_values:,} different values in {n:,} rows",
            why="a class needs several rows; these labels are nearly all distinct",
            fix="name the column that holds the classes with --label",
        )


def _is_written_list(label: str) -> bool:
    return label.lstrip().startswith("[") and isinstance(read_literal(label.strip()), list)


def _checked_classes(rows: _Rows) -> _Rows:
    if len(rows.class_names) < 2:
        raise DataError(
            f"{rows.place}: column '{rows.columns.label}' holds one class only, '{_short(rows.class_names[0])}'",
            why="there is nothing to tell apart",
            fix="pass rows of at least two classes, or name another column with --label",
        )
    return rows


def _check_texts(rows: _Rows) -> None:
    import pyarrow.compute as pc

    if rows.contents is not None:
        identical = bool((rows.contents == rows.contents[0]).all())
    else:
        identical = pc.all(pc.equal(rows.texts, rows.texts[0])).as_py()
    if identical:
        raise DataError(
            f"{rows.place}: all {rows.noun}s in column '{rows.columns.content}' are identical",
            why=f"identical {rows.noun}s cannot be told apart, whatever their labels",
            fix=f"pass --{rows.noun} with the column that holds the {rows.noun}s"
            + ("" if rows.noun == "text" else "; of a folder, check the files"),
        )


def _short(name: str, longest: int = 40) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _listed(names: Sequence[str], *, most: int = 5, longest: int = 40) -> str:
    shown = ", ".join(_short(name, longest) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


# --- splits


def _divide(rows: _Rows, *, drop_rare: bool, seed: int) -> TargetData:
    """Take rows that leak out of training, refuse or drop classes that are too small, and carve what is not given."""
    to_carve = tuple(split for split in ("test", "validation") if split not in rows.given_splits)
    text_ids = _content_ids(rows, folded=True)
    rows = replace(rows, split=np.where(rows.split < 0, 0, rows.split).astype(np.int8))
    said = {"place": rows.place, "noun": rows.noun}
    split, n_leaked = without_leaks(rows.split, text_ids, **said)
    n_near = n_leaked - int(leaks(rows.split, _content_ids(rows)).sum())
    small = _too_small(rows, split, text_ids, to_carve=to_carve)
    if small.any():
        if not drop_rare:
            _refuse_small(rows, split, text_ids, small, to_carve=to_carve)
        rows, split, text_ids = _without_classes(rows, split, text_ids, small)
    for attempt in range(_SPLIT_ATTEMPTS):
        units = text_ids if rows.groups is None else rows.groups
        carved = carve_missing(split, units, rows.labels, to_carve=to_carve, seed=(seed, attempt))
        if rows.groups is None or not _untrained(rows, carved).any():
            break
    split = carved
    if rows.groups is not None:
        split, leaked_by_text = without_leaks(split, text_ids, **said)
        n_leaked += leaked_by_text
    _check_divided(rows, split)
    return _finished(rows, split, text_ids, n_leaked=n_leaked, n_near=n_near)


def _content_ids(rows: _Rows, *, folded: bool = False) -> NDArray[np.int32]:
    """A number for each distinct text or image content, in order of first appearance; `folded`: see `fold_text`."""
    import pandas as pd

    if rows.contents is None:
        return number_texts(rows.texts, folded=folded)
    return np.asarray(pd.factorize(rows.contents)[0], np.int32)


def _untrained(rows: _Rows, split: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which classes have no training row."""
    return np.equal(np.bincount(rows.labels[split == 0], minlength=len(rows.class_names)), 0)


def _needed(to_carve: Sequence[str]) -> int:
    return FEWEST_TRAINING_ROWS + len(to_carve)


def _too_small(
    rows: _Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], *, to_carve: Sequence[str]
) -> NDArray[np.bool_]:
    """Classes with too few distinct training texts, or too few groups, to be in every split."""
    train, n_classes = split == 0, len(rows.class_names)
    small = ids_per_class(text_ids[train], rows.labels[train], n_classes) < _needed(to_carve)
    if rows.groups is not None:
        small |= ids_per_class(rows.groups[train], rows.labels[train], n_classes) < 1 + len(to_carve)
    return small


def _refuse_small(
    rows: _Rows,
    split: NDArray[np.int8],
    text_ids: NDArray[np.int32],
    small: NDArray[np.bool_],
    *,
    to_carve: Sequence[str],
) -> NoReturn:
    train = split == 0
    counts = ids_per_class(text_ids[train], rows.labels[train], len(rows.class_names))
    worst = sorted(np.flatnonzero(small).tolist(), key=lambda number: counts[number])
    later = np.bincount(rows.labels[split > 0], minlength=len(counts))
    of_later = " or ".join(name for name in rows.given_splits if name not in ("train", "all"))
    shown = _listed(
        [
            f"'{_short(rows.class_names[number])}' has {counts[number]}"
            + (f" ({later[number]:,} in {of_later} only)" if later[number] and not counts[number] else "")
            for number in worst
        ],
        longest=90,
    )
    n_rows = int(np.isin(rows.labels, worst).sum())
    n_small = len(worst)
    grouped = f", in {1 + len(to_carve)} groups" if rows.groups is not None else ""
    carved = f", 1 for {' and 1 for '.join(to_carve)}" if to_carve else ""
    raise DataError(
        f"{rows.place}: {n_small:,} {'class is' if n_small == 1 else 'classes are'} too small to divide: {shown}",
        why=f"each class needs {_needed(to_carve)} different training {rows.noun}s{grouped}: {FEWEST_TRAINING_ROWS} "
        f"to learn from{carved}",
        fix=f"add rows, or pass --drop-rare to leave {'it' if n_small == 1 else 'them'} out ({n_rows:,} rows)",
    )


def _without_classes(
    rows: _Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], small: NDArray[np.bool_]
) -> tuple[_Rows, NDArray[np.int8], NDArray[np.int32]]:
    """Leave the classes out in all splits and number the others anew."""
    kept = np.flatnonzero(~small)
    if len(kept) < 2:
        raise DataError(
            f"{rows.place}: without the classes that are too small, {len(kept)} of {len(rows.class_names)} remain",
            why=f"at least two classes are needed, each with enough different {rows.noun}s",
            fix="add rows, or name another column with --label",
        )
    dropped = [name for name, is_small in zip(rows.class_names, small.tolist(), strict=True) if is_small]
    mask = ~small[rows.labels]
    rows = rows.keep(mask, reason="rare_class").warn(
        f"{_rows_left_out(int((~mask).sum()), len(mask))} with their rare classes: {_listed(dropped)}"
    )
    rows = replace(
        rows,
        labels=np.searchsorted(kept, rows.labels).astype(np.int32),
        class_names=tuple(rows.class_names[number] for number in kept),
    )
    return rows, split[mask], text_ids[mask]


def _check_divided(rows: _Rows, split: NDArray[np.int8]) -> None:
    """Raise where a class is in no training row, which groups that cannot be parted may bring about."""
    absent = [rows.class_names[number] for number in np.flatnonzero(_untrained(rows, split))]
    empty = [name for number, name in enumerate(SPLITS) if not (split == number).any()]
    if empty and rows.groups is None:
        raise DataError(
            f"the {empty[0]} split of {rows.place} has no usable rows left",
            why=f"every row of it lacks {with_article(rows.noun)} or a label, or repeats one of a later split",
            fix="repair the split, or leave it out: rows of the data are then held out instead",
        )
    if absent or empty:
        raise DataError(
            f"{rows.place}: the groups in column '{rows.columns.group}' cannot be divided: "
            + (f"no training rows for {_listed(absent)}" if absent else f"no rows for {_listed(empty)}"),
            why="rows of one group stay together, so that no group is in two splits",
            fix="pass --group with a column of more and smaller groups",
        )


def _finished(
    rows: _Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], *, n_leaked: int, n_near: int
) -> TargetData:
    import pandas as pd

    n = len(rows.labels)
    exact_ids = _content_ids(rows)
    n_duplicates = n - int((np.bincount(exact_ids) > 0).sum())
    conflicting = labels_per_text(exact_ids, rows.labels)
    n_conflicting = int((conflicting > 1).sum())
    n_left_out = int((split < 0).sum())
    noun = rows.noun
    warnings = list(rows.warnings)
    if n_leaked or n_left_out:
        warnings.append(leakage_note(n_leaked, n_left_out, noun=noun, n_near=n_near))
    if n_duplicates > 0.05 * n:
        warnings.append(repeats_note(n_duplicates, n, noun=noun))
    if n_conflicting:
        kept = f"{noun} occurs with more than one label; it was kept as it is"
        if n_conflicting > 1:
            kept = f"{noun}s occur with more than one label; they were kept as they are"
        warnings.append(f"{n_conflicting:,} {kept}")
    warnings.extend(shared_groups(rows.groups, split))
    warnings.extend(_splits_of_one_class(rows, split))
    columns = {noun: rows.columns.content, "label": rows.columns.label, "group": rows.columns.group}
    if rows.columns.text_pair is not None:
        columns["text_pair"] = rows.columns.text_pair
    positions = [np.flatnonzero(split == number) for number in range(3)]
    return TargetData(
        name=rows.name,
        kind=noun,
        task="sequence_classification" if noun == "text" else "image_classification",
        held=rows.held,
        texts=pd.Series(rows.texts.to_pandas(), name=noun),  # the same bytes, as pandas' own text type
        text_ids=text_ids,
        labels=rows.labels,
        class_names=rows.class_names,
        groups=rows.groups,
        train=positions[0],
        validation=positions[1],
        test=positions[2],
        columns=columns,
        given_splits=rows.given_splits,
        n_duplicates=n_duplicates,
        n_conflicting=n_conflicting,
        n_leaked=n_leaked,
        n_dropped={**rows.n_dropped, **({"leaked": n_left_out} if n_left_out else {})},
        warnings=tuple(warnings),
        fingerprint=_fingerprint(rows, split),
    )


def _splits_of_one_class(rows: _Rows, split: NDArray[np.int8]) -> list[str]:
    """A warning for given splits whose rows are all of one class, as those are whose labels are made up."""
    said = []
    for name in ("validation", "test"):
        held = np.unique(rows.labels[split == SPLITS.index(name)])
        if name in rows.given_splits and len(held) == 1:
            said.append(
                f"all rows of the {name} split are of the class '{_short(rows.class_names[int(held[0])])}': a score on "
                "them says nothing of the other classes"
            )
    return said


def _fingerprint(rows: _Rows, split: NDArray[np.int8]) -> str:
    """SHA-256 over texts or images, labels, class names and splits, whatever the chunks or the folder they lie in."""
    digest = hashlib.sha256()
    lengths = hashlib.sha256()
    if rows.contents is not None:
        # Sizes tell most files apart; names, without the dataset's own folder, do the rest.
        digest.update(rows.contents.tobytes())
        start = os.path.join(rows.folder, "") if rows.folder else ""
        for reference in rows.texts.to_pylist():
            name = "" if reference.rpartition("/")[0] in rows.held else reference.removeprefix(start)
            digest.update(name.encode() + b"\0")
    for chunk in rows.texts.chunks if rows.contents is None else ():
        if not len(chunk):
            continue
        _, offsets_buffer, bytes_buffer = chunk.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.update(np.diff(offsets).tobytes())
        digest.update(memoryview(bytes_buffer)[int(offsets[0]) : int(offsets[-1])])
    digest.update(lengths.digest())
    digest.update(rows.labels.astype(np.int32).tobytes())
    digest.update("\0".join(rows.class_names).encode())
    digest.update(split.astype(np.int8).tobytes())
    return digest.hexdigest()
