"""Values of any kind -> columns of one kind: what the readers of files and of data in memory share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from advisor.images import Held
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """A file's rows. Delimited files give text cells only; nested columns are kept as empty lists, to be named.

    Columns of encoded images are references into ``held``, which reads them when one is asked for.
    """

    table: pa.Table
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Held = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def refuse_repeated(names: Sequence[str], *, place: str) -> None:
    """Raise `DataError` where two columns share a name."""
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DataError(
            f"{place}: column names occur more than once: {', '.join(repeated)}",
            why="it is not clear which of them is meant",
            fix="give every column a name of its own",
        )


def table_from_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of mixed shape as a table: absent values are null, mixed scalars text, nested values placeholders."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name.encode("utf-8", "replace").decode() for name in names]  # half of a surrogate pair is no UTF-8
    refuse_repeated(shown, place="the file")
    return pa.table([column_from_values([row.get(name) for row in rows]) for name in names], names=shown)


def column_from_values(values: Sequence[Any]) -> pa.Array:
    """Any values as one Arrow column; what has no common scalar type becomes text, what is nested a placeholder."""
    import pyarrow as pa

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

    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def nested_placeholder(n_rows: int) -> pa.Array:
    """A column that says "nested values" by its type and keeps none of them."""
    import pyarrow as pa

    return pa.nulls(n_rows, pa.list_(pa.null()))
