"""Tables of all splits become rows one below the other: contents, labels, groups; incomplete rows are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.data.cells import is_nested
from advisor.data.columns import Columns
from advisor.data.image_paths import ImageFinder, path_references
from advisor.data.images import (
    EncodedColumn,
    Held,
    contents_of,
    is_reference,
)
from advisor.data.missing import MISSING_TEXT, missing_labels
from advisor.data.splits import (
    SPLITS,
    percent_of,
    with_article,
)
from advisor.data.tables import Tables, concatenate
from tuner.errors import DataError, did_you_mean
from tuner.inputs.pairs import BETWEEN

if TYPE_CHECKING:
    import pyarrow as pa


_LONGEST_SHOWN = 300


def as_column_name(name: Any) -> str | None:
    """A column's name as a text: of frames it may be a number."""
    return None if name is None else str(name)


# --- rows of all splits, one below the other


@dataclass(frozen=True, kw_only=True)
class Rows:
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
        """What is classified, in a word: text or image."""
        return "text" if self.contents is None else "image"

    def keep(self, mask: NDArray[np.bool_], *, reason: str) -> Rows:
        """A copy with only the rows where `mask` (n,) holds; the others are counted under `reason`."""
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

    def warn(self, message: str) -> Rows:
        """A copy of these rows with one more warning."""
        return replace(self, warnings=(*self.warnings, message))


def names_paths(tables: Tables, image: str | None) -> bool:
    """Whether a column holds paths of images, or some of the encoded images in it may be paths."""
    if image is None:
        return False
    columns = (table.column(image) for table in tables.parts.values() if image in table.column_names)
    encoded = any(isinstance(items, EncodedColumn) for items in tables.held.values())
    return encoded or any(not is_reference(column.type) for column in columns)


def held_within(held: Held, finder: ImageFinder, *, place: str) -> Held:
    """Confine what is held: paths among encoded images may only be those that the table may name."""
    if not finder.confined:
        return held
    return {
        name: items.with_paths(lambda path: finder.find_one(path, place=place))
        if isinstance(items, EncodedColumn)
        else items
        for name, items in held.items()
    }


def gather_rows(tables: Tables, columns: Columns, finders: Mapping[str, ImageFinder]) -> Rows:
    """Take the columns that are read, all splits below each other.

    A split without labels cannot be used: it is left out, with a warning.
    """
    assert columns.label is not None
    asked = (columns.content, columns.text_pair, columns.label, columns.group)
    wanted = [name for name in asked if name is not None]
    chosen: dict[str, pa.Table] = {}
    warnings = list(tables.warnings)
    for split, table in tables.parts.items():
        missing = [name for name in wanted if name not in table.column_names]
        if split not in ("all", "train"):
            if missing == [columns.label] or has_no_labels(table, columns.label, tables):
                warnings.append(f"the {split} split of {tables.place} has no labels: it was not used")
                continue
            if (mask := one_foreign_label(table, tables, columns.label)) is not None:
                warnings.append(
                    f"the {split} split of {tables.place} has no labels: every row holds '{shortened(mask)}', which no "
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
    held = held_within(tables.held, next(iter(finders.values())), place=tables.place)
    together = concatenate(chosen.values(), place=tables.place)
    content = _content(together, columns)
    contents = None if columns.image is None else contents_of(content.to_pylist(), held=held)
    numbers = [-1 if split == "all" else SPLITS.index(split) for split in chosen]
    return Rows(
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


def has_no_labels(table: pa.Table, label: str, tables: Tables) -> bool:
    """Whether a split's labels are masked: all missing or blank, or all -1 where the classes have names."""
    import pyarrow.compute as pc

    if label not in table.column_names:
        return False
    column = table.column(label)
    if column.null_count == len(column):
        return True
    if is_text_type(column.type):
        values = {value.strip() for value in pc.unique(column).to_pylist() if value is not None}
        return values <= missing_labels(values)
    return label in tables.class_names and bool((pc.max(column).as_py() or 0) < 0)


def one_foreign_label(table: pa.Table, tables: Tables, label: str) -> str | None:
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
    """The texts, of pairs both in one (`tuner.inputs.pairs.paired`), missing where one of them is."""
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

    if is_text_type(column.type):
        column = pc.if_else(pc.match_substring_regex(column, MISSING_TEXT), None, column)
    encoded = pc.dictionary_encode(column.combine_chunks())
    numbers: NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(encoded.dictionary) + np.arange(len(alone), dtype=np.int32)
    return numbers


def rows_left_out(part: int, whole: int) -> str:
    """Say how many of all rows were left out."""
    return f"{part:,} {'row was' if part == 1 else 'rows were'} left out ({percent_of(part, whole)})"


def drop_incomplete(rows: Rows) -> Rows:
    """Leave out rows without a label or a text, counted; most labels or all texts missing raises."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(rows.split)
    labels = rows.labels
    markers: list[str] = []
    if is_text_type(labels.type):
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
        rows = rows.warn(f"{rows_left_out(n_missing, n)} for want of a label{held}")
    if n_empty:
        such = _missing_texts(rows, has_label & ~has_text)
        if rows.contents is not None:
            such = f", such as {_example(rows, has_label & ~has_text)}"
        rows = rows.warn(f"{rows_left_out(n_empty, n)} for want of {with_article(rows.noun)}{such}")
    rows = rows.keep(has_label, reason="missing_label")
    return rows.keep(has_text[has_label], reason="empty_text" if rows.contents is None else "missing_image")


def _missing_texts(rows: Rows, mask: NDArray[np.bool_]) -> str:
    """What stands in the texts that are missing, where it is more than blanks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.unique(rows.texts.filter(pa.array(mask))).to_pylist()
    markers = sorted({text for value in values if value and (text := value.strip().strip("\u200b\ufeff").strip())})
    return f", or with nothing but {' or '.join(map(repr, markers[:3]))}" if markers else ""


def _example(rows: Rows, mask: NDArray[np.bool_]) -> str:
    """The reference of the first of these images."""
    number = int(np.flatnonzero(mask)[0])
    name = rows.texts[number].as_py() or f"row {number + 1:,}"
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."


def _check_images_are_there(rows: Rows) -> None:
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


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def shortened(name: str, longest: int = 40) -> str:
    """Cut a name to so many characters, an ellipsis at its end where something is cut off."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def listed_names(names: Sequence[str], *, most: int = 5, longest: int = 40) -> str:
    """List the first names, shortened, and say how many more there are."""
    shown = ", ".join(shortened(name, longest) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
