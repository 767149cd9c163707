"""The run folder: where results go, who may write there, and which earlier run a resumed one continues."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.errors import DataError, MissingFileError, RunFolderError, StorageError, TransferError, damaged
from tuner.records import folder_error, read_record
from tuner.sealed import unsealed
from tuner.search.journal import WORK

RUNS = Path("runs")
ADVICE, TUNING = "advice.json", "tuning.json"
LOCK = ".lock"
LOCK_SECONDS = 0.5
"""For which a lock is waited for: one that another process takes only to look is free again by then."""


def default_folder(data_name: str, model_id: str, *, root: Path | None = None) -> Path:
    """Name a run folder ``runs/<data>-<model>-<date-time>``, which does not exist yet.

    The name is made of characters that every file system takes.
    """
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


def claim_folder(data_name: str, model_id: str) -> Path:
    """Make the default folder of a new run, which no other process can have made."""
    while True:
        folder = default_folder(data_name, model_id)
        check_folder(folder)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # another process made it within the same second
            continue
        except OSError as error:
            raise folder_error(folder, error) from error
        return folder


def check_folder(folder: Path, *, resume: bool = False, held: bool = False) -> None:
    """Raise `RunFolderError` where `folder` cannot be written or already holds something. Creates nothing.

    A run that is resumed may find its own files there. Another process that writes there is noticed, unless this one
    has `held` the folder before.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(
            f"{folder} is a file",
            why="a run writes several files into a folder",
            fix="pass --out with a new folder",
        )
    if folder.is_dir() and _content(folder) and not (resume and is_run(folder)):
        what = "another run" if is_run(folder) else "other files"
        way = "--resume to continue it, or --out with a new folder" if is_run(folder) else "--out with a new folder"
        raise RunFolderError(f"{folder} already holds {what}", why="results are never overwritten", fix=f"pass {way}")
    if not held and (folder / LOCK).exists():
        with _only_writer(folder):
            pass
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
def writing(folder: Path, *, resumable: Callable[[], bool] = lambda: False, claimed: bool = False) -> Iterator[None]:
    """Write to a run folder, which is made, as its only writer.

    Where the run fails, what it made is removed again, and nothing else, unless it is `resumable` or its study's
    storage failed, which the error then says. Ctrl-C keeps what there is, since ``--resume`` goes on from it. A folder
    that was `claimed` for the run goes with the rest.

    Raises `RunFolderError` where another process holds the folder, or where it cannot be written.
    """
    made = [parent for parent in (folder, *folder.absolute().parents) if not parent.exists()]
    made += [folder] if claimed else []
    before = set(folder.iterdir()) if folder.exists() else set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(folder, error) from error
    with _only_writer(folder):
        try:
            yield
        except Exception as error:
            kept = "the finished trials are" if resumable() else "the advice is" if _is_storage(error, folder) else None
            if kept is not None:
                if isinstance(error, TransferError):
                    error.fix += f"; {kept} kept, and --resume --out {folder} goes on from there"
                raise
            for item in set(folder.iterdir()) - before:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            for parent in made:
                if parent.exists() and not any(parent.iterdir()):
                    parent.rmdir()
            raise


def _is_storage(error: Exception, folder: Path) -> bool:
    """Whether a database failed that may serve again, after the advice was written."""
    return isinstance(error, StorageError) and (folder / ADVICE).exists()


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which the system releases where the process dies; who holds it stands in it."""
    import psutil
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise RunFolderError(
            f"{folder} is in use: {_holder(path)} is writing to it",
            why="two processes that write to one run folder would destroy each other's results",
            fix="wait until it ends, or pass --out with a new folder",
        ) from None
    except OSError as error:
        raise folder_error(path, error) from error
    try:
        process = psutil.Process()
        holder = {"host": platform.node(), "pid": process.pid, "started": process.create_time()}
        path.write_text(json.dumps(holder) + "\n", encoding="utf-8")
        yield
    finally:
        if os.name != "nt":  # where an open file cannot be removed, it stays
            path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    """The process that holds a lock, in words."""
    try:
        holder = json.loads(path.read_bytes())
        started = datetime.fromtimestamp(holder["started"]).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {int(holder['pid'])} on {str(holder['host'])[:80]}, which started at {started},"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # it may be writing just now
        return "another process"


def _content(folder: Path) -> list[Path]:
    """What lies in a folder beside the lock of a run, and an advice that was being written when a process died."""
    return [item for item in folder.iterdir() if item.name != LOCK and not item.name.startswith(f".{ADVICE}.")]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run of ours, which may be damaged."""
    return any((folder / name).exists() for name in (ADVICE, TUNING, WORK))


def read_advice(folder: Path) -> dict[str, Any]:
    """Read the ``advice.json`` of a run folder."""
    path = folder / ADVICE
    fix = (
        "run advisor recommend with the same data and options and --out with a new folder, and copy its "
        f"{ADVICE} here; everything else in the run folder is kept"
    )
    if not path.exists() and is_run(folder):
        raise MissingFileError(f"{path} is missing", why="everything about a run starts from its advice", fix=fix)
    if not path.exists():
        raise MissingFileError(
            f"{folder} holds no run: there is no {ADVICE}",
            why="everything about a run starts from its advice",
            fix="pass a folder that `advisor recommend` or `advisor tune` wrote",
        )
    records = ("model", "data", "size", "similarity", "strategy", "freeze")
    return read_record(path, expected=dict.fromkeys(records, dict), fix=fix)


def clean(folder: Path) -> int:
    """Remove a finished run's caches and weights; returns their size in bytes.

    Raises `MissingFileError` for a folder that is no run, and `RunFolderError` where its search has no result yet,
    which would be lost.
    """
    read_advice(folder)
    work = folder / WORK
    if read_tuning(folder) is None and work.exists():
        raise RunFolderError(
            f"the search in {folder} has no result yet",
            why="its finished runs would be lost",
            fix="let advisor tune --resume bring it to its end first, or delete the folder if nothing of it is wanted",
        )
    freed = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    if work.exists():
        with writing(folder):
            shutil.rmtree(work)
    return freed


def read_columns(folder: Path) -> dict[str, Any]:
    """Read the columns that a saved model was tuned with, from the advice beside it."""
    advice = read_advice(folder)
    fix = "put the file back as it was, or delete it and name the columns with --text and --text-pair"
    columns = advice["data"].get("columns")
    if not isinstance(columns, dict):
        raise damaged(folder / ADVICE, "data.columns is missing", fix=fix)
    return columns


def read_tuning(folder: Path) -> dict[str, Any] | None:
    """The ``tuning.json`` of a run folder, or None where nothing was tuned yet."""
    path = folder / TUNING
    if not path.exists():
        return None
    fix = f"delete it to see the advice alone; the model in {folder / 'model'} is not touched and still predicts"
    if (folder / WORK).exists():
        fix = "delete it: advisor tune with --resume writes it again from the finished runs, which are kept"
    return unsealed(read_record(path, expected={"candidates": list, "winner": dict}, fix=fix), path=path, fix=fix)


def find_run(*, data_fingerprint: str, model: str, root: Path | None = None) -> Path | None:
    """The newest run of the same data and model under ``runs/``, if there is one."""
    found: list[tuple[float, Path]] = []
    for path in (RUNS if root is None else root).glob(f"*/{ADVICE}"):
        try:
            advice = read_advice(path.parent)
        except (DataError, MissingFileError):
            continue  # a damaged run is nobody's to continue
        stored = advice["model"].get("sha256") or advice["model"].get("revision") or advice["model"].get("id")
        if advice["data"].get("fingerprint") == data_fingerprint and stored == model:
            found.append((os.path.getmtime(path), path.parent))
    return max(found)[1] if found else None
