"""JSON files that carry their own checksum: what was damaged is named and never taken for a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import ModelError, damaged
from tuner.records import Record, to_jsonable, write_json
from tuner.regular import irregular

SEAL = "sha256"
CHECKSUMS = "checksums.json"
UNSEALED = (CHECKSUMS, "README.md")
"""Files of a saved model's folder that may be edited."""
DISPENSABLE = ("advice.json",)
"""Those that may be removed."""


@dataclass(frozen=True, kw_only=True)
class Checksums(Record):
    """SHA-256 of the files of a saved model, by name."""

    files: dict[str, str]


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write named values as JSON together with the SHA-256 of all of them, whole or not at all."""
    plain = to_jsonable(values)
    write_json(path, plain | {SEAL: _seal_of(plain)})


def read_sealed(path: Path, *, fix: str, sealed: bool = True) -> dict[str, Any]:
    """The values of a file that `write_sealed` wrote, without the checksum.

    Args:
        path: the file.
        fix: what the user can do where the file is damaged, for the message.
        sealed: whether a file without a checksum is refused; earlier versions wrote none.

    Returns:
        The values by name.

    Raises:
        DataError: where the file cannot be read, is no JSON, or differs from its checksum.
    """
    if (kind := irregular(path)) is not None:
        raise damaged(path, f"it is {kind}, not a file", fix=fix)
    try:
        values = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror or error}", fix=fix) from error
    except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError too
        raise damaged(path, f"it is no JSON: {error}" if path.stat().st_size else "it is empty", fix=fix) from error
    if not isinstance(values, dict):
        raise damaged(path, "it holds no named values", fix=fix)
    if values.get(SEAL) is None and sealed:
        raise damaged(path, "it lacks its checksum", fix=fix)
    return unsealed(values, path=path, fix=fix)


def unsealed(values: dict[str, Any], *, path: Path, fix: str) -> dict[str, Any]:
    """Remove the checksum of stored values, where they carry one. Raises `DataError` where they differ from it."""
    plain = {name: value for name, value in values.items() if name != SEAL}
    if values.get(SEAL) not in (None, _seal_of(plain)):
        raise damaged(path, "its content differs from its checksum", fix=fix)
    return plain


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_folder(folder: Path) -> None:
    """Write the checksums of a saved model's files beside them; its card may be edited later and has none."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in UNSEALED)
    write_sealed(folder / CHECKSUMS, Checksums(files={path.name: file_sha256(path) for path in files}).to_json())


def check_sealed_folder(folder: Path) -> None:
    """Raise `ModelError` where a file of a saved model is missing or is not as it was written.

    A folder without checksums, as earlier versions wrote, is not checked.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return
    anew = f"if it was changed on purpose, delete {path}; else copy the folder again, or run advisor tune again"
    stored = Checksums.from_json(read_sealed(path, fix=anew), path=path, fix=anew)
    for name, checksum in stored.files.items():
        file = folder / Path(name).name
        if name in DISPENSABLE and not file.exists():
            continue
        if not file.is_file() or file_sha256(file) != checksum:
            raise ModelError(
                f"{file} is {'missing' if not file.exists() else 'damaged: it differs from its checksum'}",
                why="the saved model is read from it, and would predict something else",
                fix=anew,
            )


def _no_constant(name: str) -> None:
    """Raise for what JSON has no word for, and nothing of ours is ever written with."""
    raise ValueError(f"{name} is no number")


def _seal_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
