"""Names of runs: fields here, file names on disk, also those that earlier versions wrote."""

import numpy as np
import pytest

from tuner.errors import DataError
from tuner.sealed import write_sealed
from tuner.search.run_name import RunName
from tuner.search.space import candidate_at
from tuner.search.store import Run, RunStore


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0000", RunName(trial=0)),
        ("0003@1", RunName(trial=3, repeat=1)),
        ("0003@-1", RunName(trial=3, repeat=-1)),
        ("0003-augmented", RunName(trial=3, variants=("augmented",))),
        ("0003-augmented-native@2", RunName(trial=3, variants=("augmented", "native"), repeat=2)),
        ("0003-random_head", RunName(trial=3, variants=("random_head",))),
        ("12345", RunName(trial=12_345)),
    ],
)  # fmt: skip
def test_a_name_is_written_and_read(text, name):
    assert str(name) == text
    assert RunName.parse(text) == name


@pytest.mark.parametrize("text", ["", "a", "0000@", "0000@x", "@1", "0000--x", "0000-1"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="not the name of a run"):
        RunName.parse(text)


def test_what_a_name_is_of():
    name = RunName(trial=3).with_variant("augmented").with_variant("native").with_seed(7)
    assert name.original == RunName(trial=3, variants=("augmented", "native"))
    assert name.original.plain == RunName(trial=3, variants=("augmented",))
    assert (name.variant, RunName(trial=3).variant) == ("native", None)


def of(name):
    return Run(
        name=name, candidate=candidate_at(2, 4), recipe={"steps": 3.0}, seed=1, score=0.5, seconds=2.0,
        predictions=np.array([0, 1]),
    )  # fmt: skip


def test_runs_are_read_back_as_they_were_kept_under_the_names_of_before(tmp_path):
    store = RunStore(tmp_path)
    names = [RunName(trial=0), RunName(trial=0, repeat=1), RunName(trial=1, variants=("native",))]
    for name in names:
        store.keep(of(name))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "0000.json", "0000@1.json", "0001-native.json",
    ]  # fmt: skip
    again = RunStore(tmp_path)
    again.read()
    assert list(again.runs) == names
    assert [run.is_trial for run in again.runs.values()] == [True, False, False]
    assert [run.is_confirmation for run in again.runs.values()] == [False, True, False]
    assert again.next_name() == RunName(trial=2)


def test_a_file_of_another_name_is_damage(tmp_path):
    store = RunStore(tmp_path)
    store.keep(of(RunName(trial=0)))
    (tmp_path / "runs" / "0000.json").rename(tmp_path / "runs" / "0001.json")
    with pytest.raises(DataError, match="it holds run 0000"):
        RunStore(tmp_path).read()
    write_sealed(tmp_path / "runs" / "0001.json", {"name": "x y", "candidate": {}, "recipe": {}})
    with pytest.raises(DataError, match="name is not what it should be"):
        RunStore(tmp_path).read()
