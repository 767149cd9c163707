"""Frozen records become JSON; files are written whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Self

from tuner.errors import DataError, RunFolderError, damaged
from tuner.parsing import AsText, Misfits, parse
from tuner.regular import check_regular

SCHEMA = 1
"""Version of advice.json and tuning.json: keys may be added to it, not changed."""

Progress = Callable[[str, float], None]
"""Called with a one-line message and the fraction done, 0 to 1."""


class Record:
    """Mixin of the frozen dataclasses that stages hand to each other, and that JSON files hold.

    Keys may be added to the files that users and other versions see (advice.json, tuning.json), so these are read with
    ``ignores_added``. The values of an ``exact`` record mean something else where one of them is left out: it refuses
    names that it does not have wherever it stands.
    """

    exact: ClassVar[bool] = False

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, nested records included.

        Fields of the metadata ``stored=False`` are not; those with a ``key`` are called so.
        """
        return {
            field.metadata.get("key", field.name): to_jsonable(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.metadata.get("stored", True)
        }

    @classmethod
    def from_json(
        cls,
        value: Any,
        *,
        path: Path,
        fix: str,
        why: str = "a search goes on from what is stored there",
        at: str = "",
        noun: str = "record",
        ignores_added: bool = False,
    ) -> Self:
        """The record that `to_json` wrote.

        Args:
            value: out of a JSON file.
            path: of the file, for the message.
            fix: what the user can do where it is damaged, for the message.
            why: that matters, for the message.
            at: where in the file the value stands, as a dotted path; empty for all of it.
            noun: what the record is, for the message.
            ignores_added: whether names that this version does not know are passed over.

        Returns:
            The record; what is missing and has a default takes that.

        Raises:
            DataError: which names every value that is missing, of another type, or unknown.
        """
        found = Misfits()
        record = parse(cls, value, at=at, ignores=ignores_added, found=found)
        if found:
            raise damaged(path, found.in_words(noun=noun), fix=fix, why=why)
        return record  # type: ignore[no-any-return]  # without a misfit it is one


def to_jsonable(value: Any) -> Any:
    """Turn records, enums, tuples, paths and NumPy values into JSON values; NaN and infinities become null."""
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, AsText):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return to_jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write beside the target and rename, so that a reader never sees half a file.

    Raises `RunFolderError` where the folder cannot be written or the disk is full.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; results should be as readable as any
        os.replace(temporary, path)
    except BaseException as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise folder_error(path, error) from error
        raise


def folder_error(path: Path, error: OSError) -> RunFolderError:
    """Put an operating system's refusal to write `path` into words, as what, why and fix."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFolderError(
            f"the disk is full: {path} could not be written",
            why="results and the model are saved there",
            fix="free some space, or pass --out with a folder on another disk",
        )
    return RunFolderError(
        f"{path} cannot be written ({error.strerror or error})",
        why="results and the model are saved there",
        fix="make that folder writable, or pass --out with another one where a run starts",
    )


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all (`write_bytes_atomically`).

    What a file name holds beyond UTF-8 is written as an escape.
    """
    write_bytes_atomically(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a record or plain value as indented JSON, atomically."""
    write_text_atomically(path, json.dumps(to_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(
    path: Path,
    *,
    expected: Mapping[str, type],
    fix: str = "run the command that wrote it again with a new --out",
) -> dict[str, Any]:
    """Read a run's JSON file, checked for being one: the schema of this version, and values of these types.

    Raises `DataError` for anything else; `fix` says what can still be done where it is damaged.
    """
    check_regular(path)
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error})",
            why="what a run goes on from, or is reported from, stands there",
            fix=f"make the file readable; or {fix}",
        ) from error
    except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError too
        raise DataError(
            f"{path} is not readable JSON ({error})",
            why="the file is damaged or incomplete",
            fix=fix,
        ) from error
    missing = [
        name for name, kind in expected.items() if not isinstance(value, dict) or not isinstance(value.get(name), kind)
    ]
    if missing or not isinstance(value, dict):
        raise DataError(
            f"{path} was not written by this program (no {', '.join(missing) or 'records'} in it)",
            why="a run's records are read from it",
            fix=f"pass the folder that `advisor recommend` or `advisor tune` printed; if this is it, {fix}",
        )
    if value.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has schema {value.get('schema')!r}; this version reads schema {SCHEMA}",
            why="another version of transfer-advisor wrote it, and its numbers may mean something else",
            fix="use the version that wrote it, or run the command again with this one",
        )
    return value


def user_cache_dir() -> Path:
    """Where computed things are kept between runs: ``TRANSFER_ADVISOR_HOME``, else the platform's cache folder."""
    home = os.environ.get("TRANSFER_ADVISOR_HOME")
    if home:
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_cache_dir("transfer-advisor"))
