"""One table file -> one Arrow table, whatever its format, delimiter and encoding; refusals name the line."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from advisor.images import (
    ARRAY_SUFFIXES,
    HOW_TO_ARRANGE,
    IMAGE_SUFFIXES,
    Held,
    held_column,
    holds_encoded_images,
    parquet_images,
)
from tuner.errors import DataError, MissingFileError

if TYPE_CHECKING:
    import pyarrow as pa

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
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

_SAMPLE_BYTES = 1 << 18  # enough lines to tell delimiters apart
_BLOCK_BYTES = 1 << 21
_LARGE_BLOCK_BYTES = 1 << 26  # for rows longer than a block
_BOMS = (  # longest first: the UTF-32 mark begins with the UTF-16 one
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = frozenset(
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüÿßœšžÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŸŒŠŽ‘’‚“”„–—…•€£°«»§©®™´·¿¡ªº½¼¾²³×\u00a0"
)
# cp1252 and its neighbours differ in a few letters only; these are the ones a language model tells from it
_OTHER_ENCODINGS = frozenset(
    {"cp1251", "koi8_r", "cp1253", "iso8859_7", "cp1255", "cp1256", "gb18030", "gbk", "gb2312", "big5", "cp950",
     "cp932", "shift_jis", "euc_jp", "euc_kr", "cp949"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """A file's rows. Delimited files give text cells only; nested columns are kept as empty lists, to be named.

    Columns of encoded images are references into ``held``, which reads them when one is asked for.
    """

    table: pa.Table
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Held = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_file(path: Path) -> FileTable:
    """Read a CSV, TSV, JSONL, JSON or Parquet file; the format is told by its content first, then by its name.

    Raises `DataError` for what cannot be read safely: empty or binary files, archives, encodings that cannot be
    told, broken or ragged lines (with their number), repeated column names.
    """
    head = read_head(path)
    if head.startswith(b"PAR1"):
        return _checked(path, _read_parquet(path))
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
    result = _read_json(path, encoding) if kind == "json" else _read_delimited(path, encoding)
    warnings = (warning, *result.warnings) if warning else result.warnings
    return _checked(path, replace(result, warnings=warnings))


def _checked(path: Path, result: FileTable) -> FileTable:
    refuse_repeated(result.table.column_names, place=str(path))
    if result.table.num_rows == 0 or not result.table.column_names:
        raise _empty(path, "it has column names but no rows" if result.table.column_names else "it holds no rows")
    return result


def refuse_repeated(names: Sequence[str], *, place: str) -> None:
    """Raise `DataError` where two columns share a name."""
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DataError(
            f"{place}: column names occur more than once: {', '.join(repeated)}",
            why="it is not clear which of them is meant",
            fix="give every column a name of its own",
        )


def _empty(path: Path, why: str) -> DataError:
    return DataError(f"{path} is empty", why=why, fix="pass a file with a header line and labelled rows")


def read_head(path: Path) -> bytes:
    """The first bytes of a file."""
    try:
        with path.open("rb") as file:
            head = file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read ({error.strerror or error})",
            why="the dataset is read from it",
            fix="check the path and that you may read the file",
        ) from error
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise _empty(path, "it holds no text at all")
    return head


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


def _binary(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is not a text file",
        why=why,
        fix="pass a CSV, TSV, JSONL or Parquet file; convert other formats first",
    )


# --- encoding


def detect_encoding(path: Path, head: bytes) -> tuple[str, str | None]:
    """The file's encoding as Python names it, and a warning where it was inferred rather than known.

    A byte-order mark decides; else the whole file is tried as UTF-8; else Windows-1252 and a few others are taken
    when the letters they give fit. Everything else is refused: a wrong guess would garble texts silently.
    """
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            _check_decodes(path, encoding)
            return encoding, None
    zeros = head.count(0)
    if zeros:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if zeros > 0.3 * len(head) and min(even, odd) < 0.05 * zeros:
            encoding = "utf-16-le" if odd > even else "utf-16-be"
            _check_decodes(path, encoding)
            return encoding, f"{path.name} has no byte-order mark; it was read as {encoding.upper()}"
        raise _binary(path, f"it holds zero bytes, the first at position {head.index(0):,}")
    bad_line = _first_line_not_utf8(path)
    if bad_line is None:
        return "utf-8", None
    controls = sum(head.count(code) for code in range(32) if code not in (9, 10, 12, 13, 27))
    if controls > 0.01 * len(head):
        raise _binary(path, f"{100 * controls / len(head):.0f} % of its first bytes are control characters")
    encoding_found = _guess_encoding(_lines_beyond_ascii(path))
    if encoding_found is not None:
        shown = "Windows-1252" if encoding_found == "cp1252" else encoding_found
        return encoding_found, f"{path.name} is not UTF-8 (line {bad_line:,}); it was read as {shown}"
    raise DataError(
        f"{path}, line {bad_line:,}: the text is not UTF-8, and its encoding cannot be told safely",
        why="a wrong guess would garble the texts without a sign of it",
        fix="convert the file, for example: iconv -f ENCODING -t UTF-8 " + f"{path.name} > utf8-{path.name}",
    )


def _check_decodes(path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} begins like {encoding.upper()} text but cannot be decoded ({error.reason})",
            why="the file is damaged or only partly in that encoding",
            fix="save it again as UTF-8",
        ) from error


def _first_line_not_utf8(path: Path) -> int | None:
    """Number of the first line that is not UTF-8 (counted from 1), or None; zero bytes raise as binary."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            if b"\0" in block:
                number = lines + block[: block.index(b"\0")].count(b"\n") + 1
                raise _binary(path, f"line {number:,} holds a zero byte")
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # error.object is the held-back start of a character plus this block; both end together
                return lines + error.object[: error.start].count(b"\n") + 1
            if not block:
                return None
            lines += block.count(b"\n")


def _lines_beyond_ascii(path: Path) -> bytes:
    """Up to 32 kB of the lines that hold bytes beyond ASCII: what tells encodings apart. Nothing of a mixed file.

    Bytes beyond ASCII hardly ever form UTF-8 by chance, so where more than a tenth of such lines do, the file is UTF-8
    with damage in it, or was pasted together from two encodings: no single reading is right.
    """
    lines: list[bytes] = []
    size = in_utf8 = other = 0
    with path.open("rb") as file:
        for line in file:
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                in_utf8 += 1
            except UnicodeDecodeError:
                other += 1
            if size <= 1 << 15:
                lines.append(line[:4096])
                size += len(lines[-1])
    return b"" if in_utf8 > 0.1 * other else b"".join(lines)


def _guess_encoding(sample: bytes) -> str | None:
    """cp1252 or another encoding whose letters fit the sample, else None."""
    if not sample:
        return None
    import charset_normalizer

    as_utf8 = sample.decode("utf-8", errors="replace")
    broken = as_utf8.count("\ufffd")
    if sum(not char.isascii() for char in as_utf8) - broken > 0.1 * broken:
        return None  # the same inside the lines
    candidates = list(charset_normalizer.from_bytes(sample))
    best = max((match.coherence for match in candidates), default=0.0)
    if _looks_western(sample) and (
        any(match.encoding == "cp1252" and match.coherence >= best - 0.05 for match in candidates)
        or sum(byte > 127 for byte in sample) < 20
    ):
        return "cp1252"
    likely = [match for match in candidates if match.coherence >= best - 0.1]
    if best >= 0.4 and {str(match) for match in likely} == {str(likely[0])} and likely[0].chaos < 0.1:
        encoding = str(likely[0].encoding)
        return encoding if encoding in _OTHER_ENCODINGS else None
    return None


def _looks_western(sample: bytes) -> bool:
    """Whether cp1252 gives accented letters inside ASCII words and typographic signs, and nothing odd."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    beyond = [char for char in text if not char.isascii()]
    letters = sum(char.isalpha() for char in beyond)
    plain_letters = sum(char.isascii() and char.isalpha() for char in text)
    runs = sum(len(run) for run in re.findall(r"[^\W\d_a-zA-Z]{3,}", text))
    fitting = sum(char in _WESTERN for char in beyond)
    return fitting >= 0.98 * len(beyond) and plain_letters >= 3 * letters and runs <= 0.05 * max(letters, 1)


# --- delimited text


def _read_delimited(path: Path, encoding: str) -> FileTable:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    sample, whole = _text_sample(path, encoding)
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
                _arrow_stream(path, encoding),
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


def _arrow_stream(path: Path, encoding: str) -> pa.NativeFile:
    """The file as UTF-8 bytes behind the mark, decoded in memory only where it is something else.

    Arrow's own streams, not Python's: its threads read ahead, and those still at it after an error bring the
    interpreter down at its exit when they need Python for it.
    """
    import pyarrow as pa

    if encoding not in ("utf-8", "utf-8-sig"):
        return pa.BufferReader(path.read_bytes().decode(encoding, errors="replace").removeprefix("\ufeff").encode())
    stream = pa.OSFile(str(path))
    stream.seek(3 if encoding == "utf-8-sig" else 0)
    return stream


def _text_sample(path: Path, encoding: str) -> tuple[str, bool]:
    """The first lines, and whether they are the whole file."""
    with path.open("r", encoding=encoding, errors="replace", newline="") as file:
        sample = file.read(_SAMPLE_BYTES)
        whole = not file.read(1)
    if whole or "\n" not in sample:
        return sample, whole
    return sample[: sample.rindex("\n") + 1], False


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
    encoding = next((name for mark, name in _BOMS if read_head(path).startswith(mark)), "utf-8")
    sample, whole = _text_sample(path, encoding)
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


# --- JSON


def _read_json(path: Path, encoding: str) -> FileTable:
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


def python_stream(path: Path, encoding: str) -> BinaryIO:
    """The file as UTF-8 bytes, for Python to read; a mark at its beginning is left out."""
    if encoding == "utf-8":
        return path.open("rb")
    return io.BytesIO(path.read_bytes().decode(encoding, errors="replace").removeprefix("\ufeff").encode())


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
            with arrow_json.open_json(_arrow_stream(path, encoding), reading, parsing) as reader:
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


# --- Parquet


def _read_parquet(path: Path) -> FileTable:
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
