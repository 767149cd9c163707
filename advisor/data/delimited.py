"""Delimited text -> an Arrow table: delimiter and quotation marks are told by the lines; refusals name the line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.cells import MOST_COLUMNS, FileTable, refuse_repeated, too_wide
from advisor.data.encoding import arrow_stream, text_sample
from advisor.data.fasttext import is_fasttext, read_fasttext
from advisor.data.header import USUAL_NAMES, judge_first_row, name_columns
from advisor.data.opened import OpenFile, empty_file
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

_BLOCK_BYTES = 1 << 21
_LARGE_BLOCK_BYTES = 1 << 26  # for rows longer than a block
_WIDE = 1_000  # columns beyond which every block and thread costs more than it brings
_LOOKED_AT = 500  # records that say whether lines stand before a table
_MOST_TITLES = 5
_CONSISTENT = 0.9
_TITLES = re.compile(
    r"(?:(?![^\S\r\n]*[\r\n])[^\r\n]{1,300}(?:\r\n|\r|\n)){1,5}(?:[^\S\r\n]{0,300}(?:\r\n|\r|\n)){1,9}(?=.)"
)
_ALL_BUT_EMPTY = 0.1
"""Share of filled cells up to which a column without a name is left out."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a file's lines are read: ``before`` are the characters of the lines before the rows, ``lines`` of them."""

    delimiter: str
    quoting: Mapping[str, Any]
    names: tuple[str, ...]
    before: str
    lines: int
    without_header: bool
    records: Sequence[Sequence[str]]
    whole: bool
    warnings: tuple[str, ...]


def read_delimited(
    file: OpenFile, encoding: str, *, header: bool | None = None, names: Sequence[str] = ()
) -> FileTable:
    """Read a delimited text file as a table of text cells.

    Args:
        file: the file, opened.
        encoding: of the file, as Python names it (`advisor.data.encoding.detect_encoding`).
        header: whether the first row names the columns; None: it is judged by its look (`advisor.data.header`).
        names: columns that are known to be there.

    Raises:
        DataError: for JSON, for broken or ragged lines (with their number), and for a file without a table.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    path = file.path
    sample, whole = text_sample(file, encoding)
    if sample.lstrip().startswith(("{", "[{")) and _is_json_line(sample):
        raise DataError(
            f"{path} holds JSON, not delimited columns",
            why="its first line is a JSON object",
            fix="give the file the ending .jsonl",
        )
    if is_fasttext(sample):
        return read_fasttext(file, encoding)
    layout = _layout(path, sample, whole=whole, header=header, known=names)
    if layout.whole and not layout.records:
        return FileTable(table=pa.table({name or f"unnamed_{i}": [] for i, name in enumerate(layout.names)}))
    places = [str(i) for i in range(len(layout.names))]  # names may be blank, and are then not distinct
    wide = len(places) > _WIDE
    for block_bytes in (_LARGE_BLOCK_BYTES,) if wide else (_BLOCK_BYTES, _LARGE_BLOCK_BYTES):
        try:
            table = arrow_csv.read_csv(
                arrow_stream(file, encoding, behind=layout.before),
                read_options=arrow_csv.ReadOptions(block_size=block_bytes, column_names=places, use_threads=not wide),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=layout.delimiter, newlines_in_values=True, **layout.quoting
                ),
                # Every cell stays text: "007" is no number, and a late "n/a" must not end the reading.
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and block_bytes != _LARGE_BLOCK_BYTES:
                continue
            raise _bad_line(
                file, encoding, layout.delimiter, layout.quoting, n_columns=len(places), error=error,
                before=layout.before, lines=layout.lines, first="first row" if layout.without_header else "header",
            ) from error  # fmt: skip
        break
    table, warnings = _without_empty(table, layout.names, place=path.name)
    return FileTable(
        table=table,
        warnings=(*layout.warnings, *warnings),
        without_header=layout.without_header,
    )


def _without_empty(table: pa.Table, names: Sequence[str], *, place: str) -> tuple[pa.Table, list[str]]:
    """The table under its names, less columns without one that are all but empty, as trailing delimiters make them."""
    import pyarrow.compute as pc

    filled = {}
    for position, name in enumerate(names):
        if not name:
            cells = pc.utf8_trim_whitespace(table.column(position))
            filled[position] = pc.sum(pc.not_equal(cells, "")).as_py() or 0
    dropped = [position for position, count in filled.items() if count <= _ALL_BUT_EMPTY * table.num_rows]
    lost = sum(filled[position] for position in dropped)
    table = table.rename_columns([name or f"unnamed_{i}" for i, name in enumerate(names)])
    if not dropped or len(dropped) == len(names):
        return table, []
    warnings = []
    if lost:
        columns = "a column without a name was" if len(dropped) == 1 else "columns without a name were"
        cells = "cell is" if lost == 1 else "cells are"
        warnings.append(f"{place}: {columns} left out as all but empty: {lost:,} {cells} filled")
    return table.select([i for i in range(len(names)) if i not in dropped]), warnings


# --- what stands where


def _layout(path: Path, sample: str, *, whole: bool, header: bool | None = None, known: Sequence[str] = ()) -> _Layout:
    """Delimiter, quotation marks, lines before the table, and names of columns, by the first lines."""
    before, forced = _marks_before(sample)
    text = sample[len(before) :]
    with _long_fields_allowed():
        comments = _comments_before(path, text, whole=whole, delimiter=forced)
        before += comments
        text = text[len(comments) :]
        titles, delimiter = "", forced
        if header is not False:
            titles, delimiter = _titles_before(path, text, whole=whole, delimiter=forced)
        before += titles
        text = text[len(titles) :]
        if delimiter is None:
            delimiter = _sniff_delimiter(path, text, whole=whole)
        quoting = _sniff_quoting(path, text, delimiter=delimiter, whole=whole)
        found = list(_records(text, _dialect(delimiter, quoting)))
    if not whole and len(found) > 2:
        found.pop()  # a quoted field may be cut off
    if not found:
        raise empty_file(path, "it holds no table")
    records = [record for record, _, _ in found]
    if len(records[0]) > MOST_COLUMNS:
        raise too_wide(path, len(records[0]))
    first = _fitted(records[0], records[1:])
    if quoting.get("quote_char") is False:
        first = [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in first]
    columns = name_columns([first, *records[1:]], place=path.name, header=header, known=known)
    names = columns.names
    if columns.n_header:
        names = (names[0].lstrip("#").strip(), *names[1:])
        refuse_repeated([name for name in names if name], place=str(path))
        _, offset, lines = found[0]
        lines += before.count("\n")
        before += text[:offset]
    else:
        lines = len(before.splitlines())
    skipped = len((comments + titles).splitlines())
    warnings = columns.warnings
    if skipped:
        lines_were = "line before the table was" if skipped == 1 else "lines before the table were"
        warnings = (f"{path.name}: {skipped:,} {lines_were} skipped", *warnings)
    return _Layout(
        delimiter=delimiter,
        quoting=quoting,
        names=names,
        before=before,
        lines=lines,
        without_header=columns.without_header,
        records=records[columns.n_header :],
        whole=whole,
        warnings=warnings,
    )


def _records(text: str, dialect: Mapping[str, Any]) -> Iterator[tuple[list[str], int, int]]:
    """Every record that is not blank, with the characters and lines up to its end."""
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for line in _lines(text):
            read += len(line)
            yield line

    reader = csv.reader(counted(), **dialect)
    for record in reader:
        if record:
            yield record, read, reader.line_num


def _marks_before(sample: str) -> tuple[str, str | None]:
    """Blank lines and a line ``sep=;``, as Excel writes it, at the beginning; and the delimiter that it names."""
    blank = re.match(r"(?:[^\S\r\n]*(?:\r\n|\r|\n))*", sample)
    before = blank.group() if blank is not None else ""
    found = re.compile(r'"?sep=(.)"?[^\S\r\n]*(?:\r\n|\r|\n)', re.IGNORECASE).match(sample, len(before))
    if found is None:
        return before, None
    return before + found.group(), found[1]


def _comments_before(path: Path, text: str, *, whole: bool, delimiter: str | None) -> str:
    """Lines at the beginning that start with ``#`` and are no row: a hashtag may begin a text, and a name a header."""
    found = re.match(r"(?:#[^\r\n]*(?:\r\n|\r|\n))+", text)
    if found is None or found.end() == len(text):
        return ""
    rest = text[found.end() :]
    used = delimiter or _sniff_delimiter(path, rest, whole=whole)
    widths = [len(record) for record, _, _ in islice(_records(rest, {"delimiter": used}), _LOOKED_AT)]
    usual = max(set(widths), key=widths.count)
    comments = found.group().splitlines(keepends=True)
    last = next(csv.reader([comments[-1]], delimiter=used))
    if len(last) == usual > 1 and not comments[-1].startswith("# "):
        comments.pop()  # a header such as #text,label, or a row
    if len(last) == usual and comments and comments[-1].startswith("# "):
        records = [record for record, _, _ in islice(_records(rest, {"delimiter": used}), _LOOKED_AT)]
        same = [record for record in records if len(record) == usual]
        if judge_first_row(same) != ("header", True):
            comments.pop()
    if usual == 1 and not all(re.match(r"#+\s", line) for line in comments):
        return ""
    return "".join(comments)


def _titles_before(path: Path, text: str, *, whole: bool, delimiter: str | None) -> tuple[str, str | None]:
    """Lines at the beginning with one cell, above a header of several; and the delimiter that shows it."""
    if parted := _parted_titles(text, delimiter=delimiter):
        return parted
    for candidate in (delimiter,) if delimiter is not None else tuple(DELIMITERS):
        found = list(islice(_records(text, {"delimiter": candidate}), _LOOKED_AT))
        if not whole and len(found) > 2:
            found.pop()
        alone = [sum(bool(cell.strip()) for cell in record) <= 1 for record, _, _ in found]
        n = next((i for i, is_alone in enumerate(alone) if not is_alone), 0)
        if not 0 < n <= _MOST_TITLES or len(found) < n + 3:
            continue
        rest = [record for record, _, _ in found[n:]]
        width = len(rest[0])
        usual_name = any(cell.strip().lower() in USUAL_NAMES for record, _, _ in found[:n] for cell in record)
        if usual_name or sum(len(record) == width for record in rest) < _CONSISTENT * len(rest):
            continue
        if judge_first_row([record for record in rest if len(record) == width]) == ("header", True):
            return text[: found[n - 1][1]], candidate
    return "", delimiter


def _parted_titles(text: str, *, delimiter: str | None) -> tuple[str, str] | None:
    """A few lines, of any number of cells, that a blank line parts from a header; and the delimiter below it."""
    found = _TITLES.match(text)
    if found is None or found.group().count('"') % 2:
        return None
    for candidate in (delimiter,) if delimiter is not None else tuple(DELIMITERS):
        rest = [record for record, _, _ in islice(_records(text[found.end() :], {"delimiter": candidate}), _LOOKED_AT)]
        same = [record for record in rest if len(record) == len(rest[0])]
        if len(rest) < 3 or len(rest[0]) < 2 or len(same) < _CONSISTENT * len(rest):
            continue
        if judge_first_row(same) == ("header", True):
            return found.group(), candidate
    return None


def _fitted(first: list[str], others: Sequence[Sequence[str]]) -> list[str]:
    """The first record without, or with more, blank cells at its end, where all others agree on another number."""
    widths = {len(record) for record in others}
    if len(widths) != 1:
        return first
    width = widths.pop()
    if width < len(first) and not any(cell.strip() for cell in first[width:]):
        return first[:width]
    if width > len(first) and not any(cell.strip() for record in others for cell in record[len(first) :]):
        return [*first, *[""] * (width - len(first))]
    if width == len(first) + 1 and len(others) > 1:
        numbers = [record[0].strip() for record in others]
        start = int(numbers[0]) if numbers[0] in ("0", "1") else None
        if start is not None and numbers == [str(number) for number in range(start, start + len(numbers))]:
            return ["", *first]  # rows are numbered, and R gives these numbers no name
    return first


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


def _bad_line(
    file: OpenFile,
    encoding: str,
    delimiter: str,
    quoting: Mapping[str, Any],
    *,
    n_columns: int,
    error: Exception,
    before: str = "",
    lines: int = 0,
    first: str = "header",
) -> DataError:
    """Arrow's refusal with the number of the line, which it does not know when it reads in parallel.

    `before` and `lines` are the characters and lines before the rows, `first` is what has `n_columns` cells.
    """
    path = file.path
    with _long_fields_allowed(), file.text(encoding) as stream:
        stream.read(len(before))
        reader = csv.reader(stream, strict=True, **_dialect(delimiter, quoting))
        line = lines + 1
        try:
            for record in reader:
                if record and len(record) != n_columns:
                    return DataError(
                        f"{path}, line {line:,}: {len(record)} fields where the {first} has {n_columns}",
                        why="its cells cannot be told apart safely, usually because a text holds the delimiter",
                        fix=f"put texts that hold a {DELIMITERS[delimiter]} in quotation marks, or save as JSONL",
                    )
                line = lines + reader.line_num + 1
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
