"""The Python interface on every kind of input."""

import datasets
import numpy as np
import pandas as pd
import pytest

import advisor.tuning
from advisor import recommend, tune
from advisor.kinds.table import kind_of
from advisor.options import parse_budget
from helpers import commands, tiny
from helpers.loading import load_target
from tuner.errors import OptionError

ROWS = commands.reviews()
FRAME = pd.DataFrame(ROWS)


@pytest.fixture(scope="module")
def model():
    return tiny.bert(), tiny.tokenizer()


INPUTS = {
    "frame": FRAME,
    "dataset": datasets.Dataset.from_pandas(FRAME),
    "dataset dict": datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:120]), test=datasets.Dataset.from_list(ROWS[120:])
    ),
    "lists": (FRAME.text.tolist(), FRAME.label.tolist()),
}


@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS.keys())
def test_recommend_takes_every_kind(data, model):
    advice = recommend(data, model=model)
    assert advice.data["n_examples"] == 160
    assert advice.data["n_classes"] == 2
    assert advice.strategy.decided_by == "evidence"


def test_advice_is_handed_to_tune_and_the_model_predicts(tmp_path, model):
    advice = recommend(FRAME, model=model)
    result = tune(FRAME, model=model, advice=advice, budget=None, trials=3, out=tmp_path / "run")
    assert result.n_blocks == 4
    predicted = result.model.predict(["good lovely film", "awful sad film"])
    assert set(predicted) <= {"neg", "pos"}


def test_trials_without_a_budget_repeat_exactly(tmp_path, model):
    def tuned(name):
        result = tune(FRAME, model=model, budget=None, trials=5, out=tmp_path / name, seed=3).to_json()
        timed = ("seconds", "model_dir")
        rows = [{k: v for k, v in row.items() if k not in timed} for row in result["candidates"]]
        return rows, result["winner"], result["trials"]

    assert tuned("a") == tuned("b")


def test_advice_about_other_data_is_refused(tmp_path, model):
    advice = recommend(FRAME, model=model)
    with pytest.raises(OptionError, match="the advice is of another data"):
        tune(FRAME.iloc[:120], model=model, advice=advice, trials=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1.5h", 5400), (45, 45), ("45", 45), (None, None)],
)
def test_budgets_are_read(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["soon", "10x", "m10", "", "-5m", "1h30"])
def test_unreadable_budgets_are_said(text):
    with pytest.raises(OptionError, match="cannot be read"):
        parse_budget(text)


def test_very_large_splits_are_sampled_and_said(monkeypatch):
    monkeypatch.setattr(advisor.tuning, "TRAIN_ROWS", 40)
    monkeypatch.setattr(advisor.tuning, "TEST_ROWS", 20)
    target = load_target(FRAME)
    data = advisor.tuning.tuning_data(target, kind=kind_of(target), seed=0)
    assert (len(data.train.rows), len(data.test.rows)) == (40, 20)
    assert np.bincount(data.train.labels).tolist() == [20, 20]
    assert data.notes == ("trained on a sample of 40 of 102 rows", "tested on a sample of 20 of 32 rows")
