"""JSON lines and JSON arrays -> an Arrow table; refusals name the line or the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from advisor.cells import FileTable, table_from_rows
from advisor.encoding import arrow_stream, python_stream
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 21
_LARGE_BLOCK_BYTES = 1 << 26  # for rows longer than a block  # for rows longer than a block


def read_json(path: Path, encoding: str) -> FileTable:
    import pyarrow as pa

    with python_stream(path, encoding) as stream:
        while (first := stream.read(1)).isspace():
            continue
        if first == b"[":
            stream.seek(0)
            return _read_json_array(path, stream)
    explicit = pa.schema([])
    while True:
        table = _arrow_json(path, encoding, explicit)
        if table is None:
            # Broken lines, but also columns whose type changes: Python reads those, and knows line numbers.
            with python_stream(path, encoding) as stream:
                return _read_json_lines(path, stream)
        dates = [item.name for item in table.schema if pa.types.is_temporal(item.type)]
        if not dates or explicit.names:
            return FileTable(table=table)
        explicit = pa.schema([(name, pa.string()) for name in dates])  # "2020-01-01" is text, as written


def _arrow_json(path: Path, encoding: str, explicit: pa.Schema) -> pa.Table | None:
    """JSON lines read block by block, which needs half the memory; None where columns or types change on the way.

    The first block decides the columns, so a second attempt looks at a larger one.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    parsing = arrow_json.ParseOptions(explicit_schema=explicit, newlines_in_values=False)
    for block_bytes in (_BLOCK_BYTES, _LARGE_BLOCK_BYTES):
        reading = arrow_json.ReadOptions(block_size=block_bytes)
        try:
            with arrow_json.open_json(arrow_stream(path, encoding), reading, parsing) as reader:
                return pa.Table.from_batches(list(reader), schema=reader.schema)
        except pa.ArrowInvalid:
            continue
    return None


def _read_json_lines(path: Path, stream: BinaryIO) -> FileTable:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DataError(
                f"{path}, line {number:,}: broken JSON ({message})",
                why="every line must hold one JSON object, complete in itself",
                fix="repair or delete that line, then look for more with: python -m json.tool --json-lines FILE",
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number:,}: a JSON {_json_kind(row)} where an object is expected",
                why='rows are objects with named values, as in {"text": "...", "label": "..."}',
                fix="write every row as an object with the same names",
            )
        rows.append(row)
    return FileTable(table=table_from_rows(rows))


def _read_json_array(path: Path, stream: BinaryIO) -> FileTable:
    try:
        rows = json.load(stream)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f", line {error.lineno:,}" if isinstance(error, json.JSONDecodeError) else ""
        message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise DataError(
            f"{path}{where}: broken JSON ({message})",
            why="the list of rows ends in the middle or has a syntax error",
            fix="repair it, or save the rows as JSONL, one object a line",
        ) from error
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {i + 1:,}: a JSON {_json_kind(row)} where an object is expected",
                why='rows are objects with named values, as in {"text": "...", "label": "..."}',
                fix="write every row as an object with the same names",
            )
    return FileTable(table=table_from_rows(rows))


def _json_kind(value: object) -> str:
    kinds = ((bool, "boolean"), (list, "list"), (str, "string"), ((int, float), "number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
