"""What a user can fix: every error says what is wrong, why it matters and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class TransferError(Exception):
    """Something the user can fix. The command line prints it and exits with status 2.

    >>> print(TransferError("no column 'text'", why="the texts are read from it", fix="pass --text COLUMN"))
    no column 'text'
      why: the texts are read from it
      fix: pass --text COLUMN
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"


class DataError(TransferError, ValueError):
    """The dataset cannot be used as it is."""


class ModelError(TransferError, ValueError):
    """The model cannot be used as it is."""


class OptionError(TransferError, ValueError):
    """An option has a value it cannot have."""


class MissingFileError(TransferError, FileNotFoundError):
    """A named file or folder does not exist."""


class RunFolderError(TransferError, OSError):
    """The output folder cannot be written, or holds something else."""


class StorageError(TransferError, OSError):
    """The database of a study failed while a search used it; the run can go on from what is stored."""


def damaged(path: Path, how: str, *, fix: str, why: str = "a search goes on from what is stored there") -> DataError:
    """Make the error for a stored file that is not as it was written, to be raised by the caller.

    Args:
        path: of the file.
        how: in what it is damaged, as the end of a sentence.
        fix: what the user can do.
        why: it matters; by default, that a search goes on from what is stored there.
    """
    return DataError(f"{path} is damaged: {how}", why=why, fix=fix)


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """The closest choice as a sentence to append, or nothing.

    >>> did_you_mean("acuracy", ["accuracy", "macro_f1"])
    " Did you mean 'accuracy'?"
    >>> did_you_mean("xyz", ["accuracy"])
    ''
    """
    close = difflib.get_close_matches(value, list(choices), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
