"""Values of any kind -> columns of one kind: what the readers of files and of data in memory share."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.data.images import Held
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 150_000
_LABELS = frozenset({"label", "labels", "class", "classes", "category", "categories", "cats", "intent", "choices"})
_LOOKED_AT = 20  # cells that say whether a column holds lists
_DEEPEST = 2  # lists in lists; what is in these is not kept
MOST_NAMES = 10_000
"""Of rows that name their values: every row then has a cell for each name that any row has."""


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """A file's rows. Delimited files give text cells only; lists remain lists, and objects are only named.

    Columns of encoded images are references into ``held``, which reads them when one is asked for. ``item_names`` are
    those of classes in lists. ``parts`` are the splits of a file that holds several, ``table`` is then the first of
    them; ``without_header`` says that columns were numbered, since nothing names them, and ``is_conll`` that words and
    tags are told by their place in a line (`advisor.data.conll`).
    """

    table: pa.Table
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    item_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Held = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    parts: Mapping[str, pa.Table] = field(default_factory=dict)
    without_header: bool = False
    is_conll: bool = False


def refuse_repeated(names: Sequence[str], *, place: str) -> None:
    """Raise `DataError` where two columns share a name."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(
            f"{place}: column names occur more than once: {', '.join(repeated)}",
            why="it is not clear which of them is meant",
            fix="give every column a name of its own",
        )


def too_wide(place: str | Path, n_columns: int, *, most: int = MOST_COLUMNS) -> DataError:
    """The error for tables with more columns than any dataset of texts has."""
    return DataError(
        f"{place} has more than {most:,} columns ({n_columns:,})",
        why="texts and labels are in a few of them, and so many would fill the memory",
        fix="save the columns with the text and the label alone; in JSON, write every row with the same names",
    )


def table_from_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Make a table of rows of mixed shape: absent values are null, mixed scalars text, objects placeholders."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) > MOST_NAMES:
        raise too_wide("the file", len(names), most=MOST_NAMES)
    shown = [name.encode("utf-8", "replace").decode() for name in names]  # half of a surrogate pair is no UTF-8
    refuse_repeated(shown, place="the file")
    columns = [column_from_values([row.get(name) for row in rows]) for name in names]
    return pa.table(columns, names=shown)


def column_from_values(values: Sequence[Any]) -> pa.Array:
    """Make an Arrow column of any values: arrays become lists, mixed scalars text, objects a placeholder.

    >>> column_from_values([["a", 1], None, []]).to_pylist()
    [['a', '1'], None, []]
    """
    kinds = set(map(type, values))
    if any(issubclass(kind, dict) for kind in kinds):
        return nested_placeholder(len(values))
    if any(map(_is_list, kinds)):
        return _column_of_lists([None if _is_nan(value) else value for value in values], depth=0)
    return _column_of_scalars(values, nan_is_missing=True)


def _column_of_scalars(values: Sequence[Any], *, nan_is_missing: bool) -> pa.Array:
    import pyarrow as pa

    try:
        column = pa.array(values, from_pandas=nan_is_missing)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        scalars = (str, int, float, bool, type(None))
        if all(isinstance(value, scalars) for value in values):
            return _as_text(values)
        return nested_placeholder(len(values))
    except UnicodeEncodeError:
        return _as_text(values)
    return nested_placeholder(len(values)) if is_nested(column.type) else column


def _as_text(values: Sequence[Any]) -> pa.Array:
    """Half of a surrogate pair, which JSON can spell but UTF-8 cannot, becomes a question mark."""
    import pyarrow as pa

    return pa.array([v if v is None else str(v).encode("utf-8", "replace").decode() for v in values], pa.string())


def _is_list(kind: type) -> bool:
    return issubclass(kind, (list, tuple)) or kind.__name__ == "ndarray"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _column_of_lists(values: Sequence[Any], *, depth: int) -> pa.Array:
    """Lists, or lists and scalars, as a column of lists or of both; their items are of one kind, or of several."""
    import pyarrow as pa

    cells = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    are_lists = np.array([isinstance(cell, (list, tuple)) for cell in cells])
    lists = [cell for cell in cells if isinstance(cell, (list, tuple))]
    items = [item.item() if isinstance(item, np.generic) else item for cell in lists for item in cell]
    ends = np.zeros(len(cells) + 1, np.int32)
    np.cumsum([len(cell) if is_list else 0 for cell, is_list in zip(cells, are_lists, strict=True)], out=ends[1:])
    inner = _column_of_items(items, depth=depth + 1)
    others = [value for value, is_list in zip(cells, are_lists, strict=True) if not is_list]
    if all(value is None for value in others):
        return pa.ListArray.from_arrays(pa.array(ends), inner, mask=pa.array(~are_lists))
    column = pa.ListArray.from_arrays(pa.array([*ends[:-1][are_lists], ends[-1]], pa.int32()), inner)
    return _union(are_lists.astype(np.int8), [_as_text(others), column])


def _column_of_items(items: Sequence[Any], *, depth: int) -> pa.Array:
    """What lists hold; of lists and objects among scalars, and in lists of lists, only that they are such is kept."""
    import pyarrow as pa

    kinds = set(map(type, items)) - {type(None)}
    if not any(_is_list(kind) or issubclass(kind, dict) for kind in kinds):
        return _column_of_scalars(items, nan_is_missing=False)
    if depth < _DEEPEST and all(map(_is_list, kinds)):
        return _column_of_lists(items, depth=depth)
    which = np.array([1 if _is_list(type(item)) else 2 if isinstance(item, dict) else 0 for item in items], np.int8)
    _, n_lists, n_objects = np.bincount(which, minlength=3).tolist()
    return _union(
        which,
        [
            _as_text([item for item, kind in zip(items, which, strict=True) if kind == 0]),
            pa.array([[]] * n_lists, pa.list_(pa.null())),
            pa.array([{}] * n_objects, pa.struct([])),
        ],
    )


def _union(which: NDArray[np.int8], columns: Sequence[pa.Array]) -> pa.Array:
    """Values of several columns in turn: the n-th is the next one of the column that `which` says."""
    import pyarrow as pa

    places = np.zeros(len(which), np.int32)
    for number in range(len(columns)):
        mask = which == number
        places[mask] = np.arange(mask.sum())
    return pa.UnionArray.from_dense(pa.array(which, pa.int8()), pa.array(places, pa.int32()), list(columns))


def holds_lists(cells: Sequence[Any]) -> bool:
    """Whether most of the first cells that are not missing are lists, arrays, or lists written as text.

    A few of them may be broken.
    """
    filled = [cell for cell in cells[:_LOOKED_AT] if not is_missing(cell)]
    return sum(map(_reads_as_list, filled)) > 0.5 * len(filled)


def _reads_as_list(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.lstrip().startswith("[") and isinstance(read_literal(cell.strip()), list)
    return isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) == 1


def read_literal(written: str) -> Any:
    """Read a value written as JSON or Python; None for anything else.

    >>> read_literal('["EU", null]'), read_literal("['EU']"), read_literal("EU")
    (['EU', None], ['EU'], None)
    """
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(written)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN or blank text."""
    return cell is None or _is_nan(cell) or (isinstance(cell, str) and not cell.strip())


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column holds lists, objects or raw bytes rather than one value a row."""
    import pyarrow as pa

    types = pa.types
    tests = (
        types.is_nested, types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary,
        types.is_list_view, types.is_large_list_view,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def plain_texts(table: pa.Table) -> pa.Table:
    """Turn categories into the values they stand for, and views of strings into strings, which more functions read."""
    import pyarrow as pa

    for position, item in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if column.type != item.type:
            table = table.set_column(position, item.name, column)
    return table


def single_labels(table: pa.Table) -> pa.Table:
    """Take labels out of lists of one each, as tools for labelling write them."""
    import pyarrow.compute as pc

    for position, name in enumerate(table.column_names):
        column = table.column(position)
        if name.lower() in _LABELS and _holds_one_each(column):
            table = table.set_column(position, name, pc.list_element(column, 0))
    return table


def _holds_one_each(column: pa.ChunkedArray) -> bool:
    """Whether a column holds lists of one plain value each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return False
    kind = column.type.value_type
    if is_nested(kind) or pa.types.is_null(kind) or column.null_count == len(column):
        return False
    lengths = pc.min_max(pc.list_value_length(column)).as_py()
    return bool(lengths == {"min": 1, "max": 1})


def keeps_lists(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists, or lists of lists, of texts, numbers or classes: it is then kept."""
    import pyarrow as pa

    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    inner = kind.value_type
    return not is_nested(inner) or keeps_lists(inner)


def names_of_items(column: pa.ChunkedArray, names: Sequence[str]) -> pa.ChunkedArray:
    """Turn lists of class numbers into lists of names; where a number has none, as of masked tags, the column stays."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(column.type.value_type):
        return column
    bounds = pc.min_max(pc.list_flatten(column)).as_py()
    if bounds["min"] is not None and (bounds["min"] < 0 or bounds["max"] >= len(names)):
        return column
    by_number = pa.array(names, pa.string())
    chunks = []
    for chunk in column.chunks:
        ends = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(False))])
        items = by_number.take(chunk.flatten())
        chunks.append(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, mask=chunk.is_null()))
    return pa.chunked_array(chunks, pa.list_(pa.string()))


def nested_placeholder(n_rows: int) -> pa.Array:
    """A column that says "nested values" by its type and keeps none of them."""
    import pyarrow as pa

    return pa.nulls(n_rows, pa.list_(pa.null()))


def is_placeholder(column: pa.ChunkedArray) -> bool:
    """Whether a column is what `nested_placeholder` makes."""
    import pyarrow as pa

    kind = column.type
    return bool(pa.types.is_list(kind) and pa.types.is_null(kind.value_type) and column.null_count == len(column))
