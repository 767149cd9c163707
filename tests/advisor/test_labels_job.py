"""The main job on rows with several labels: recommend, tune, predict, report and their errors."""

import csv
import json

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from advisor import recommend, tune
from advisor.predicted_rows import LabelPredictions
from advisor.predicting import predict
from helpers import tiny
from helpers.commands import failed, printed
from helpers.conformance import images
from helpers.labelled_rows import NAMES, films, pictures


def joined(n, *, seed):
    """Texts of `films` with a number each, so that no two are equal, and their labels by name."""
    rows = films(n, seed)
    texts = [f"{text} {number}" for number, text in enumerate(rows.rows, 1000 * seed)]
    return texts, [[NAMES[place] for place in np.flatnonzero(row)] for row in rows.labels]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts with their labels in one cell; those without any say so."""
    path = tmp_path_factory.mktemp("data") / "films.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            [text, "|".join(labels or ["plain"])] for text, labels in zip(*joined(240, seed=1), strict=True)
        )
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, model, data):
    """One finished run that the read-only tests share."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, tune(data, model=model, label_separator="|", trials=2, seed=1, out=out)


def test_a_run_speaks_of_labels(tuned, capsys):
    out, result = tuned
    advice = json.loads((out / "advice.json").read_text(encoding="utf-8"))
    assert advice["metric"] == result.metric == "micro_f1"
    assert advice["data"]["task"] == "multi_label_classification"
    assert advice["data"]["n_classes"] == 4
    assert set(advice["data"]["class_counts"]) == {*NAMES, "plain"}
    assert 1 < advice["data"]["labels_per_row"] < 2
    assert advice["size"]["n_per_class_min"] <= min(advice["data"]["class_counts"].values())
    assert "the rarest label" in advice["size"]["why"] or "examples" in advice["size"]["why"]
    assert set(advice["baselines"]["tfidf_linear"]["metrics"]) == {"micro_f1", "macro_f1", "subset_accuracy"}
    assert advice["baselines"]["tfidf_linear"]["score"] > advice["baselines"]["majority"]["score"] > 0
    assert "--label-separator" in advice["next_command"]
    assert result.winner["test"]["score"] > 0.8
    for file in ("report.html", "report.md"):
        report = (out / file).read_text(encoding="utf-8")
        for said in ("micro F1", "subset accuracy", "commonest labels", "Rarest label", "plain"):
            assert said in report
        assert "majority class" not in report
    again = printed(capsys, "report", out, "--format", "json")
    assert json.loads(again)["advice"]["data"]["task"] == "multi_label_classification"


def test_the_saved_model_predicts_lists(tuned, capsys, tmp_path):
    out, _ = tuned
    texts, labels = joined(40, seed=7)
    new = tmp_path / "new.csv"
    new.write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    found = predict(out, new)
    assert isinstance(found, LabelPredictions)
    right = [set(ours) == set(theirs or ["plain"]) for ours, theirs in zip(found.labels, labels, strict=True)]
    assert np.mean(right) > 0.6
    lines = [json.loads(line) for line in found.written(".jsonl", raw=False).splitlines()]
    assert lines[0]["labels"] == found.labels[0]
    assert {name for name, p in lines[0]["probabilities"].items() if p > 0.5} == set(found.labels[0])
    assert "label" not in lines[0]
    header, first = printed(capsys, "predict", out, new).splitlines()[:2]
    assert header.startswith("labels,unlike_training,probability of ")
    assert first.split(",")[0] == "|".join(found.labels[0])
    native = AutoModelForSequenceClassification.from_pretrained(out / "model")
    assert native.config.problem_type == "multi_label_classification"


def test_the_command_line_advises_and_tunes(capsys, data, model, tmp_path):
    said = printed(capsys, "recommend", data, "--model", model, "--label-separator", "|", "--out", tmp_path / "run",
                   "--metric", "macro_f1", "--quiet")  # fmt: skip
    assert "240 examples, 4 labels" in said
    assert "commonest labels" in said
    said = printed(capsys, "tune", data, "--model", model, "--label-separator", "|", "--out", tmp_path / "tuned",
                   "--metric", "macro_f1", "--trials", "1", "--quiet")  # fmt: skip
    assert "test macro F1" in said
    error = failed(capsys, "tune", data, "--model", model, "--label-separator", ";", "--quiet")
    assert "--label-separator ';' occurs in no label of column 'label'" in error


def test_a_metric_of_classes_is_refused(capsys, data, model):
    error = failed(
        capsys, "recommend", data, "--model", model, "--label-separator", "|", "--metric", "accuracy", "--quiet"
    )
    assert "--metric accuracy does not go with rows with several labels" in error


def test_images_with_labels_are_advised_and_tuned(tmp_path):
    part = pictures(80, 5)
    labels = [[name for name, mark in zip(("above", "below"), row, strict=True) if mark] for row in part.labels]
    result = tune((part.rows, labels), model=images(), trials=2, out=tmp_path / "run")
    assert result.metric == "micro_f1"
    assert result.winner["test"]["score"] > 0.6
    advice = json.loads((tmp_path / "run" / "advice.json").read_text(encoding="utf-8"))
    assert advice["data"]["kind"] == "image"
    assert advice["data"]["n_without_label"] == int((~part.labels.any(1)).sum())
    assert advice["baselines"]["pixel_linear"]["score"] > 0.8
    assert "pixels" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    found = predict(tmp_path / "run", part.rows[:5])
    assert [set(row) <= {"above", "below"} for row in found.labels] == [True] * 5


def test_pairs_have_labels(model, tmp_path):
    import pandas as pd

    texts, labels = joined(120, seed=3)
    frame = pd.DataFrame({"text": texts, "other": texts[::-1], "labels": labels})
    advice = recommend(frame, text="text", text_pair="other", model=model)
    assert advice.metric == "micro_f1"
    assert advice.data["columns"]["text_pair"] == "other"
