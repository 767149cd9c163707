"""The run folder: where results go, when it may be written, and which earlier run a resumed one continues."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.errors import DataError, MissingFileError, RunFolderError, TransferError
from tuner.records import folder_error, read_record

RUNS = Path("runs")
ADVICE, TUNING = "advice.json", "tuning.json"


def default_folder(data_name: str, model_id: str, *, root: Path | None = None) -> Path:
    """``runs/<data>-<model>-<date-time>``, made of characters every file system takes; never an existing one."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "_", part.rstrip("/").split("/")[-1]).strip("._")[:60] or "data"
             for part in (data_name, model_id)]  # fmt: skip
    stem = f"{names[0]}-{names[1]}-{datetime.now():%Y%m%d-%H%M%S}"
    parent = RUNS if root is None else root
    folder = parent / stem
    count = 2
    while folder.exists():
        folder = parent / f"{stem}-{count}"
        count += 1
    return folder


def check_folder(folder: Path, *, resume: bool = False) -> None:
    """Raise `RunFolderError` where `folder` cannot be written or already holds something. Creates nothing.

    A run that is resumed may find its own files there.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(
            f"{folder} is a file",
            why="a run writes several files into a folder",
            fix="pass --out with a new folder",
        )
    if folder.is_dir() and any(folder.iterdir()) and not (resume and is_run(folder)):
        held = "another run" if is_run(folder) else "other files"
        way = "--resume to continue it, or --out with a new folder" if is_run(folder) else "--out with a new folder"
        raise RunFolderError(f"{folder} already holds {held}", why="results are never overwritten", fix=f"pass {way}")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise RunFolderError(
            f"{folder} cannot be made: {existing} is a file",
            why="results are written there",
            fix="pass --out with another folder",
        )
    try:
        # os.access answers wrongly for the super-user and on network drives; a file that comes and goes does not.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise folder_error(folder, error) from error


@contextmanager
def writing(folder: Path, *, resumable: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Leave nothing new behind where a run fails, unless it is `resumable`, which the error then says.

    Ctrl-C keeps what there is, since ``--resume`` goes on from it.
    """
    made = [parent for parent in (folder, *folder.absolute().parents) if not parent.exists()]
    before = set(folder.iterdir()) if folder.exists() else set()
    try:
        yield
    except Exception as error:
        if resumable():
            if isinstance(error, TransferError):
                error.fix += f"; the finished trials are kept, and --resume --out {folder} goes on from them"
            raise
        for item in set(folder.iterdir()) - before if folder.exists() else ():
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run of ours."""
    return (folder / ADVICE).is_file()


def read_advice(folder: Path) -> dict[str, Any]:
    """The ``advice.json`` of a run folder."""
    path = folder / ADVICE
    if not path.exists():
        raise MissingFileError(
            f"{folder} holds no run: there is no {ADVICE}",
            why="everything about a run starts from its advice",
            fix="pass a folder that `advisor recommend` or `advisor tune` wrote",
        )
    records = ("model", "data", "size", "similarity", "strategy", "freeze")
    return read_record(path, expected=dict.fromkeys(records, dict))


def read_tuning(folder: Path) -> dict[str, Any] | None:
    """The ``tuning.json`` of a run folder, or None where nothing was tuned yet."""
    path = folder / TUNING
    return read_record(path, expected={"candidates": list, "winner": dict}) if path.exists() else None


def find_run(*, data_fingerprint: str, model: str, root: Path | None = None) -> Path | None:
    """The newest run of the same data and model under ``runs/``, if there is one."""
    found: list[tuple[float, Path]] = []
    for path in (RUNS if root is None else root).glob(f"*/{ADVICE}"):
        try:
            advice = read_advice(path.parent)
        except DataError:
            continue  # a damaged run is nobody's to continue
        stored = advice["model"].get("sha256") or advice["model"].get("revision") or advice["model"].get("id")
        if advice["data"].get("fingerprint") == data_fingerprint and stored == model:
            found.append((os.path.getmtime(path), path.parent))
    return max(found)[1] if found else None
