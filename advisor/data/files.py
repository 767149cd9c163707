"""One table file -> one Arrow table, whatever its format, which its content tells first and then its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from advisor.data.cells import MOST_COLUMNS, FileTable, refuse_repeated, too_wide
from advisor.data.conll import is_conll, read_conll
from advisor.data.delimited import read_delimited
from advisor.data.encoding import detect_encoding, python_stream
from advisor.data.images import ARRAY_SUFFIXES, HOW_TO_ARRANGE, IMAGE_SUFFIXES
from advisor.data.json_tables import read_json
from advisor.data.opened import OpenFile, empty_file, open_file
from advisor.data.parquet_tables import read_parquet
from tuner.errors import DataError, OptionError

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


def read_file(
    file: Path | OpenFile, *, header: bool | None = None, names: Sequence[str] = (), labelled: bool = True
) -> FileTable:
    """Read a CSV, TSV, JSONL, JSON, Parquet or CoNLL file; the format is told by its content first, then by its name.

    Args:
        file: the path, or the file where it is open already.
        header: whether the first row names the columns; None: it is judged by its look (`advisor.data.header`). Rows
            without names have their columns numbered.
        names: columns that are known to be there.
        labelled: whether rows need labels; where they do not, a line of a CoNLL file may hold a word alone.

    Raises:
        DataError: for what cannot be read safely: empty or binary files, archives, encodings that cannot be told,
            broken or ragged lines (with their number), repeated column names.
        OptionError: for ``header=False`` where the columns have names of their own.
    """
    file = open_file(file) if isinstance(file, Path) else file
    path = file.path
    if is_conll(file):
        encoding, note = _encoding_of(file)
        return _with_note(read_conll(file, encoding, labelled=labelled), note)
    if file.head.startswith(b"PAR1"):
        _refuse_header(path, header)
        return _checked(path, read_parquet(file))
    refuse_binary(path, file.head)
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
    encoding, note = _encoding_of(file)
    read = read_json if kind == "json" else read_delimited
    result = read(file, encoding, header=header, names=names)
    if kind == "json" and not result.without_header:
        _refuse_header(path, header)
    return _checked(path, _with_note(result, note))


def read_lines(file: OpenFile, *, utf8: bool = False) -> FileTable:
    """Read a file without columns: one text a line, in the column ``line``; with `utf8` other encodings are refused."""
    import pyarrow as pa

    path = file.path
    note = None
    try:
        encoding, note = ("utf-8-sig", None) if utf8 else _encoding_of(file)
        with file.stream() if utf8 else python_stream(file, encoding) as stream:
            content = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start:,})",
            why="each of its lines is taken as a text",
            fix="save it as UTF-8, or pass a CSV, JSONL or Parquet file",
        ) from error
    # Not splitlines: a line separator inside a text (U+2028, a form feed) is no new row.
    lines = content.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    return _with_note(FileTable(table=pa.table({"line": pa.array(lines, pa.large_string())})), note)


def _encoding_of(file: OpenFile) -> tuple[str, str | None]:
    refuse_binary(file.path, file.head)
    return detect_encoding(file)


def _with_note(result: FileTable, note: str | None) -> FileTable:
    """The warning of how a file was decoded comes before those of what is in it."""
    return replace(result, warnings=(note, *result.warnings)) if note else result


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
