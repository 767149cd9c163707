"""The main job where a number is predicted of every row, from reading it to the report, and its errors."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from advisor import recommend, tune
from advisor.data.quantiles import quantiles_of
from advisor.kinds.table import kind_of
from advisor.measures.numbers import mean_baseline, pixel_ridge_baseline, tfidf_ridge_baseline
from advisor.predicting import predict
from helpers import image_models, tiny
from helpers.loading import load_target
from helpers.numbered_rows import brightness, moods
from tuner.errors import DataError, OptionError
from tuner.tasks.numbers import NumberTruth


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return image_models.saved_resnet(tmp_path_factory.mktemp("resnet"))


def frame(n=260, seed=0, **columns):
    rows = moods(n, seed)
    return pd.DataFrame({"text": rows.rows, "mood": rows.labels, **columns})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    frame().to_csv(made / "moods.csv", index=False)
    tiny.save_model(made / "bert")
    return made


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    options = {"label": "mood", "task": "regression", "model": folder / "bert", "out": out}
    return out, tune(folder / "moods.csv", **options, trials=2)


# --- what is a number


def test_fractions_are_numbers_and_whole_ones_where_it_is_said():
    data = frame()
    target = load_target(data.assign(mood=data["mood"] / 7), label="mood")
    assert target.task == "regression"
    assert target.class_names == ("mood",)
    np.testing.assert_allclose(np.sort(target.numbers), np.sort(data["mood"] / 7))
    as_text = load_target(data.assign(mood=(data["mood"] / 7).map("{:.5f}".format)), label="mood")
    np.testing.assert_allclose(as_text.numbers, target.numbers, atol=1e-5)
    assert load_target(data, label="mood", task="regression").numbers.max() == data["mood"].max()
    assert load_target(data.assign(mood=[i % 9 for i in range(260)]), label="mood").task == "sequence_classification"
    few = data.assign(mood=[i % 9 / 2 for i in range(260)])
    assert load_target(few, label="mood").task == "sequence_classification"
    assert load_target(few, label="mood", task="regression").task == "regression"


def test_splits_have_their_share_of_low_and_high_numbers_and_keep_groups():
    target = load_target(frame(group=np.arange(260) // 4), label="mood", task="regression", group="group")
    parts = [target.train, target.validation, target.test]
    means = [target.numbers[part].mean() for part in parts]
    assert max(means) - min(means) < 0.5 * target.numbers.std()
    groups = [set(target.groups[part]) for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]


def test_quantiles_are_equally_full_and_two_at_least():
    assert np.bincount(quantiles_of(np.arange(200.0))).tolist() == [20] * 10
    assert quantiles_of(np.array([1.0] * 50 + [2.0])).max() == 1
    assert quantiles_of(np.array([1.0] + [2.0] * 50)).max() == 1


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([3.5] * 60, "all labels in column 'label' are the same number, 3.5"),
        ([1.5] * 59 + [np.inf], "column 'label' holds infinite numbers in 1 row"),
        (["1.5"] * 58 + ["12 kg", "-"], "holds texts that are no numbers: (1 row holds|2 rows hold) '12 kg'"),
        (["low", "high"] * 30, "holds texts that are no numbers: 60 rows hold '(low|high)', '(low|high)'"),
        ([True, False] * 30, "holds names of classes, not numbers"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(labels, what):
    data = frame(60).rename(columns={"mood": "label"}).assign(label=labels)
    with pytest.raises(DataError, match=what):
        load_target(data, label="label", task="regression")


def test_too_few_rows_and_an_unknown_task_are_refused(folder):
    with pytest.raises(DataError, match="different training texts with a number"):
        load_target(frame(8), label="mood", task="regression")
    with pytest.raises(OptionError, match=r"unknown task 'regresion'\. Did you mean 'regression'\?"):
        recommend(folder / "moods.csv", label="mood", task="regresion", model=folder / "bert")
    with pytest.raises(OptionError, match="--metric accuracy does not go with numbers"):
        recommend(folder / "moods.csv", label="mood", task="regression", metric="accuracy", model=folder / "bert")


# --- baselines


def test_baselines_are_the_mean_and_ridge_regression():
    rows = moods(150, 0)
    truth, folds = NumberTruth(labels=rows.labels, metric="r2"), np.arange(150) % 5
    mean = mean_baseline(truth)
    assert mean.score == pytest.approx(0, abs=1e-9)
    assert mean.metrics["mae"].score == pytest.approx(np.abs(rows.labels - rows.labels.mean()).mean())
    words = tfidf_ridge_baseline(rows.rows, truth, folds=folds)
    assert words.score > 0.5
    assert list(words.metrics) == ["r2", "spearman", "mae"]
    assert tfidf_ridge_baseline(["! ?"] * 150, truth, folds=folds) is None
    pictures = brightness(100, 0)
    pixels = np.stack(pictures.rows).transpose(0, 3, 1, 2)
    of_pixels = NumberTruth(labels=pictures.labels, metric="spearman")
    assert pixel_ridge_baseline(pixels, of_pixels, folds=np.arange(100) % 5).score > 0.9


# --- the job


def test_the_advice_counts_rows_alone(tuned):
    advice = json.loads((tuned[0] / "advice.json").read_text())
    assert advice["data"]["task"] == "regression"
    assert advice["data"]["numbers"].keys() == {"lowest", "highest", "mean", "deviation"}
    assert "n_classes" not in advice["data"]
    assert advice["size"]["n_per_class_min"] is None
    assert advice["metric"] == "r2"
    assert advice["baselines"].keys() == {"majority", "tfidf_ridge", "best_probe"}
    assert "--task regression" in advice["next_command"]


def test_the_result_predicts_the_number(tuned, folder):
    out, result = tuned
    assert result.winner["test"]["score"] > 0.8
    new = moods(30, 5)
    found = predict(out, pd.DataFrame({"text": new.rows}))
    assert r2_score(new.labels, found.labels) > 0.8
    np.testing.assert_allclose(found.labels, result.model.predict(new.rows), rtol=1e-6)
    assert list(found.records()[0]) == ["label", "unlike_training"]
    header, *lines = csv.reader(found.written(".csv", raw=False).splitlines())
    assert header == ["label", "unlike_training"]
    assert [float(line[0]) for line in lines] == pytest.approx(found.labels)


def test_the_report_speaks_of_a_number_and_shows_no_classes(tuned):
    said = (tuned[0] / "report.md").read_text()
    assert "R² on the test split" in said
    assert "mean absolute error" in said
    assert "TF-IDF + ridge regression" in said
    assert "the mean" in said
    assert "logistic" not in said
    assert "majority" not in said
    assert "accuracy" not in said
    assert "class" not in said.split("### The four situations")[0].replace("classifier", "")
    assert "per class" not in said
    assert "by class" not in said.lower()
    mae = json.loads((tuned[0] / "tuning.json").read_text())["winner"]["test"]["metrics"]["mae"]["score"]
    assert f"mean absolute error {mae:.4g}" in said


def test_images_have_numbers_too(model, tmp_path):
    rows = brightness(90, 0)
    assert kind_of(load_target((rows.rows, rows.labels))).words.nouns == "images"
    out = tmp_path / "run"
    result = tune((rows.rows, rows.labels), model=model, out=out, trials=1, refit=False)
    assert result.metric == "r2"
    new = brightness(10, 4)
    found = predict(out, new.rows)
    assert r2_score(new.labels, found.labels) > 0.5
    assert "label" in found.records()[0]
