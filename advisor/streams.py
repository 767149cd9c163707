"""Standard streams that may be closed at any time: whoever stops reading ends the display, not the work."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""What writing to a pipe without a reader, or to a terminal that was closed, is answered with."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""And what writing to a file on a full disk is."""


class PatientStream:
    """A text stream that goes on as if it were written to after its reader has gone, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: str | None = None
        """Why text that somebody waits for was not written; None where nobody does, or where all was."""

    def write(self, text: str) -> int:
        """Write, or drop the text where nobody reads it any more."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what was not written yet."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if error.errno in _FULL:
            self.lost = self.lost or error.strerror
        elif error.errno not in _GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_streams() -> Iterator[PatientStream]:
    """Standard output, which is given, and error as patient streams; those that were closed from the start lead
    nowhere."""
    _open_missing()
    before = sys.stdout, sys.stderr
    output = PatientStream(sys.stdout)
    sys.stdout, sys.stderr = output, PatientStream(sys.stderr)
    try:
        yield output
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Give every standard descriptor that is closed a place to lead to: else the next file that is opened gets its
    number, and what is written to the stream ends up in that file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        mode = "r" if name == "stdin" else "w"
        opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
        if opened != number:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the rest of the process


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Make SIGTERM, and the hang-up of a closed terminal, raise `KeyboardInterrupt` as Ctrl-C does."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
