import importlib
import json
import math
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import advisor
import tuner
from advisor.data.thumbnails import Thumbnail
from helpers import reading
from tuner.errors import DataError, RunFolderError, TransferError, did_you_mean
from tuner.parsing import hints_of
from tuner.records import Record, to_jsonable, write_bytes_atomically, write_json
from tuner.search.expectations import Expectations
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, SearchSpace
from tuner.search.store import Pruned
from tuner.search.stored import Ranked


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


# -- and back ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Exact(Record):
    exact = True

    name: str
    option: str | None = None


@dataclass(frozen=True, kw_only=True)
class Every(Record):
    """One field of every kind that is read."""

    inner: tuple[Inner, ...]
    pair: tuple[float, float] | None
    colour: Colour
    path: Path
    counts: Mapping[int, str]
    either: Inner | Exact
    free: dict[str, Any]
    part: Annotated[dict[str, Any], Inner]
    from_: str = field(metadata={"key": "from"})
    sure: bool = False
    passing: int = field(default=0, metadata={"stored": False})


EVERY = Every(
    inner=(Inner(value=0.5), Inner(value=2)), pair=(0.1, 0.9), colour=Colour.RED, path=Path("a/b"), counts={3: "c"},
    either=Exact(name="x"), free={"any": [1, {"thing": None}]}, part={"value": 1.5}, from_="here",
    passing=5,
)  # fmt: skip


def test_a_record_is_read_back_as_it_was():
    assert EVERY.to_json()["from"] == "here"
    assert reading.check_reading(Every, EVERY) == replace(EVERY, passing=0)


def test_arrays_are_read_back_with_what_is_no_number():
    outer = Outer(inner=(), colour=Colour.RED, array=np.array([[1.0, math.nan]]), path=Path("a"))
    again = reading.read(Outer, outer.to_json())
    assert np.array_equal(again.array, outer.array, equal_nan=True)
    assert reading.read(Outer, outer.to_json() | {"array": [1, 2]}).array.dtype == np.int64
    for damage in (["a"], [[1], [1, 2]], "text", None):
        reading.refused(Outer, outer.to_json() | {"array": damage}, "array is not what it should be: a list of numbers")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inner": [{"value": 1.0}, {"value": "high"}]}, "inner.value is not what it should be: a number$"),
        ({"inner": [{"value": None}]}, "inner.value is not what it should be: a number$"),
        ({"inner": [{"value": True}]}, "inner.value is not what it should be: a number$"),
        ({"pair": [0.1]}, "pair is not what it should be: a list of 2 or null$"),
        ({"pair": [0.1, "b"]}, "pair is not what it should be: a list of 2 or null$"),
        ({"colour": "blue"}, "colour is not what it should be: one of red$"),
        ({"either": {"name": "x", "option": 3}}, "either.option is not what it should be: a text or null$"),
        ({"either": {"name": "x", "more": 3}}, "either.more: in no record of this version$"),
        ({"part": {}}, "part.value is missing$"),
        ({"counts": {"three": "c"}}, "counts is not what it should be: a whole number$"),
        ({"sure": 1}, "sure is not what it should be: true or false$"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(change, said):
    with pytest.raises(DataError) as caught:
        reading.read(Every, EVERY.to_json() | change, ignores_added=True)
    assert re.search(said, caught.value.what)


def test_all_that_is_wrong_is_said_at_once():
    stored = EVERY.to_json() | {"pair": 1, "added": 2, "later": 3, "inner": [{}]}
    del stored["colour"]
    reading.refused(
        Every, stored,
        "inner.value is missing; colour is missing; pair is not what it should be: a list of 2 or null; "
        "added, later: in no record of this version",
    )  # fmt: skip


def test_names_are_ignored_where_they_may_be_added_but_not_of_an_exact_record():
    stored = EVERY.to_json() | {"added": 2, "inner": [{"value": 1.0, "added": 2}]}
    assert reading.read(Every, stored, ignores_added=True).inner == (Inner(value=1.0),)
    with pytest.raises(DataError, match=r"either\.added: in no record"):
        reading.read(Every, stored | {"either": {"name": "x", "added": 1}}, ignores_added=True)


def records():
    """Every record of the project."""
    for package in (advisor, tuner):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not info.name.endswith("__main__"):
                importlib.import_module(info.name)
    queue = [Record]
    while queue:
        below = queue.pop().__subclasses__()
        queue += below
        yield from (kind for kind in below if kind.__module__.split(".")[0] in ("advisor", "tuner"))


def test_the_hints_of_every_record_can_be_read():
    """What a module imports for its type hints alone is not there when a record is read."""
    found = list(records())
    assert len(found) > 50
    for kind in found:
        assert hints_of(kind).keys() >= {item.name for item in fields(kind)}, kind


CANDIDATE = Candidate(strategy="freeze_part", frozen_blocks=5, option="random_head")
SPACE = SearchSpace(n_blocks=7, first=(CANDIDATE,), controls=(), depths=(0, 7), options=("fresh_top",))
EXPECTATIONS = Expectations(
    candidates=(CANDIDATE, CANDIDATE), rates=(None, 1e-4), mean=(0.1, 0.2), covariance=((1.0, 0.5), (0.5, 1.0)),
    seeds=0.02, rows_seen=4800, why="a test",
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        CANDIDATE,
        SPACE,
        EXPECTATIONS,
        Thumbnail(place="nearest", class_name="cat", png="aGk="),
        Pruned(name=RunName(trial=1), candidate=CANDIDATE, recipe={"epochs": 3.0}, out_of_time=True),
        Ranked(strategy="head_only", frozen_blocks=7, mean=0.5, sd=None, n=1, seconds=2.0),
    ],
    ids=lambda record: type(record).__name__,
)
def test_what_is_stored_is_read_back_as_it_was(record):
    assert reading.check_reading(type(record), record) == record
