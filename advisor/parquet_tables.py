"""Parquet -> an Arrow table: plain columns read, images referred to, other nested ones only named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.cells import FileTable, is_nested, nested_placeholder, refuse_repeated
from advisor.images import held_column, holds_encoded_images, parquet_images
from tuner.errors import DataError


def read_parquet(path: Path) -> FileTable:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            refuse_repeated(schema.names, place=str(path))
            plain = [item.name for item in schema if not is_nested(item.type)]
            batches = list(file.iter_batches(batch_size=1 << 16, columns=plain))  # less memory than all at once
            table = pa.Table.from_batches(batches) if batches else file.read(columns=plain)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})",
            why="the file is damaged or was not written to its end",
            fix="copy or save it again",
        ) from error
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise DataError(
            f"{path} holds text that is not UTF-8 ({str(error).splitlines()[0]})",
            why="Parquet stores text in UTF-8; anything else would be read wrongly",
            fix="write the file again with the text decoded",
        ) from error
    features = features_in(schema.metadata)
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
    class_names = {
        name: tuple(map(str, feature["names"]))
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" and "names" in feature
    }
    return FileTable(table=table.select(schema.names), class_names=class_names, held=held)


def features_in(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """What the datasets library leaves in the schema of its Parquet files: class names, and which columns are images.

    Nothing of files that something else wrote: labels are then what the cells say.
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        return {}
