"""Several labels of every row in whichever form: lists, texts with a separator, columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.data.cells import is_nested, read_literal
from advisor.data.column_kinds import is_bookkeeping
from advisor.data.columns import label_tiers_of
from advisor.data.missing import missing_labels
from advisor.data.rows import is_text_type, shortened
from advisor.data.tables import Tables
from tuner.errors import DataError, OptionError

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_COLUMNS = 3
"""So many columns of 0 and 1 beside each other are taken for labels without being named."""
YES, NO = ("1", "1.0", "true"), ("0", "0.0", "false")


def labels_as_lists(
    tables: Tables, *, label: str | None, taken: Collection[str], separator: str | None
) -> tuple[Tables, str | None]:
    """The tables with one column that lists the labels of every row, and its name; as they are where there is none.

    Columns of 0 and 1 become one column, called by their names with commas between: those that `label` names so, or
    at least `FEWEST_COLUMNS` where no column has a usual name of labels. A column of lists is taken as it is. What is
    written as text is left to `cells_as_lists`.

    Args:
        tables: of all splits.
        label: the column of labels, or several with commas between; None where it is to be guessed.
        taken: columns that hold something else.
        separator: what stands between labels in one cell of text, which columns of 0 and 1 do not have.

    Raises:
        DataError: where columns of 0 and 1 that are named hold something else.
        OptionError: for a separator beside columns or lists, which need none.
    """
    first = next(iter(tables.parts.values()))
    named = label if label in first.column_names else None
    columns: Sequence[str] = ()
    if label is not None and named is None:
        parts = [part.strip() for part in label.split(",")]
        columns = parts if len(parts) > 1 and set(parts) <= set(first.column_names) else ()
    if label is None:
        named = _named_list(first, taken=taken)
        columns = () if named is not None or separator is not None else _yes_or_no(first, taken=taken)
    if columns:
        _refuse_separator(separator, instead="columns of 0 and 1")
        return _from_columns(tables, columns)
    if named is None or not _is_list(first.schema.field(named).type):
        return tables, None
    _refuse_separator(separator, instead=f"lists, as column '{named}' holds them")
    return _each(tables, named, _plain_lists), named


def cells_as_lists(tables: Tables, label: str, *, separator: str | None) -> tuple[Tables, bool]:
    """The tables with texts in a column of labels taken apart, and whether that holds several labels a row.

    Texts are parted where a `separator` is given, or where all of them are written lists.

    Raises:
        OptionError: for a separator that occurs in no row.
        DataError: for a separator where some rows hold written lists.
    """
    if separator is None and (tables.labels_are_names or not _starts_a_list(tables, label)):
        return tables, False
    texts = [
        text
        for table in tables.parts.values()
        if label in table.column_names and is_text_type(table.schema.field(label).type)
        for text in table.column(label).unique().to_pylist()
        if text is not None
    ]
    filled = [text for text in texts if text.strip() not in missing_labels(texts)]
    lists = [text for text in filled if _written(text) is not None]
    if separator is None:
        if not lists or len(lists) < len(filled):
            return tables, False
        return _each(tables, label, lambda column: _parsed(column, missing_labels(texts))), True
    if lists:
        raise DataError(
            f"{tables.place}: column '{label}' holds labels in two forms: lists, such as {shortened(lists[0])}, and "
            "texts",
            why="--label-separator parts texts, and the signs of a list would become parts of labels",
            fix="write all labels as lists and omit --label-separator, or all as texts with one sign between",
        )
    if not separator or not any(separator in text for text in filled):
        shown = f", such as '{shortened(filled[0])}'" if filled else ""
        raise OptionError(
            f"--label-separator '{separator}' occurs in no label of column '{label}' in {tables.place}{shown}",
            why="it says what stands between the labels of a row",
            fix="pass the sign that the data has, or omit it where every row has one label",
        )
    return _each(tables, label, lambda column: _parted(column, separator, missing_labels(texts))), True


def _starts_a_list(tables: Tables, label: str) -> bool:
    """Whether the first label begins like a written list, which spares most columns a second look."""
    for table in tables.parts.values():
        if label in table.column_names and is_text_type(table.schema.field(label).type):
            texts = table.column(label).slice(0, 100).to_pylist()
            first = next((text for text in texts if text and not missing_labels([text])), "")
            return bool(first.lstrip().startswith("["))
    return False


def _refuse_separator(separator: str | None, *, instead: str) -> None:
    if separator is not None:
        raise OptionError(
            f"--label-separator '{separator}' does not go with {instead}",
            why="it parts labels that are written in one text",
            fix="omit it",
        )


def _is_list(kind: pa.DataType) -> bool:
    """Whether cells are lists of names or numbers."""
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and not is_nested(kind.value_type) and not pa.types.is_floating(kind.value_type))


def _named_list(table: pa.Table, *, taken: Collection[str]) -> str | None:
    """The column of lists that has a usual name of labels, where no other column has one as good."""
    for names in label_tiers_of([name for name in table.column_names if name not in taken]):
        if names:
            return names[0] if len(names) == 1 and _is_list(table.schema.field(names[0]).type) else None
    return None


def _yes_or_no(table: pa.Table, *, taken: Collection[str]) -> Sequence[str]:
    """Columns of 0 and 1 where there are several of them and none with a usual name of labels."""
    usable = [name for name in table.column_names if name not in taken]
    if any(label_tiers_of(usable)):
        return ()
    found = [name for name in usable if not is_bookkeeping(name) and _values_of(table.column(name)) is not None]
    return found if len(found) >= FEWEST_COLUMNS else ()


def _values_of(column: pa.ChunkedArray) -> set[str] | None:
    """The different values of a column that holds nothing but 0 and 1, or truth values; else None."""
    import pyarrow as pa

    if is_nested(column.type) or pa.types.is_temporal(column.type) or column.null_count == len(column):
        return None
    start = {str(value).strip().lower() for value in column.slice(0, 100).to_pylist() if value is not None}
    if not start <= {*YES, *NO}:
        return None
    values = {str(value).strip().lower() for value in column.unique().to_pylist() if value is not None}
    return values if values <= {*YES, *NO} else None


def _from_columns(tables: Tables, columns: Sequence[str]) -> tuple[Tables, str]:
    """The tables with columns of 0 and 1 as one column of lists; a row that lacks any of them lacks its labels."""
    import pyarrow as pa

    joined, parts = ",".join(columns), {}
    for split, table in tables.parts.items():
        if not set(columns) <= set(table.column_names):
            parts[split] = table
            continue
        for name in columns:
            if table.num_rows and _values_of(table.column(name)) is None:
                held = [value for value in table.column(name).unique().to_pylist() if value is not None]
                shown = next((str(v) for v in held if str(v).strip().lower() not in (*YES, *NO)), "nothing")
                raise DataError(
                    f"{tables.place}: column '{name}' holds '{shortened(shown)}', where 0 or 1 is needed",
                    why=f"--label names {len(columns)} columns, each of which says whether a row has that label",
                    fix="write 0 and 1 into each of them, or name one column of labels",
                )
        cells = [table.column(name).to_pylist() for name in columns]
        lists = [
            None
            if any(cell is None for cell in row)
            else [name for name, cell in zip(columns, row, strict=True) if str(cell).strip().lower() in YES]
            for row in zip(*cells, strict=True)
        ]
        kept = table.drop_columns(list(columns))
        parts[split] = kept.append_column(joined, pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))
    return replace(tables, parts=parts), joined


def _each(tables: Tables, name: str, read: _Reading) -> Tables:
    """The tables with a column read otherwise in each split that has it."""
    parts = {
        split: table.set_column(table.column_names.index(name), name, read(table.column(name)))
        if name in table.column_names
        else table
        for split, table in tables.parts.items()
    }
    return replace(tables, parts=parts)


def _as_column(lists: Iterator[list[str] | None]) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([pa.array(list(lists), pa.list_(pa.string()))])


def _names(values: Sequence[object]) -> list[str]:
    """Each name once, without blanks around it."""
    found = (str(value).strip() for value in values if value is not None)
    return list(dict.fromkeys(name for name in found if name))


def _plain_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return _as_column(None if cell is None else _names(cell) for cell in column.to_pylist())


def _parted(column: pa.ChunkedArray, separator: str, missing: Collection[str]) -> pa.ChunkedArray:
    return _as_column(
        None if cell is None or str(cell).strip() in missing else _names(str(cell).split(separator))
        for cell in column.to_pylist()
    )


def _parsed(column: pa.ChunkedArray, missing: Collection[str]) -> pa.ChunkedArray:
    return _as_column(
        None if cell is None or cell.strip() in missing else _names(_written(cell) or ()) for cell in column.to_pylist()
    )


def _written(text: str) -> list[object] | None:
    """The list that a text is, as JSON or Python write it."""
    found = read_literal(text.strip()) if text.lstrip().startswith("[") else None
    return found if isinstance(found, list) else None


if TYPE_CHECKING:
    from collections.abc import Callable

    _Reading = Callable[[pa.ChunkedArray], pa.ChunkedArray]
