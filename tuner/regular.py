"""What lies at a path that a user named: only regular files are opened, since others may be read without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tuner.errors import DataError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def irregular(path: str | Path) -> str | None:
    """Name what is at a path, such as "a device"; None for a file, a folder, or what is not there. Links are followed.

    >>> irregular("/dev/null"), irregular("/"), irregular("no such file")
    ('a device', None, None)
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def check_regular(path: str | Path) -> None:
    """Raise `DataError` for pipes, devices and sockets, whose reading might never end; ask it before a file is opened.

    What does not exist passes: the message about that is for whoever opens it.
    """
    kind = irregular(path)
    if kind is not None:
        raise DataError(
            f"{path} is {kind}, not a file",
            why="data is read more than once, and what a pipe or device gives may never end",
            fix=f"save what it gives to a file first, for example: cat {path} > data.csv",
        )
