"""JSON lines -> an Arrow table, read by Arrow where that is safe; refusals name the line. One value: `json_layouts`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from advisor.data.cells import FileTable, table_from_rows
from advisor.data.encoding import arrow_stream, python_stream
from advisor.data.json_layouts import JsonRows, kind_of, rows_of_lists, rows_of_value
from advisor.data.opened import OpenFile
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 21
_LARGE_BLOCK_BYTES = 1 << 26  # for rows longer than a block
_DEEPEST = 500
"""Levels of nesting that Arrow is given: its reader calls itself for each, and from some 50,000 on the process dies."""
_MOST_NAMES = 500
_LINES_APART = 8  # names are looked at in one of so many lines
_NAME = re.compile(rb'"([^"\\]{1,200})"\s*:')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def read_json(file: OpenFile, encoding: str, *, header: bool | None = None, names: Sequence[str] = ()) -> FileTable:
    """Read JSON lines, a list of rows, or one object that holds a table (`advisor.data.json_layouts`).

    Args:
        file: the file, opened.
        encoding: of the file, as Python names it (`advisor.data.encoding.detect_encoding`).
        header: whether the first of rows that are lists names the columns; None: it is judged by its look.
        names: columns that are known to be there, for rows that are lists.

    Raises:
        DataError: for broken JSON and for layouts that hold no table.
    """
    import pyarrow as pa

    if not _could_be_lines(file, encoding) or _is_too_much_for_arrow(file, encoding):
        return _table_of(json_rows(file, encoding, header=header, names=names))
    explicit = pa.schema([])
    while True:
        table = _arrow_json(file, encoding, explicit)
        if table is None:
            # Broken lines, but also columns whose type changes: Python reads those, and knows line numbers.
            return _table_of(json_rows(file, encoding, header=header, names=names))
        # "2020-01-01" is text, as written, in lists too
        dates = [(item.name, pa.string()) for item in table.schema if pa.types.is_temporal(item.type)]
        dates += [(item.name, pa.list_(pa.string())) for item in table.schema if _holds_dates(item.type)]
        if not dates or explicit.names:
            return FileTable(table=table)
        explicit = pa.schema(dates)


def _holds_dates(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) and pa.types.is_temporal(kind.value_type))


def json_rows(file: OpenFile, encoding: str, *, header: bool | None = None, names: Sequence[str] = ()) -> JsonRows:
    """Read the rows of a JSON file with Python's reader, by split where it holds several.

    Args:
        file: the file, opened.
        encoding: of the file, as Python names it.
        header: whether the first of rows that are lists names the columns; None: it is judged by its look.
        names: columns that are known to be there, for rows that are lists.

    Raises:
        DataError: for broken JSON and for layouts that hold no table.
    """
    path = file.path
    with python_stream(file, encoding) as stream:
        while (first := stream.read(1)).isspace():
            continue
        stream.seek(0)
        if first == b"[" and not _is_lines_of_lists(stream):
            return rows_of_value(_load(path, stream), path=path, header=header, names=names)
        return _read_lines(path, stream, header=header, names=names)


def _table_of(rows: JsonRows) -> FileTable:
    tables = {split: table_from_rows(part) for split, part in rows.parts.items()}
    first = next(iter(tables.values()))
    parts = tables if set(tables) != {"all"} else {}
    return FileTable(table=first, parts=parts, warnings=rows.warnings, without_header=rows.without_header)


def _could_be_lines(file: OpenFile, encoding: str) -> bool:
    """Whether the first line is an object and others follow, so that the file is not one value."""
    with python_stream(file, encoding) as stream:
        first = next((line for line in stream if line.strip()), b"").strip()
        return first[:1] == b"{" and first[-1:] == b"}" and any(line.strip() for line in stream)


def _is_too_much_for_arrow(file: OpenFile, encoding: str) -> bool:
    """Whether brackets outside strings stand open too deeply, across lines too, or names are new all the time.

    Arrow calls itself for every level, and takes a time that grows with the square of the number of names.
    """
    depth = 0
    names: set[bytes] = set()
    with python_stream(file, encoding) as stream:
        for number, line in enumerate(stream):
            if number % _LINES_APART == 0:
                names.update(_NAME.findall(line))
                if len(names) > _MOST_NAMES:
                    return True
            bare = line.strip()
            counts = [bare.count(sign) for sign in (b"{", b"}", b"[", b"]")]
            if counts == [1, 1, 0, 0] and bare[:1] == b"{" and bare[-1:] == b"}":
                continue  # one flat object, as most lines are
            signs = np.frombuffer(_STRING.sub(b"", line), np.uint8)
            steps = np.isin(signs, tuple(b"{[")).astype(np.int64) - np.isin(signs, tuple(b"}]"))
            levels = depth + np.cumsum(steps)
            if len(levels):
                if levels.max() > _DEEPEST:
                    return True
                depth = max(int(levels[-1]), 0)
    return False


def _arrow_json(file: OpenFile, encoding: str, explicit: pa.Schema) -> pa.Table | None:
    """JSON lines read block by block, which needs half the memory; None where columns or types change on the way.

    The first block decides the columns, so a second attempt looks at a larger one.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    parsing = arrow_json.ParseOptions(explicit_schema=explicit, newlines_in_values=False)
    for block_bytes in (_BLOCK_BYTES, _LARGE_BLOCK_BYTES):
        reading = arrow_json.ReadOptions(block_size=block_bytes)
        try:
            with arrow_json.open_json(arrow_stream(file, encoding), reading, parsing) as reader:
                return pa.Table.from_batches(list(reader), schema=reader.schema)
        except pa.ArrowInvalid:
            continue
    return None


def _is_lines_of_lists(stream: BinaryIO) -> bool:
    """Whether each line is a list of its own, as in ``["a text", "a label"]``; the stream is at its beginning again."""
    first = next((line for line in stream if line.strip()), b"").strip()
    more = any(line.strip() for line in stream)
    stream.seek(0)
    return more and first[-1:] == b"]" and isinstance(_loaded(first), list)


def _loaded(written: bytes) -> Any:
    """The value, or None where there is none or it is broken."""
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return None


def why_broken(error: ValueError | RecursionError) -> str:
    """What Python's reader says of broken JSON, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "a number with too many digits"


def _load(path: Path, stream: BinaryIO) -> Any:
    try:
        return json.load(stream)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno:,}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(
            f"{path}{where}: broken JSON ({why_broken(error)})",
            why="the list of rows ends in the middle or has a syntax error",
            fix="repair it, or save the rows as JSONL, one object a line",
        ) from error


def _read_lines(path: Path, stream: BinaryIO, *, header: bool | None, names: Sequence[str]) -> JsonRows:
    rows: list[Any] = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not rows and (whole := _whole_value(stream)) is not None:  # one value over several lines
                return rows_of_value(whole, path=path, header=header, names=names)
            raise DataError(
                f"{path}, line {number:,}: broken JSON ({why_broken(error)})",
                why="every line must hold one JSON object, complete in itself",
                fix="repair or delete that line, then look for more with: python -m json.tool --json-lines FILE",
            ) from error
        if not isinstance(row, type(rows[0]) if rows else (dict, list)):
            raise DataError(
                f"{path}, line {number:,}: a JSON {kind_of(row)} where an object is expected",
                why='rows are objects with named values, as in {"text": "...", "label": "..."}',
                fix="write every row as an object with the same names",
            )
        rows.append(row)
    if len(rows) == 1:
        return rows_of_value(rows[0], path=path, header=header, names=names)
    if rows and isinstance(rows[0], list):
        return rows_of_lists({"all": rows}, path=path, header=header, names=names)
    return JsonRows(parts={"all": rows})


def _whole_value(stream: BinaryIO) -> Mapping[str, Any] | None:
    """The object that the whole file is; None where it is none, or broken."""
    stream.seek(0)
    value = _loaded(stream.read())
    return value if isinstance(value, dict) else None
