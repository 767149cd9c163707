"""Rows that a person has in memory, in whatever holds them, as a list: frames, columns, arrays, tensors, iterators."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from tuner.errors import DataError
from tuner.inputs.pictures import is_one_picture

_USUAL = {
    "text": ("text", "texts", "sentence", "content", "review"),
    "image": ("image", "images", "img", "pixel_values"),
    "words": ("tokens", "words"),
}


def plain_value(value: Any) -> Any:
    """A value as Python's own: scalars out of numpy and torch, the names of enums, None for what is missing.

    >>> import numpy as np
    >>> plain_value(np.int64(3)), plain_value(float("nan")), plain_value(enum.Enum("Mood", "glad").glad)
    (3, None, 'glad')
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str):
        return str(value)  # also numpy's
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, (bool, int, float)):
        return None if value != value else value.item() if hasattr(value, "item") else value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return plain_value(value.item())
    return value


def plain_list(values: Any) -> list[Any]:
    """One value a row out of a list, tuple, Series, one-column frame, array, tensor, column of a dataset or iterator.

    Raises `DataError` for what has no order, or more than one value a row.
    """
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise DataError(
            f"{type(values).__name__} where a value a row is expected",
            why="the n-th label belongs to the n-th text",
            fix="pass a list, a Series, an array or an iterator",
        )
    if isinstance(values, Set):
        raise DataError(
            "a set has no order", why="the n-th label belongs to the n-th row", fix="pass a list, such as sorted(rows)"
        )
    if _is_frame(values):
        if values.shape[1] != 1:
            raise DataError(
                f"a frame of {values.shape[1]} columns where one value a row is expected",
                why="which of them is meant is not clear",
                fix=f"pass one of its columns: {', '.join(map(str, list(values.columns)[:20]))}",
            )
        values = values.iloc[:, 0]
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1:
        values = values.reshape(-1)
    return [plain_value(value) for value in values]


def rows_to_read(rows: Any, *, kind: str, pairs: bool = False, column: str | None = None) -> Any:
    """What a model is to label, as a list of rows.

    Args:
        rows: one text, or a list, Series, frame, array, dataset, dictionary of columns or iterator of rows.
        kind: "text", "image" or "words", which the rows hold.
        pairs: whether a row is two texts; of a frame, its two columns of texts.
        column: the column of a frame that was read when the model was tuned, where that is known.

    Raises:
        DataError: where a frame has several columns that may be meant, or rows have no order.
    """
    if isinstance(rows, str) or (kind == "image" and is_one_picture(rows)):
        return [rows]
    if _is_frame(rows) or isinstance(rows, Mapping) or hasattr(rows, "column_names"):
        return _rows_of_columns(rows, kind=kind, pairs=pairs, column=column)
    if isinstance(rows, Set):
        raise DataError(
            "a set has no order", why="the n-th label belongs to the n-th row", fix="pass a list, such as sorted(rows)"
        )
    if kind == "image":
        return list(rows) if isinstance(rows, Iterator) else rows
    if getattr(rows, "ndim", 1) == 2 and rows.shape[1] == 1:
        rows = rows.reshape(-1)
    rows = list(rows) if getattr(rows, "ndim", 1) else [rows.item()]
    if kind == "words":
        return [row.tolist() if hasattr(row, "tolist") else row for row in rows]
    return [_text(row) for row in rows]


def _text(row: Any) -> Any:
    """A text, "" where there is none; a pair stays one."""
    if isinstance(row, (tuple, list)) or getattr(row, "ndim", 0) == 1:
        return tuple("" if part is None else part for part in map(plain_value, row))
    value = plain_value(row)
    return "" if value is None else value


def _is_frame(given: Any) -> bool:
    return hasattr(given, "iloc") and hasattr(given, "columns")


def _rows_of_columns(given: Any, *, kind: str, pairs: bool, column: str | None) -> Any:
    """The rows of the column, or of the two columns of pairs, that hold what the model reads."""
    names = list(given.columns) if _is_frame(given) else list(getattr(given, "column_names", given))
    held = {str(name): given[name] for name in names} if len({str(name) for name in names}) == len(names) else {}
    fitting = [name for name, values in held.items() if _holds(values, kind)]
    needed = 2 if pairs else 1
    if column in held and not pairs:
        fitting = [str(column)]
    elif len(fitting) > needed and not pairs:
        usual = [name for name in _USUAL[kind] if name in fitting]
        fitting = usual[:1] or fitting
    if len(fitting) != needed:
        what = {"text": "texts", "image": "images", "words": "words"}[kind]
        raise DataError(
            f"a table with the columns {', '.join(map(str, names[:20]))}, where {needed} of {what} "
            f"{'is' if needed == 1 else 'are'} read",
            why=f"{len(fitting) or 'none'} of them {'holds' if len(fitting) == 1 else 'hold'} {what}",
            fix="pass the column, such as frame['text']" + ("; of pairs list(zip(first, second))" if pairs else ""),
        )
    if pairs:
        return [_text(pair) for pair in zip(*(held[name] for name in fitting), strict=True)]
    return rows_to_read(list(held[fitting[0]]), kind=kind)


def _holds(values: Sequence[Any], kind: str) -> bool:
    """Whether the first value that is there is of the kind."""
    first = next((value for value in values if plain_value(value) is not None), None)
    if kind == "text":
        return isinstance(first, str)
    if kind == "words":
        return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 1
    return first is not None and is_one_picture(first)
