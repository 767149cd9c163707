"""Parquet -> an Arrow table: plain columns and lists read, images referred to, other nested ones only named.

What a file says of itself is not believed where it would cost memory: declared sizes are held against what is free, and
texts that a dictionary repeats are counted before they are written out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.cells import (
    MOST_COLUMNS,
    FileTable,
    is_nested,
    keeps_lists,
    names_of_items,
    nested_placeholder,
    plain_texts,
    refuse_repeated,
    too_wide,
)
from advisor.data.images import held_column, holds_encoded_images, parquet_images
from advisor.data.opened import OpenFile
from tuner import memory
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_BATCH_ROWS = 1 << 16  # less memory than all at once
_SNIFFED_ROWS = 20
_MARKUP = (b"<svg", b"<?xml", b"%PDF", b"GIF8", b"RIFF", b"BM")
_MOST_BYTES = 1 << 40
"""Held against where free memory is not known."""


def read_parquet(opened: OpenFile) -> FileTable:
    """The columns of a Parquet file; texts in any of Arrow's types, bytes that are UTF-8 among them, become strings.

    Lists of classes become lists of their names where the file has them. Lists that would take more than a part of the
    free memory, such as embeddings, are only named. Raises `DataError` for damaged files, text that is not UTF-8, and
    what would not fit into memory.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = opened.path
    try:
        with parquet.ParquetFile(opened.file) as file:
            schema = file.schema_arrow
            if len(schema) > MOST_COLUMNS:
                raise too_wide(path, len(schema))
            refuse_repeated(schema.names, place=str(path))
            features = features_in(schema.metadata)
            texts = _texts_as_bytes(file, schema, features)
            plain = [item.name for item in schema if item.name in texts or not is_nested(item.type)]
            left = _check_declared(path, file, plain)
            lists = [item.name for item in schema if keeps_lists(item.type)]
            plain += _small_lists(file, lists, most=min(left, _free_bytes() / 4))
        table = _read_columns(opened, plain, schema)
    except (pa.ArrowException, OSError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0] if str(error) else 'out of memory'})",
            why="the file is damaged or was not written to its end",
            fix="copy or save it again",
        ) from error
    table = _decoded(path, table, texts)
    held: dict[str, Sequence[Any]] = {}
    for item in schema:
        if item.name in plain:
            continue
        column = nested_placeholder(table.num_rows)
        if holds_encoded_images(item.type, feature=features.get(item.name, {}).get("_type")):
            place = f"{path}:{item.name}"
            held[place] = parquet_images(path, item.name, n_rows=table.num_rows)
            column = held_column(place, table.num_rows)
        table = table.append_column(item.name, column)
    table = table.select(schema.names)
    item_names = {
        item.name: names
        for item in table.schema
        if keeps_lists(item.type) and (names := _names_in(features.get(item.name, {}).get("feature")))
    }
    for name, names in item_names.items():
        table = table.set_column(table.column_names.index(name), name, names_of_items(table.column(name), names))
    class_names = {name: names for name, feature in features.items() if (names := _names_in(feature))}
    return FileTable(table=table, class_names=class_names, item_names=item_names, held=held)


def _names_in(feature: Any) -> tuple[str, ...]:
    """The names of a feature's classes; none of other features."""
    is_class = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    return tuple(map(str, feature.get("names", ()))) if is_class else ()


def _free_bytes() -> int:
    free = memory.free_memory()
    return _MOST_BYTES if free is None else max(free, 0)


def _check_declared(path: Path, file: parquet.ParquetFile, names: Sequence[str]) -> int:
    """The bytes that are left free; raise where the rows, or the columns once they are unpacked, need more."""
    metadata = file.metadata
    free = _free_bytes()
    n_rows = metadata.num_rows
    of_groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    if n_rows < 0 or n_rows != sum(group.num_rows for group in of_groups):
        raise DataError(
            f"{path} cannot be read as Parquet (it says that it has {n_rows:,} rows, and its parts say otherwise)",
            why="the file is damaged or was not written to its end",
            fix="copy or save it again",
        )
    wanted = set(names)
    needed = 8 * n_rows + sum(
        chunk.total_uncompressed_size
        for group in of_groups
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema in wanted
    )
    if needed > free:
        raise _too_large(path, needed, free)
    return int(free - needed)


def _small_lists(file: parquet.ParquetFile, names: Sequence[str], *, most: float) -> list[str]:
    """The columns of lists that together take no more than `most` bytes once unpacked, the smallest ones first."""
    sizes = dict.fromkeys(names, 0)
    metadata = file.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            for name in names:
                if chunk.path_in_schema.startswith(f"{name}."):
                    sizes[name] += max(chunk.total_uncompressed_size, 8 * chunk.num_values)
    small = []
    for name in sorted(names, key=lambda name: sizes[name]):
        most -= sizes[name]
        small += [name] if most >= 0 else []
    return small


def _too_large(path: Path, needed: int, free: int) -> DataError:
    return DataError(
        f"{path} is larger than the memory once it is unpacked: it needs {needed / 1e9:,.1f} GB or more, and "
        f"{free / 1e9:,.1f} GB are free",
        why="texts and labels of all rows are read",
        fix="save fewer rows, or only the columns with the text and the label, as a new file",
    )


def _read_columns(opened: OpenFile, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The columns, batch by batch; texts come as the dictionaries that they are stored as where they could swell."""
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(opened.file) as file:
        swelling = _could_swell(file, names)
    with parquet.ParquetFile(opened.file, read_dictionary=swelling) as file:
        if not names:
            return file.read(columns=[])
        batches = list(_batches(opened.path, file, names))
        if not batches:
            return pa.table([pa.array([], schema.field(name).type) for name in names], names=list(names))
    return pa.Table.from_batches(batches)


def _could_swell(file: parquet.ParquetFile, names: Sequence[str]) -> list[str]:
    """Columns of texts that could be larger than the memory, as few bytes may stand for a long text of a dictionary."""
    free = _free_bytes()
    texts = {item.name for item in file.schema_arrow if item.name in set(names) and _is_text(_innermost(item.type))}
    most: dict[str, int] = {}
    metadata = file.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            path = chunk.path_in_schema
            own = path in texts or any(path.startswith(f"{name}.") for name in texts)
            if own and any("DICTIONARY" in encoding for encoding in chunk.encodings):
                # No text of the dictionary is longer than all of the chunk.
                most[path] = most.get(path, 0) + chunk.num_values * chunk.total_uncompressed_size
    return [path for path, bound in most.items() if bound > free / 4]


def _innermost(kind: pa.DataType) -> pa.DataType:
    """What a list holds, or a list of lists; of other columns the type itself."""
    return _innermost(kind.value_type) if keeps_lists(kind) else kind


def _batches(path: Path, file: parquet.ParquetFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches with their dictionaries written out, as long as the memory takes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    free = _free_bytes()
    used = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(names)):
        columns = []
        for column in batch.columns:
            items = column
            while keeps_lists(items.type):
                items = items.flatten()
            if pa.types.is_dictionary(items.type) and _is_text(items.type.value_type):
                lengths = pc.binary_length(items.dictionary).cast(pa.int64())
                used += pc.sum(pc.take(lengths, items.indices)).as_py() or 0
                if used > free / 2:  # the texts are copied once on their way
                    raise _too_large(path, 2 * used, free)
                if items is column:
                    columns.append(pc.take(column.dictionary, column.indices))
                else:
                    columns.append(column.cast(_written_out(column.type)))
            else:
                used += column.nbytes
                columns.append(column)
        if used > free:
            raise _too_large(path, used, free)
        yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _written_out(kind: pa.DataType) -> pa.DataType:
    """The type of lists with texts in place of a dictionary's."""
    import pyarrow as pa

    return pa.list_(_written_out(kind.value_type)) if keeps_lists(kind) else kind.value_type


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in tests)


def _texts_as_bytes(file: parquet.ParquetFile, schema: pa.Schema, features: Mapping[str, Any]) -> set[str]:
    """Columns of bytes whose first ones are UTF-8 text, as some writers omit the type of text."""
    import pyarrow as pa

    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    found = set()
    for item in schema:
        if not any(test(item.type) for test in tests) or features.get(item.name, {}).get("_type") == "Image":
            continue
        batch = next(file.iter_batches(batch_size=_SNIFFED_ROWS, columns=[item.name]), None)
        values = [] if batch is None else [value for value in batch.column(0).to_pylist() if value]
        if values and all(map(reads_as_text, values)):
            found.add(item.name)
    return found


def reads_as_text(value: bytes) -> bool:
    """Whether bytes are text in UTF-8 rather than a picture, which may be text too (SVG)."""
    if b"\0" in value or value.startswith(_MARKUP):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(path: Path, table: pa.Table, texts: set[str]) -> pa.Table:
    """The table with every text as a string, checked for being UTF-8."""
    import pyarrow as pa

    for name in texts:
        position = table.column_names.index(name)
        column = table.column(position)
        try:
            as_text = column.cast(pa.binary() if pa.types.is_fixed_size_binary(column.type) else column.type)
            as_text = as_text.cast(pa.large_binary()).cast(pa.large_string())
        except pa.ArrowException as error:
            raise DataError(
                f"{path}: column '{name}' holds bytes, not all of them UTF-8 text ({str(error).splitlines()[0]})",
                why="its first rows read as text, and others cannot be decoded",
                fix=f"decode the column and save it as text, in pandas: frame['{name}'].str.decode(ENCODING)",
            ) from error
        table = table.set_column(position, name, as_text)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise DataError(
            f"{path} holds text that is not UTF-8 ({str(error).splitlines()[0]})",
            why="Parquet stores text in UTF-8; anything else would be read wrongly",
            fix="write the file again with the text decoded",
        ) from error
    return plain_texts(table)


def features_in(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """What the datasets library leaves in the schema of its Parquet files: class names, and which columns are images.

    Nothing of files that something else wrote: labels are then what the cells say.
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}
