"""Values of any kind -> columns of one kind: what the readers of files and of data in memory share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.images import Held
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 150_000
_LABELS = frozenset({"label", "labels", "class", "classes", "category", "categories", "cats", "intent", "choices"})
MOST_NAMES = 10_000
"""Of rows that name their values: every row then has a cell for each name that any row has."""


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """A file's rows. Delimited files give text cells only; nested columns are kept as empty lists, to be named.

    Columns of encoded images are references into ``held``, which reads them when one is asked for. ``parts`` are the
    splits of a file that holds several, ``table`` is then the first of them; ``without_header`` says that columns were
    numbered, since nothing names them.
    """

    table: pa.Table
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Held = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    parts: Mapping[str, pa.Table] = field(default_factory=dict)
    without_header: bool = False


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
    """The refusal of tables with more columns than any dataset of texts has."""
    return DataError(
        f"{place} has more than {most:,} columns ({n_columns:,})",
        why="texts and labels are in a few of them, and so many would fill the memory",
        fix="save the columns with the text and the label alone; in JSON, write every row with the same names",
    )


def table_from_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of mixed shape as a table: absent values are null, mixed scalars text, nested values placeholders."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) > MOST_NAMES:
        raise too_wide("the file", len(names), most=MOST_NAMES)
    shown = [name.encode("utf-8", "replace").decode() for name in names]  # half of a surrogate pair is no UTF-8
    refuse_repeated(shown, place="the file")
    columns = [[row.get(name) for row in rows] for name in names]
    columns = [
        _alone(values) if name.lower() in _LABELS else values for name, values in zip(names, columns, strict=True)
    ]
    return pa.table([column_from_values(values) for values in columns], names=shown)


def _alone(values: list[Any]) -> list[Any]:
    """Labels that stand in lists of one each, as tools for labelling write them, without the lists."""
    lists = [value for value in values if value is not None]
    if not lists or not all(isinstance(value, list) and len(value) == 1 for value in lists):
        return values
    return [None if value is None else value[0] for value in values]


def column_from_values(values: Sequence[Any]) -> pa.Array:
    """Any values as one Arrow column; what has no common scalar type becomes text, what is nested a placeholder."""
    import pyarrow as pa

    if any(isinstance(value, (dict, list)) for value in values):
        return nested_placeholder(len(values))
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        scalars = (str, int, float, bool, type(None))
        if all(isinstance(value, scalars) for value in values):
            return pa.array([None if value is None else str(value) for value in values], pa.string())
        return nested_placeholder(len(values))
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell but UTF-8 cannot
        return pa.array([v if v is None else str(v).encode("utf-8", "replace").decode() for v in values], pa.string())
    return nested_placeholder(len(values)) if is_nested(column.type) else column


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
    """Categories as the values they stand for, views of strings as strings, labels in lists of one without the lists.

    Few functions read the first two; tools for labelling write the third.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for position, item in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if item.name.lower() in _LABELS and _holds_one_each(column):
            column = pc.list_element(column, 0)
        if column.type != item.type:
            table = table.set_column(position, item.name, column)
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


def nested_placeholder(n_rows: int) -> pa.Array:
    """A column that says "nested values" by its type and keeps none of them."""
    import pyarrow as pa

    return pa.nulls(n_rows, pa.list_(pa.null()))
