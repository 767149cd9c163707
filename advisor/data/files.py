"""One table file -> one Arrow table, whatever its format, which its content tells first and then its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from advisor.data.cells import (
    MOST_COLUMNS,
    FileTable,
    column_from_values,
    is_nested,
    nested_placeholder,
    refuse_repeated,
    too_wide,
)
from advisor.data.delimited import first_rows, read_delimited
from advisor.data.encoding import detect_encoding, empty_file, python_stream, read_head
from advisor.data.images import ARRAY_SUFFIXES, HOW_TO_ARRANGE, IMAGE_SUFFIXES
from advisor.data.json_tables import read_json
from advisor.data.parquet_tables import features_in, read_parquet
from tuner.errors import DataError, OptionError

__all__ = [
    "CONLL_SUFFIXES",
    "FORMATS",
    "FileTable",
    "column_from_values",
    "detect_encoding",
    "features_in",
    "first_rows",
    "is_nested",
    "nested_placeholder",
    "python_stream",
    "read_file",
    "read_head",
    "refuse_binary",
    "refuse_repeated",
]

FORMATS = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".psv": "delimited",
    ".txt": "delimited",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
CONLL_SUFFIXES = frozenset({".conll", ".bio", ".bioes", ".bilou", ".iob", ".iob1", ".iob2", ".iobes", ".ner"})
"""Names of files that hold one word a line, whatever is in them; ``.txt`` and ``.tsv`` files may, and are looked at."""


def read_file(path: Path, *, header: bool | None = None, names: Sequence[str] = ()) -> FileTable:
    """Read a CSV, TSV, JSONL, JSON or Parquet file; the format is told by its content first, then by its name.

    `header` says whether the first row names the columns; None: it is judged by its look (`advisor.data.header`), and
    rows without names have their columns numbered. `names` are columns that are known to be there.

    Raises `DataError` for what cannot be read safely: empty or binary files, archives, encodings that cannot be
    told, broken or ragged lines (with their number), repeated column names.
    """
    head = read_head(path)
    if head.startswith(b"PAR1"):
        _refuse_header(path, header)
        return _checked(path, read_parquet(path))
    refuse_binary(path, head)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path} is not in a format that is read here",
            why=f"a name ending in {path.suffix or 'nothing'} does not say how its rows are stored",
            fix="save the rows as CSV, TSV, JSONL or Parquet, with that ending",
        )
    if kind == "parquet":
        raise DataError(
            f"{path} is not a Parquet file",
            why="it does not begin with the four bytes PAR1 that every Parquet file begins with",
            fix="save it again as Parquet, or give it the ending of what it is (.csv, .jsonl)",
        )
    encoding, warning = detect_encoding(path, head)
    read = read_json if kind == "json" else read_delimited
    result = read(path, encoding, header=header, names=names)
    if kind == "json" and not result.without_header:
        _refuse_header(path, header)
    warnings = (warning, *result.warnings) if warning else result.warnings
    return _checked(path, replace(result, warnings=warnings))


def _refuse_header(path: Path, header: bool | None) -> None:
    """Raise `OptionError` where the user says of columns that have names that they have none."""
    if header is False:
        raise OptionError(
            f"--no-header does not go with {path}",
            why="its columns have names of their own",
            fix="omit --no-header",
        )


def _checked(path: Path, result: FileTable) -> FileTable:
    refuse_repeated(result.table.column_names, place=str(path))
    if result.table.num_columns > MOST_COLUMNS:
        raise too_wide(path, result.table.num_columns)
    if result.table.num_rows == 0 or not result.table.column_names:
        raise empty_file(path, "it has column names but no rows" if result.table.column_names else "it holds no rows")
    return result


def refuse_binary(path: Path, head: bytes) -> None:
    """Raise for files whose first bytes say that they are no tables of text."""
    if head.startswith(b"PK\x03\x04"):
        if path.suffix.lower() == ".npz" or b".npy" in head[:200]:
            raise _arrays(path)
        if path.suffix.lower() in {".xlsx", ".ods"} or b"[Content_Types].xml" in head or b"xl/" in head:
            raise DataError(
                f"{path} is a spreadsheet",
                why="workbooks are not read: sheets, formulas and dates make guesses necessary",
                fix="save the sheet with texts and labels as CSV UTF-8 and pass that file",
            )
        raise DataError(
            f"{path} is a zip archive",
            why="which of its files holds the data is not clear",
            fix="unpack it and pass the file or folder with the rows",
        )
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise DataError(
            f"{path} is a pointer of Git LFS, not the data",
            why="the repository was cloned without its large files",
            fix="fetch them in that repository: git lfs pull",
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"{path} is a web page, not a table",
            why="a download often ends so where one has to log in or to follow a link first",
            fix="download the file itself (on GitHub: the raw file) and pass that",
        )
    packed = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7z"}
    for magic, name in packed.items():
        if head.startswith(magic):
            raise DataError(
                f"{path} is packed with {name}",
                why="packed files are not read",
                fix="unpack it and pass the file inside",
            )
    if path.suffix.lower() in ARRAY_SUFFIXES or head.startswith(b"\x93NUMPY"):
        raise _arrays(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"{path} is one image, not a table", why="a dataset is many of them and their classes", fix=HOW_TO_ARRANGE
        )


def _arrays(path: Path) -> DataError:
    return DataError(
        f"{path} holds arrays, not a table",
        why="images and labels are read together, from one .npz file with an array for each",
        fix="save them with np.savez('data.npz', images=images, labels=labels), and pass that file as the data",
    )
