"""Delimited text -> an Arrow table: delimiter and quotation marks are told by the lines; refusals name the line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from advisor.cells import FileTable, refuse_repeated
from advisor.encoding import BOMS, arrow_stream, read_head, text_sample
from tuner.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

_BLOCK_BYTES = 1 << 21
_LARGE_BLOCK_BYTES = 1 << 26  # for rows longer than a block  # for rows longer than a block


def read_delimited(path: Path, encoding: str) -> FileTable:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    sample, whole = text_sample(path, encoding)
    if sample.lstrip().startswith(("{", "[{")) and _is_json_line(sample):
        raise DataError(
            f"{path} holds JSON, not delimited columns",
            why="its first line is a JSON object",
            fix="give the file the ending .jsonl",
        )
    with _long_fields_allowed():
        delimiter = _sniff_delimiter(path, sample, whole=whole)
        header = next(record for record in csv.reader(_lines(sample), delimiter=delimiter) if record)
        quoting = _sniff_quoting(path, sample, delimiter=delimiter, whole=whole)
    refuse_repeated([name.strip() for name in header if name.strip()], place=str(path))
    names = [name.strip() or f"unnamed_{i}" for i, name in enumerate(header)]
    for block_bytes in (_BLOCK_BYTES, _LARGE_BLOCK_BYTES):
        try:
            table = arrow_csv.read_csv(
                arrow_stream(path, encoding),
                read_options=arrow_csv.ReadOptions(block_size=block_bytes),
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, **quoting),
                # Every cell stays text: "007" is no number, and a late "n/a" must not end the reading.
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and block_bytes != _LARGE_BLOCK_BYTES:
                continue
            raise _bad_line(path, encoding, delimiter, quoting, n_columns=len(header), error=error) from error
        break
    if table.num_columns == len(names):  # a header line alone gives no columns in some versions
        table = table.rename_columns(names)
    return FileTable(table=table)


def _is_json_line(sample: str) -> bool:
    try:
        value = json.loads(sample.lstrip().split("\n", 1)[0])
    except json.JSONDecodeError:
        return False
    return isinstance(value, (dict, list))


@contextmanager
def _long_fields_allowed() -> Iterator[None]:
    """Python's csv module refuses fields above 128 kB unless told otherwise, for the whole process."""
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lines(sample: str) -> io.StringIO:
    """A text with its own line ends kept, lone carriage returns among them, as the csv module wants it."""
    return io.StringIO(sample, newline="")


def _sniff_delimiter(path: Path, sample: str, *, whole: bool) -> str:
    """The delimiter that splits the header and gives most records the header's number of fields.

    A tab for names ending in .tsv, and a comma for one-column files, need no evidence.
    """
    found: dict[str, float] = {}
    for delimiter in DELIMITERS:
        counts = [len(record) for record in csv.reader(_lines(sample), delimiter=delimiter) if record]
        if not whole and len(counts) > 2:
            counts.pop()  # a quoted field may be cut off
        if counts and counts[0] > 1:
            found[delimiter] = counts.count(counts[0]) / len(counts)
    usual = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(path.suffix.lower(), ",")
    if not found:
        return usual
    best = max(found.values())
    leading = [delimiter for delimiter, share in found.items() if share >= best - 0.02]
    if len(leading) == 1:
        return leading[0]
    if usual in leading:
        return usual
    raise DataError(
        f"{path}: columns may be separated by {' or '.join(DELIMITERS[delimiter] for delimiter in leading)}",
        why="both split the lines equally well",
        fix="save the file as CSV with commas, or as JSONL",
    )


def _sniff_quoting(path: Path, sample: str, *, delimiter: str, whole: bool) -> dict[str, Any]:
    """How quotation marks work here, as Arrow's parse options: doubled, escaped by a backslash, or plain text."""
    styles: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"doublequote": True}),
        ({"escape_char": "\\", "double_quote": False}, {"doublequote": False, "escapechar": "\\"}),
    ]
    failure = ""
    line = 0
    for options, dialect in styles:
        reader = csv.reader(_lines(sample), delimiter=delimiter, strict=True, **dialect)
        try:
            widths = [len(record) for record in reader if record]
        except csv.Error as error:
            if "unexpected end" in str(error) and not whole:
                return options
            failure, line = failure or str(error), line or reader.line_num
            continue
        if "escapechar" in dialect and ('\\"' not in sample or max(widths) != min(widths)):
            break  # without doubling nothing is an error for Python, so the result must look right
        # Tab-separated files often hold bare quotation marks; swallowed line ends then show as ragged records.
        if delimiter == "\t" and max(widths) != min(widths):
            break
        return options
    plain = [len(line_.split(delimiter)) for line_ in sample.splitlines() if line_]
    if delimiter != "," and max(plain) == min(plain):
        return {"quote_char": False}
    if failure and delimiter != "\t":
        raise DataError(
            f"{path}, line {line:,}: a quotation mark opens or closes in the wrong place ({failure})",
            why="cells could be merged or cut without a sign of it",
            fix='double the quotation marks inside quoted cells ("" for "), or save the file as JSONL',
        )
    return {"quote_char": False} if failure else {}


def _dialect(delimiter: str, quoting: Mapping[str, Any]) -> dict[str, Any]:
    """Arrow's parse options as those of Python's csv module."""
    dialect: dict[str, Any] = {"delimiter": delimiter}
    if quoting.get("quote_char") is False:
        dialect["quoting"] = csv.QUOTE_NONE
    elif "escape_char" in quoting:
        dialect |= {"doublequote": False, "escapechar": "\\"}
    return dialect


def first_rows(path: Path, *, most: int) -> list[dict[str, str]]:
    """The first rows of a delimited file by column, as `read_file` parses them; none that the sample cuts off.

    Of the encoding only a byte-order mark is looked at, since this is a glance. Raises `DataError` as `read_file` does.
    """
    encoding = next((name for mark, name in BOMS if read_head(path).startswith(mark)), "utf-8")
    sample, whole = text_sample(path, encoding)
    with _long_fields_allowed():
        delimiter = _sniff_delimiter(path, sample, whole=whole)
        quoting = _sniff_quoting(path, sample, delimiter=delimiter, whole=whole)
        reader = csv.reader(_lines(sample), **_dialect(delimiter, quoting))
        records = list(islice((record for record in reader if record), most + 2))
    if not whole and len(records) < most + 2:
        records.pop()
    header = [name.strip() for name in records[0]] if records else []
    return [dict(zip(header, record, strict=False)) for record in records[1 : most + 1]]


def _bad_line(
    path: Path, encoding: str, delimiter: str, quoting: Mapping[str, Any], *, n_columns: int, error: Exception
) -> DataError:
    """Arrow's refusal with the number of the line, which it does not know when it reads in parallel."""
    with _long_fields_allowed(), path.open("r", encoding=encoding, errors="replace", newline="") as file:
        reader = csv.reader(file, strict=True, **_dialect(delimiter, quoting))
        line = 1
        try:
            for record in reader:
                if record and len(record) != n_columns:
                    return DataError(
                        f"{path}, line {line:,}: {len(record)} fields where the header has {n_columns}",
                        why="its cells cannot be told apart safely, usually because a text holds the delimiter",
                        fix=f"put texts that hold a {DELIMITERS[delimiter]} in quotation marks, or save as JSONL",
                    )
                line = reader.line_num + 1
        except csv.Error:
            return DataError(
                f"{path}, line {line:,}: a quotation mark is never closed, or closes in the wrong place",
                why="everything up to the next quotation mark would become one cell",
                fix='close it; inside quoted cells double it ("" for ")',
            )
    return DataError(
        f"{path} cannot be read as delimited text ({str(error).splitlines()[0]})",
        why="the columns cannot be told apart safely",
        fix="save the file as JSONL",
    )
