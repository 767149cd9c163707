"""Bytes -> text: the encoding of a file, told by its mark, its validity or its letters; and streams in UTF-8."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from advisor.data.opened import SAMPLE_BYTES, OpenFile
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 21
_LONGEST_LINE = 1 << 26  # characters of a first line that are waited for
BOMS = (  # longest first: the UTF-32 mark begins with the UTF-16 one
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
_ICONV_NAMES = {"latin_1": "ISO-8859-1", "mac_roman": "MACINTOSH"} | {
    f"cp{number}": f"WINDOWS-{number}" for number in range(1250, 1259)
}


def detect_encoding(file: OpenFile) -> tuple[str, str | None]:
    """The file's encoding as Python names it, and a warning where it was inferred rather than known.

    A byte-order mark decides; else the whole file is tried as UTF-8; else Windows-1252 and a few others are taken
    when the letters they give fit. Everything else is refused: a wrong guess would garble texts silently.
    """
    path, head = file.path, file.head
    for mark, encoding in BOMS:
        if head.startswith(mark):
            _check_decodes(file, encoding)
            return encoding, None
    zeros = head.count(0)
    if zeros:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if zeros > 0.3 * len(head) and min(even, odd) < 0.05 * zeros:
            encoding = "utf-16-le" if odd > even else "utf-16-be"
            _check_decodes(file, encoding)
            return encoding, f"{path.name} has no byte-order mark; it was read as {encoding.upper()}"
        raise not_text(path, f"it holds zero bytes, the first at position {head.index(0):,}")
    bad_line = _first_line_not_utf8(file)
    if bad_line is None:
        return "utf-8", None
    controls = sum(head.count(code) for code in range(32) if code not in (9, 10, 12, 13, 27))
    if controls > 0.01 * len(head):
        raise not_text(path, f"{100 * controls / len(head):.0f} % of its first bytes are control characters")
    lines = _lines_beyond_ascii(file)
    in_utf8, others = _count_beyond_ascii(file)
    # Bytes beyond ASCII hardly ever form UTF-8 by chance, so where more than a tenth of such lines do, the file may be
    # UTF-8 with damage in it, or pasted together from two encodings: no single reading is right then.
    encoding_found = guess_encoding(lines) if in_utf8 <= 0.1 * others else None
    if encoding_found is not None:
        shown = "Windows-1252" if encoding_found == "cp1252" else encoding_found
        return encoding_found, f"{path.name} is not UTF-8 (line {bad_line:,}); it was read as {shown}"
    if in_utf8 > 0.5 * others:
        raise _mixed(path, bad_line, n_lines=others)
    raise _unknown(path, bad_line, likely=_likely_encodings(lines))


def not_text(path: Path, why: str) -> DataError:
    """The error for a file whose bytes are no text."""
    return DataError(
        f"{path} is not a text file",
        why=why,
        fix="pass a CSV, TSV, JSONL or Parquet file; convert other formats first",
    )


def _mixed(path: Path, line: int, *, n_lines: int) -> DataError:
    """The refusal of UTF-8 with lines in another encoding, which converting the whole file would only make worse."""
    these = "that line alone is" if n_lines == 1 else f"{n_lines:,} such lines are"
    what = "that line" if n_lines == 1 else "those lines"
    return DataError(
        f"{path}, line {line:,}: the text is not UTF-8, and its encoding cannot be told safely: other lines are UTF-8, "
        f"so the file mixes two encodings ({these} not UTF-8)",
        why="no single encoding reads all of it, and converting the whole file would garble the other lines",
        fix=f"correct {what} in an editor, or read {what} as Windows-1252 and the rest as it is: python3 -c "
        "\"import codecs; codecs.register_error('1252', lambda e: (e.object[e.start:e.end].decode('cp1252', "
        "'replace'), e.end)); "
        f"open('utf8-{path.name}', 'wb').write(open('{path.name}', 'rb').read().decode('utf-8', '1252').encode())\"",
    )


def _unknown(path: Path, line: int, *, likely: Sequence[str]) -> DataError:
    """The refusal of an encoding that cannot be told, with those that the bytes allow."""
    return DataError(
        f"{path}, line {line:,}: the text is not UTF-8, and its encoding cannot be told safely",
        why="a wrong guess would garble the texts without a sign of it",
        fix="convert the file, for example: iconv -f ENCODING -t UTF-8 "
        f"{path.name} > utf8-{path.name}, where ENCODING is what it was saved in: {' or '.join(likely)} would fit; see "
        "whether accented letters are right then",
    )


def _likely_encodings(sample: bytes) -> list[str]:
    """The encodings that fit best, as iconv calls them; the Western one first where the letters allow it."""
    import charset_normalizer

    found = [str(match.encoding) for match in charset_normalizer.from_bytes(sample)][:2]
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        western = ["latin_1"]
    else:
        western = ["cp1252"]
    plain = sum(byte < 128 for byte in sample)
    likely = [*western, *found] if plain > 0.8 * len(sample) else [*found, *western]
    return list(dict.fromkeys(_ICONV_NAMES.get(name, name.upper().replace("_", "-")) for name in likely))[:3]


def _count_beyond_ascii(file: OpenFile) -> tuple[int, int]:
    """Lines with bytes beyond ASCII that are UTF-8, and those that are not."""
    in_utf8 = others = 0
    with file.stream() as stream:
        for line in stream:
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                in_utf8 += 1
            except UnicodeDecodeError:
                others += 1
    return in_utf8, others


def _check_decodes(file: OpenFile, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with file.stream() as stream:
            while block := stream.read(_BLOCK_BYTES):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file.path} begins like {encoding.upper()} text but cannot be decoded ({error.reason})",
            why="the file is damaged or only partly in that encoding",
            fix="save it again as UTF-8",
        ) from error


def _first_line_not_utf8(file: OpenFile) -> int | None:
    """Number of the first line that is not UTF-8 (counted from 1), or None; zero bytes raise as binary."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    with file.stream() as stream:
        while True:
            block = stream.read(_BLOCK_BYTES)
            if b"\0" in block:
                number = lines + block[: block.index(b"\0")].count(b"\n") + 1
                raise not_text(file.path, f"line {number:,} holds a zero byte")
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # error.object is the held-back start of a character plus this block; both end together
                return lines + error.object[: error.start].count(b"\n") + 1
            if not block:
                return None
            lines += block.count(b"\n")


def _lines_beyond_ascii(file: OpenFile) -> bytes:
    """Up to 32 kB of the lines that hold bytes beyond ASCII: what tells encodings apart."""
    lines: list[bytes] = []
    size = 0
    with file.stream() as stream:
        for line in stream:
            if not line.isascii():
                lines.append(line[:4096])
                size += len(lines[-1])
                if size > 1 << 15:
                    break
    return b"".join(lines)


def guess_encoding(sample: bytes) -> str | None:
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


def python_stream(file: OpenFile, encoding: str) -> BinaryIO:
    """Open the file as UTF-8 bytes, for Python to read; a byte order mark at its beginning is left out."""
    if encoding == "utf-8":
        return file.stream()
    return io.BytesIO(_decoded(file, encoding).encode())


def arrow_stream(file: OpenFile, encoding: str, *, behind: str = "") -> pa.NativeFile:
    """Open the file as UTF-8 bytes from after its byte order mark and the text `behind`.

    It is read into memory only where it is in another encoding. The stream is Arrow's own, not Python's: its threads
    read ahead, and those still at it after an error bring the interpreter down at its exit when they need Python for
    it.
    """
    import pyarrow as pa

    if encoding not in ("utf-8", "utf-8-sig"):
        return pa.BufferReader(_decoded(file, encoding)[len(behind) :].encode())
    return file.arrow_stream((3 if encoding == "utf-8-sig" else 0) + len(behind.encode()))


def _decoded(file: OpenFile, encoding: str) -> str:
    with file.stream() as stream:
        return stream.read().decode(encoding, errors="replace").removeprefix("\ufeff")


def text_sample(file: OpenFile, encoding: str) -> tuple[str, bool]:
    """Read the first lines, and tell whether they are the whole file."""
    with file.text(encoding) as stream:
        sample = stream.read(SAMPLE_BYTES)
        while "\n" not in sample and len(sample) < _LONGEST_LINE and (more := stream.read(1 << 22)):
            sample += more
        whole = not stream.read(1)
    if whole or "\n" not in sample:
        return sample, whole
    return sample[: sample.rindex("\n") + 1], False
