"""A file that is opened once: its first bytes, and streams over it that do not disturb each other."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tuner.errors import DataError, MissingFileError
from tuner.regular import check_regular

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_BYTES = 1 << 18  # enough lines to tell delimiters apart
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class OpenFile:
    """A file with rows in it, its first bytes read.

    Every reader asks for a stream of its own, so that the encoding, the format and the rows are all told from one
    handle. The file is closed when the last of them is gone: threads of Arrow may read on after an error.
    """

    path: Path
    head: bytes = field(repr=False)
    file: pa.NativeFile = field(repr=False)
    """What reads at any place, for Parquet."""

    def stream(self) -> BinaryIO:
        """Open the bytes for Python to read, from the beginning."""
        return io.BufferedReader(_Bytes(self.file), _BUFFER_BYTES)

    def text(self, encoding: str) -> io.TextIOWrapper:
        """Open the file as text, line ends as they are; what cannot be decoded is replaced."""
        return io.TextIOWrapper(self.stream(), encoding=encoding, errors="replace", newline="")

    def arrow_stream(self, start: int) -> pa.NativeFile:
        """Open the bytes from `start` on, for Arrow to read."""
        return self.file.get_stream(start, self.file.size() - start)


def open_file(path: Path) -> OpenFile:
    """Open a file to read its rows.

    Raises `DataError` for pipes, devices and files without text, `MissingFileError` for what cannot be opened.
    """
    import pyarrow as pa

    check_regular(path)
    try:
        file = pa.OSFile(str(path))
        head = file.read_at(SAMPLE_BYTES, 0)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise MissingFileError(
            f"{path} cannot be read ({reason})",
            why="the dataset is read from it",
            fix="check the path and that you may read the file",
        ) from error
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise empty_file(path, "it holds no text at all")
    return OpenFile(path=path, head=head, file=file)


def empty_file(path: Path, why: str) -> DataError:
    """The error for a file without rows."""
    return DataError(f"{path} is empty", why=why, fix="pass a file with a header line and labelled rows")


class _Bytes(io.RawIOBase):
    """A file as Python's streams want it, with a position of its own."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, self._file.size())
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        into = memoryview(buffer).cast("B")
        found = self._file.read_at(len(into), self._at)
        into[: len(found)] = found
        self._at += len(found)
        return len(found)

    def readall(self) -> bytes:
        found: bytes = self._file.read_at(max(self._file.size() - self._at, 0), self._at)
        self._at += len(found)
        return found
