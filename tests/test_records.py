import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from tuner.errors import RunFolderError, TransferError, did_you_mean
from tuner.records import Record, to_jsonable, write_bytes_atomically, write_json


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Inner(Record):
    value: float


@dataclass(frozen=True, kw_only=True)
class Outer(Record):
    inner: tuple[Inner, ...]
    colour: Colour
    array: np.ndarray
    path: Path


def test_records_become_plain_json():
    outer = Outer(inner=(Inner(value=math.nan),), colour=Colour.RED, array=np.array([1, 2]), path=Path("a/b"))
    assert outer.to_json() == {"inner": [{"value": None}], "colour": "red", "array": [1, 2], "path": "a/b"}


def test_numpy_scalars_and_keys_become_json():
    assert to_jsonable({1: np.float32(0.5), "n": np.int64(3)}) == {"1": 0.5, "n": 3}


def test_files_are_written_whole(tmp_path):
    target = tmp_path / "new" / "file.json"
    write_json(target, {"a": (1, 2)})
    assert json.loads(target.read_text()) == {"a": [1, 2]}
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    import errno
    import os

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunFolderError, match="the disk is full") as caught:
        write_bytes_atomically(tmp_path / "x", b"abc")
    assert "free some space" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_bytes_atomically(tmp_path / "file" / "x", b"abc")


def test_errors_say_what_why_and_fix():
    error = TransferError("it broke", why="because", fix="mend it")
    assert str(error).splitlines() == ["it broke", "  why: because", "  fix: mend it"]


def test_did_you_mean_stays_silent_when_nothing_is_close():
    assert did_you_mean("acuracy", ["accuracy"]) == " Did you mean 'accuracy'?"
    assert did_you_mean("zzz", ["accuracy"]) == ""


def test_a_file_name_beyond_utf8_is_written_as_an_escape(tmp_path):
    write_json(tmp_path / "a.json", {"name": b"caf\xe9".decode(errors="surrogateescape")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["name"] == "caf\udce9"
