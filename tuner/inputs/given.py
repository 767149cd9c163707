"""Rows that a person has in memory, in whatever holds them, as a list: frames, columns, arrays, tensors, iterators."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.errors import DataError
from tuner.inputs.pairs import BETWEEN, paired
from tuner.inputs.pictures import Pictures, is_one_picture


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of the rows that a person passes.

    ``usual`` are names of columns that hold such rows. ``is_one`` says of a value that it is a row rather than many,
    ``holds`` of a value in a column that it is such a row. ``listed`` makes a list of rows in order, and ``checked``
    what an input encodes, where it is known whether rows are pairs; it raises `DataError` for rows of another form.
    """

    nouns: str
    usual: tuple[str, ...]
    is_one: Callable[[Any], bool]
    holds: Callable[[Any], bool]
    listed: Callable[[Any], Any]
    checked: Callable[[Sequence[Any], bool | None], Sequence[Any]]


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


def rows_to_read(rows: Any, *, form: Form, pairs: bool = False, column: str | None = None) -> Any:
    """What a model is to label, as a list of rows.

    Args:
        rows: one text, or a list, Series, frame, array, dataset, dictionary of columns or iterator of rows.
        form: what a row is: `TEXTS`, `IMAGES` or `SENTENCES`.
        pairs: whether a row is two texts; of a frame, its two columns of texts.
        column: the column of a frame that was read when the model was tuned, where that is known.

    Raises:
        DataError: where a frame has several columns that may be meant, or rows have no order.
    """
    if form.is_one(rows):
        return [rows]
    if _is_frame(rows) or isinstance(rows, Mapping) or hasattr(rows, "column_names"):
        return _rows_of_columns(rows, form=form, pairs=pairs, column=column)
    if isinstance(rows, Set):
        raise DataError(
            "a set has no order", why="the n-th label belongs to the n-th row", fix="pass a list, such as sorted(rows)"
        )
    return form.listed(rows)


def take_rows(rows: Sequence[Any], positions: np.ndarray) -> Sequence[Any]:
    """The rows at these positions; `Pictures` are not decoded for it."""
    return rows.take(positions) if isinstance(rows, Pictures) else [rows[int(row)] for row in positions]


def _flat(rows: Any) -> list[Any]:
    """A list out of a sequence, iterator or array; also of an array of one column, or of no dimension."""
    if getattr(rows, "ndim", 1) == 2 and rows.shape[1] == 1:
        rows = rows.reshape(-1)
    return list(rows) if getattr(rows, "ndim", 1) else [rows.item()]


def _text(row: Any) -> Any:
    """A text, "" where there is none; a pair stays one."""
    if isinstance(row, (tuple, list)) or getattr(row, "ndim", 0) == 1:
        return tuple("" if part is None else part for part in map(plain_value, row))
    value = plain_value(row)
    return "" if value is None else value


def _is_frame(given: Any) -> bool:
    return hasattr(given, "iloc") and hasattr(given, "columns")


def _rows_of_columns(given: Any, *, form: Form, pairs: bool, column: str | None) -> Any:
    """The rows of the column, or of the two columns of pairs, that hold what the model reads."""
    names = list(given.columns) if _is_frame(given) else list(getattr(given, "column_names", given))
    held = {str(name): given[name] for name in names} if len({str(name) for name in names}) == len(names) else {}
    fitting = [name for name, values in held.items() if _holds(values, form)]
    needed = 2 if pairs else 1
    if column in held and not pairs:
        fitting = [str(column)]
    elif len(fitting) > needed and not pairs:
        usual = [name for name in form.usual if name in fitting]
        fitting = usual[:1] or fitting
    if len(fitting) != needed:
        raise DataError(
            f"a table with the columns {', '.join(map(str, names[:20]))}, where {needed} of {form.nouns} "
            f"{'is' if needed == 1 else 'are'} read",
            why=f"{len(fitting) or 'none'} of them {'holds' if len(fitting) == 1 else 'hold'} {form.nouns}",
            fix="pass the column, such as frame['text']" + ("; of pairs list(zip(first, second))" if pairs else ""),
        )
    if pairs:
        return [_text(pair) for pair in zip(*(held[name] for name in fitting), strict=True)]
    return rows_to_read(list(held[fitting[0]]), form=form)


def _holds(values: Sequence[Any], form: Form) -> bool:
    """Whether the first value that is there is a row of this form."""
    first = next((value for value in values if plain_value(value) is not None), None)
    return first is not None and form.holds(first)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _check_texts(rows: Sequence[Any], pairs: bool | None) -> list[str]:
    """Texts as they are, and the two of a pair in one. Raises `DataError` for the kind that is not read."""
    texts = []
    for number, row in enumerate(rows, 1):
        text = row
        if isinstance(row, (tuple, list)) and len(row) == 2 and all(isinstance(part, str) for part in row):
            text = paired(*row)
        if not isinstance(text, str):
            raise DataError(
                f"row {number:,} is neither a text nor a pair of texts: {type(row).__name__} {str(row)[:40]!r}",
                why="they are given to a tokenizer",
                fix='pass texts such as ["It is warm."], or pairs such as [("Is it warm?", "It is.")]',
            )
        if pairs is not None and pairs != (BETWEEN in text):
            raise DataError(
                f"row {number:,} is {'one text' if pairs else 'a pair'}, but this model reads "
                f"{'pairs' if pairs else 'single texts'}",
                why=f"it was tuned on {'two texts' if pairs else 'one text'} a row",
                fix='pass pairs, such as [("Is it warm?", "It is.")]'
                if pairs
                else 'pass texts, such as ["It is warm."]',
            )
        texts.append(text)
    return texts


TEXTS = Form(
    nouns="texts",
    usual=("text", "texts", "sentence", "content", "review"),
    is_one=_is_text,
    holds=_is_text,
    listed=lambda rows: [_text(row) for row in _flat(rows)],
    checked=_check_texts,
)
"""Texts, and pairs of texts."""


def _check_sentences(rows: Sequence[Any], _pairs: bool | None) -> Sequence[Any]:
    wrong = next((row for row in rows if isinstance(row, str) or not all(isinstance(word, str) for word in row)), None)
    if wrong is not None:
        raise DataError(
            f"a sentence is a list of words, not {type(wrong).__name__} {str(wrong)[:40]!r}",
            why="this model gives every word a tag",
            fix='pass sentences as lists of words, such as [["EU", "rejects", "lamb", "."]]',
        )
    return rows


SENTENCES = Form(
    nouns="words",
    usual=("tokens", "words"),
    is_one=_is_text,
    holds=lambda value: isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1,
    listed=lambda rows: [row.tolist() if hasattr(row, "tolist") else row for row in _flat(rows)],
    checked=_check_sentences,
)
"""Sentences that are lists of words."""
IMAGES = Form(
    nouns="images",
    usual=("image", "images", "img", "pixel_values"),
    is_one=lambda value: isinstance(value, str) or is_one_picture(value),
    holds=is_one_picture,
    listed=lambda rows: list(rows) if isinstance(rows, Iterator) else rows,
    checked=lambda rows, _pairs: rows,
)
"""Images in any form that `tuner.inputs.pictures.open_picture` reads."""
