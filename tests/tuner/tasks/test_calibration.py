"""Probabilities that mean what they say, in every way that a model is saved."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tuner.search.bilstm
import tuner.search.decision
from helpers import image_models, searches, tagged_sentences, text_models, tiny
from tuner.export import TransferModel
from tuner.model.assemble import load_backbone
from tuner.model.native import native_classifier
from tuner.records import to_jsonable
from tuner.search.bench import Bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.search import read_result, search
from tuner.search.space import Candidate, SearchSpace, candidate_at
from tuner.tasks.calibration import (
    RANGE,
    calibration_error_by_chance,
    calibration_interval,
    expected_calibration_error,
    fit_temperature,
    fold,
    softmax,
)
from tuner.tasks.classes import Classes

# -- pure functions ---------------------------------------------------------------------------------------------------


def drawn(n, *, temperature, seed=0, classes=3):
    """Logits, and labels drawn from their probabilities at a temperature."""
    generator = np.random.default_rng(seed)
    logits = 4 * generator.normal(size=(n, classes))
    drawn_from = softmax(logits, temperature=temperature).cumsum(1)
    return logits, (drawn_from < generator.random((n, 1))).sum(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    found = fit_temperature(*drawn(20_000, temperature=temperature))
    assert found.value == pytest.approx(temperature, rel=0.05)
    assert (found.n, found.why) == (20_000, None)


def test_no_temperature_makes_the_labels_more_probable():
    logits, labels = drawn(2000, temperature=2.0, seed=1)

    def loss(temperature):
        return -np.log(softmax(logits, temperature=temperature)[np.arange(len(labels)), labels]).mean()

    best = fit_temperature(logits, labels).value
    assert loss(best) < min(loss(1.0), loss(1.03 * best), loss(best / 1.03))


def test_rows_that_are_all_right_do_not_make_it_certain():
    found = fit_temperature(np.array([[3.0, 0.0]] * 40), np.zeros(40, dtype=int))
    assert 0.3 < found.value < 1
    assert "all 40 rows are right" in found.why
    assert softmax(np.array([[3.0, 0.0]]), temperature=found.value).max() < 0.9999


def test_what_few_rows_say_is_said_to_be_little():
    few = fit_temperature(np.array([[9.0, 0.0]] * 3), np.array([0, 1, 0]))
    assert few.why == "3 rows say little of it"
    assert 1 < few.value < fit_temperature(np.array([[9.0, 0.0]] * 300), np.array([0, 1, 0] * 100)).value


def test_rows_that_fit_no_temperature_are_said():
    found = fit_temperature(np.array([[30.0, 0.0]] * 2000), np.ones(2000, dtype=int))
    assert found.value == pytest.approx(RANGE[1], rel=0.01)
    assert "fit no temperature" in found.why


def test_large_logits_and_ties_are_no_trouble():
    logits = np.array([[5000.0, 0.0], [0.0, 0.0], [0.0, 5000.0]])
    assert np.isfinite(fit_temperature(logits, np.array([0, 1, 0])).value)
    assert softmax(logits).tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


def test_calibration_error_by_hand():
    # Bins of a fifteenth: .95 and .96 share one (1 of 2 right, mean .955), .55 is alone (right).
    probabilities = np.array([[0.95, 0.05], [0.96, 0.04], [0.45, 0.55]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 1])) == pytest.approx(
        (2 * abs(0.5 - 0.955) + abs(1 - 0.55)) / 3
    )
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert expected_calibration_error(np.eye(2), np.array([1, 0])) == 1


def test_what_chance_makes_of_perfect_probabilities_is_what_they_show():
    logits, labels = drawn(300, temperature=1.0, seed=2)
    shown = [expected_calibration_error(softmax(logits), drawn(300, temperature=1.0, seed=2)[1])]
    generator = np.random.default_rng(5)
    for _ in range(60):
        labels = (softmax(logits).cumsum(1) < generator.random((300, 1))).sum(1)
        shown.append(expected_calibration_error(softmax(logits), labels))
    assert calibration_error_by_chance(softmax(logits)) == pytest.approx(np.mean(shown), rel=0.15)


def test_the_interval_lies_around_the_error_and_groups_widen_it():
    logits, labels = drawn(400, temperature=3.0)
    probabilities = softmax(logits)
    error = expected_calibration_error(probabilities, labels)
    low, high = calibration_interval(probabilities, labels)
    assert low < error < high
    repeated = np.repeat(np.arange(400), 4)
    wide = calibration_interval(probabilities[repeated], labels[repeated], groups=repeated)
    narrow = calibration_interval(probabilities[repeated], labels[repeated])
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_the_noise_that_drawing_adds_does_not_raise_the_interval():
    above = []
    for seed in range(10):
        logits, labels = drawn(80, temperature=1.0, seed=seed)
        low, high = calibration_interval(softmax(logits), labels)
        above.append((low + high) / 2 - expected_calibration_error(softmax(logits), labels))
    assert abs(np.mean(above)) < 0.01


def test_folding_divides_logits_and_keeps_their_order():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(8, 5), torch.randn(500, 8)
    before = layer(x).detach()
    fold(layer, temperature=1.7)
    after = layer(x).detach()
    torch.testing.assert_close(after, before / 1.7)
    assert torch.equal(after.argmax(1), before.argmax(1))


def test_a_layer_without_a_bias_is_divided_and_takes_no_offsets():
    layer = torch.nn.Linear(3, 2, bias=False)
    before = layer.weight.detach().clone()
    fold(layer, temperature=2.0)
    torch.testing.assert_close(layer.weight.detach(), before / 2)
    with pytest.raises(ValueError, match="without a bias"):
        fold(layer, temperature=1.0, offsets=np.zeros(2))


# -- what is saved -----------------------------------------------------------------------------------------------------

IMAGES = LabelledRows(rows=image_models.IMAGES, labels=image_models.LABELS)
OF_IMAGES = TuningData(
    name="images", train=IMAGES, validation=IMAGES, test=IMAGES, task=Classes(names=("a", "b")), fingerprint="x"
)


def of_texts():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


def of_images():
    torch.manual_seed(0)
    return load_backbone((image_models.resnet(), image_models.processor()), device="cpu")


def features(name, top="linear"):
    return Candidate(strategy="feature_based", frozen_blocks=None, features=name, top=top)


KINDS = {
    "blocks": (of_texts, searches.DATA, candidate_at(2, 4)),
    "head": (of_texts, searches.DATA, candidate_at(4, 4)),
    "weighted sum": (of_texts, searches.DATA, features("weighted_all")),
    "images": (of_images, OF_IMAGES, "all"),
    "words": (of_texts, tagged_sentences.DATA, candidate_at(2, 4)),
    "words, BiLSTM": (of_texts, tagged_sentences.DATA, features("last", top="bilstm")),
}


def tuned(backbone, data, candidate, folder):
    n = backbone.n_blocks
    first = candidate_at(n, n) if candidate == "all" else candidate
    space = SearchSpace(n_blocks=n, first=(first,), controls=(), depths=(n, n), learning_rate=(2e-3, 6e-3))
    return search(
        backbone, data=data, space=space, recommended=first, folder=folder, budget_s=None, n_trials=1
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_says_softmax_of_its_logits_over_the_temperature(kind, tmp_path, monkeypatch):
    make, data, candidate = KINDS[kind]
    monkeypatch.setattr(tuner.search.bilstm, "LSTM", (8, 1))
    result = tuned(make(), data, candidate, tmp_path / "folded")
    temperature = result.calibration["temperature"]
    assert abs(temperature - 1) > 0.005
    monkeypatch.setattr(tuner.search.decision, "fold", lambda *_a, **_k: None)
    plain = tuned(make(), data, candidate, tmp_path / "plain")
    assert plain.winner["candidate"] == result.winner["candidate"]
    rows = data.test.rows
    logits = TransferModel.from_pretrained(tmp_path / "plain" / "model", device="cpu").run(rows)[0]
    model = TransferModel.from_pretrained(tmp_path / "folded" / "model", device="cpu")
    np.testing.assert_allclose(model.predict_proba(rows), softmax(logits, temperature=temperature), atol=1e-4)
    assert model.predict(rows) == plain.model.predict(rows)
    assert result.winner["test"]["score"] == plain.winner["test"]["score"]


def test_transformers_own_loading_keeps_it(tmp_path):
    result = tuned(of_texts(), searches.DATA, candidate_at(2, 4), tmp_path)
    texts = list(searches.DATA.test.rows)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    reader = TransferModel.from_pretrained(tmp_path / "model", device="cpu")
    with torch.no_grad():
        logits = loaded(**reader.reader(texts, return_tensors="pt", padding=True)).logits.numpy()
    np.testing.assert_allclose(softmax(logits), reader.predict_proba(texts), atol=1e-4)
    found = result.calibration
    assert found["ece_after"] == pytest.approx(
        expected_calibration_error(softmax(logits), searches.DATA.test.labels), abs=1e-4
    )
    before = softmax(found["temperature"] * logits.astype(float))
    assert found["ece_before"] == pytest.approx(expected_calibration_error(before, searches.DATA.test.labels), abs=1e-4)
    assert found["confidence_before"] == pytest.approx(before.max(1).mean(), abs=1e-4)


def test_the_result_and_the_card_say_what_it_changed(tmp_path):
    result = tuned(of_texts(), searches.DATA, candidate_at(4, 4), tmp_path)
    found = json.loads((tmp_path / "tuning.json").read_text())["calibration"]
    assert (found["n"], found["n_test"], found["unit"]) == (60, 40, "row")
    assert found["ece_before_interval"][0] <= found["ece_before"] <= found["ece_before_interval"][1]
    assert 0 < found["ece_by_chance"] < 0.5
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"temperature {found['temperature']:.2f}, fitted on 60 validation rows" in card
    assert f"{found['ece_before']:.3f} [" in card
    assert "| class | recall, 95 % interval |" in card
    assert "macro F1" in card
    assert read_result(tmp_path / "tuning.json").calibration == found == to_jsonable(result.calibration)


def test_every_metric_and_class_of_the_test_split_is_in_the_result(tmp_path):
    from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

    result = tuned(of_texts(), searches.DATA, candidate_at(4, 4), tmp_path)
    test, labels = result.winner["test"], searches.DATA.test.labels
    predicted = np.array([searches.NAMES.index(name) for name in result.model.predict(searches.DATA.test.rows)])
    assert test["metrics"]["accuracy"] == {"score": test["score"], "interval": list(test["interval"])}
    assert test["metrics"]["macro_f1"]["score"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert test["metrics"]["balanced_accuracy"]["score"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert [row["recall"] for row in test["by_class"]] == pytest.approx(recall_score(labels, predicted, average=None))
    assert [row["n"] for row in test["by_class"]] == np.bincount(labels).tolist()
    for row in test["by_class"]:
        assert row["interval"][0] <= row["recall"] <= row["interval"][1]


def test_of_tagged_words_those_that_are_not_seen_count_nothing(tmp_path):
    data = tagged_sentences.DATA
    long = LabelledRows(  # beyond the model's 64 tokens
        rows=[*data.validation.rows, ("cat",) * 90],
        labels=np.concatenate([data.validation.labels, np.ones(90, dtype=int)]),
        n_words=np.append(data.validation.n_words, 90),
    )
    result = tuned(of_texts(), replace(data, validation=long), candidate_at(4, 4), tmp_path)
    assert result.calibration["unit"] == "word"
    assert len(data.validation.labels) < result.calibration["n"] < len(data.validation.labels) + 90
    assert result.winner["test"]["metrics"]["entity_f1"]["score"] == result.winner["test"]["score"]


def test_a_head_whose_logits_are_not_those_of_its_last_layer_is_not_taken(monkeypatch):
    from transformers import BertForSequenceClassification

    backbone = text_models.text_backbone(text_models.bert)
    forward = BertForSequenceClassification.forward

    def doubled(self, *arguments, **options):
        found = forward(self, *arguments, **options)
        found.logits = 2 * found.logits
        return found

    assert not isinstance(native_classifier(backbone, task=Classes(names=("a", "b")), seed=0), str)
    monkeypatch.setattr(BertForSequenceClassification, "forward", doubled)
    assert native_classifier(backbone, task=Classes(names=("a", "b")), seed=0) == (
        "its logits are not what its last linear layer gives"
    )


def test_a_single_fit_on_all_rows_has_no_temperature_and_that_is_said(tmp_path):
    bench = text_models.bench_of(of_texts(), tmp_path)
    truth, labels = bench.rows.truth, bench.rows.data.train.labels
    decision = tuner.search.decision.decide(None, task=bench.rows.task, truth=truth, train_labels=labels)
    assert (decision.temperature.value, decision.temperature.n, decision.added) == (1.0, 0, None)
    assert decision.temperature.why == (
        "there was time for a single fit on all labelled rows, which leaves none to fit it on"
    )
    balanced = replace(truth, metric="macro_f1")
    (told,) = tuner.search.decision.decide(None, task=bench.rows.task, truth=balanced, train_labels=labels).option(
        candidate_at(2, 4)
    )
    assert (told["option"], told["difference"]) == ("decision_offsets", None)


@pytest.mark.parametrize("refit", [True, False])
def test_the_temperature_is_fitted_on_a_model_that_validation_rows_did_not_train(tmp_path, monkeypatch, refit):
    """Also where the model that is shipped was trained on them."""
    seen = []
    original = Bench.validation_logits

    def watched(self, run):
        seen.append((run, len(self.rows.train), original(self, run)))
        return seen[-1][2]

    monkeypatch.setattr(Bench, "validation_logits", watched)
    space = SearchSpace(n_blocks=4, first=(candidate_at(2, 4),), controls=(), depths=(4, 4), epochs=(1, 2))
    data = searches.DATA
    result = search(
        of_texts(), data=data, space=space, recommended=space.first[0], folder=tmp_path, budget_s=None, n_trials=1,
        refit=refit,
    )  # fmt: skip
    ((run, rows, logits),) = seen
    assert rows == len(data.train.rows)
    np.testing.assert_array_equal(logits.argmax(1), run.predictions)
    assert result.calibration["temperature"] == fit_temperature(logits, data.validation.labels).value
    assert (result.final is not None) == refit


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [
        ((0.62, 0.68), (1, 0), (0.38 + 0.68) / 2),  # an edge lies at two thirds: ten bins would hold both in one
        ((0.60, 0.59), (1, 0), 0.595 - 0.5),  # a row on an edge belongs to the bin below it
        ((1.0, 0.95), (1, 0), 0.975 - 0.5),  # and the last bin holds what is certain
    ],
)
def test_bins_are_fifteen_and_hold_their_upper_edge(confidence, right, error):
    probabilities = np.array([[value, 1 - value] for value in confidence])
    assert expected_calibration_error(probabilities, 1 - np.array(right)) == pytest.approx(error)
