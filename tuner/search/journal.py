"""The journal of a study in its run folder: checked before Optuna reads it, and sealed after every trial."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import damaged
from tuner.records import Record, write_bytes_atomically
from tuner.regular import irregular
from tuner.sealed import read_sealed, write_sealed

WORK = ".search"
"""The folder in a run folder that holds what a search goes on from, until it has come to its end."""
STUDY = "study.journal"
SEAL = "journal.json"


@dataclass(frozen=True, kw_only=True)
class JournalSeal(Record):
    """How long a journal was, and the SHA-256 of what it held then; it may have grown since."""

    bytes: int
    sha256_of_bytes: str


def seal_journal(folder: Path, *, work: Path) -> None:
    """Note how long the journal of a run folder is now, and its SHA-256."""
    content = _content(folder / STUDY)
    seal = JournalSeal(bytes=len(content), sha256_of_bytes=hashlib.sha256(content).hexdigest())
    write_sealed(work / SEAL, seal.to_json())


def mend_journal(folder: Path, *, work: Path) -> str | None:
    """Make the journal of a run folder one that Optuna reads, where a process died while it wrote.

    A line that was being written is dropped, and so is the lock of the dead process: the lock of the run folder says
    that nobody else writes here.

    Returns:
        What was dropped, for the user; None where nothing was.

    Raises:
        DataError: where the journal lost lines that it held before, or holds others.
    """
    path = folder / STUDY
    for left in folder.glob(f"{STUDY}.lock*"):
        left.unlink()
    runs = len(list((work / "runs").glob("*.json")))
    fix = f"delete it: --resume makes the study again from the {runs} finished runs in {work / 'runs'}, which are kept"
    if path.exists() and not path.is_file():
        raise damaged(path, f"it is {irregular(path) or 'a folder'}, not a file", fix=fix)
    content = _content(path)
    seal = work / SEAL
    if path.exists() and seal.exists():
        remedy = "delete it: it says what the journal held, nothing else"
        sealed = JournalSeal.from_json(read_sealed(seal, fix=remedy), path=seal, fix=remedy)
        if len(content) < sealed.bytes:
            lost = sealed.bytes - len(content)
            raise damaged(path, f"{lost:,} of the {sealed.bytes:,} bytes that it held are missing", fix=fix)
        if hashlib.sha256(content[: sealed.bytes]).hexdigest() != sealed.sha256_of_bytes:
            raise damaged(path, "its content differs from its checksum", fix=fix)
    whole, _, rest = content.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if not rest and lines and not _is_entry(lines[-1]):  # a line of which a later part reached the disk first
        rest = lines.pop()
    for number, line in enumerate(lines, 1):
        if not _is_entry(line):
            raise damaged(path, f"line {number:,} is no entry of a journal", fix=fix)
    if not rest:
        return None
    write_bytes_atomically(path, b"".join(line + b"\n" for line in lines))
    return f"the last line of {path.name} was cut off when a process was ended while it wrote, and was dropped"


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "op_code" in entry
