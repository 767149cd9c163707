"""Labels become classes: named, numbered, and refused where they are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.data.cautions import joined_labels_note
from advisor.data.rows import Rows, is_text_type, listed_names, shortened
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


# --- classes


def name_classes(rows: Rows) -> Rows:
    """Turn labels into class numbers: names are sorted, numbers go by value, a `ClassLabel` keeps its order."""
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
            rows = rows.warn(f"classes without a row were left out: {listed_names(unused)}")
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
                "classes: their order is not learned; --task regression predicts the number"
            )
    shown = [_label_name(value) for value in values.to_pylist()]
    by_name = is_text_type(values.type)
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
        rows = rows.warn(f"class names that differ in capitals only are kept apart: {listed_names(alike)}")
    return _checked_classes(replace(rows, labels=rank[np.asarray(encoded.indices)], class_names=names))


def _simplest_type(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Integers where every label is one (also "3" and 3.0), floats where every label is a number, else as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if is_text_type(labels.type):
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


def _check_label_values(rows: Rows, values: pa.Array, codes: NDArray[np.int32]) -> None:
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
                why="a class needs several rows, and the order of classes is not learned",
                fix="pass --task regression to predict the number, cut the values into classes (low, middle, high), or "
                "name the label column with --label",
            )
        return
    if not is_text_type(values.type):
        return
    mean_length = float(pc.mean(pc.utf8_length(values)).as_py())
    if n_values > 10 and (n_values > n / 2 or (n_values > n / 5 and mean_length > 40)):
        raise DataError(
            f"{where} looks like free text: {n_values:,} different values in {n:,} rows",
            why="a class needs several rows; these labels are nearly all distinct",
            fix="name the column that holds the classes with --label",
        )


def _checked_classes(rows: Rows) -> Rows:
    if len(rows.class_names) < 2:
        raise DataError(
            f"{rows.place}: column '{rows.columns.label}' holds one class only, '{shortened(rows.class_names[0])}'",
            why="there is nothing to tell apart",
            fix="pass rows of at least two classes, or name another column with --label",
        )
    return rows


def check_texts(rows: Rows) -> None:
    """Raise `DataError` where all texts or images are identical."""
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
