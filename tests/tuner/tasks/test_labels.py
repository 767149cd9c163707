"""Several labels for every row: what is scored, decided, trained, saved and read back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, pipeline

from helpers import tiny
from helpers.conformance import IMAGE_ROWS, images, texts
from helpers.labelled_rows import NAMES, films, pictures
from tuner.errors import OptionError
from tuner.export import TransferModel
from tuner.inputs.mixing import Mixture
from tuner.model.assemble import load_backbone
from tuner.model.native import native_classifier, save_native
from tuner.sealed import read_sealed
from tuner.search.data import TuningData
from tuner.search.decision import decide
from tuner.search.search import search
from tuner.search.space import candidate_at, default_space
from tuner.tasks.calibration import calibration_error_by_chance, calibration_interval, fold
from tuner.tasks.classes import Classes
from tuner.tasks.known import check_metric, task_of_config
from tuner.tasks.labels import MACRO_F1, MICRO_F1, SUBSET_ACCURACY, Labels, choose_shift
from tuner.tasks.metrics import wilson

TASK = Labels(names=NAMES)
TRUE = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
GIVEN = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]])


def truth_of(metric, labels=TRUE, groups=None):
    return TASK.truth(labels, metric=metric, groups=groups)


def some(n, seed=0, n_labels=3):
    """True and predicted labels, of which about a fifth is wrong."""
    rng = np.random.default_rng(seed)
    true = (rng.random((n, n_labels)) < [0.5, 0.3, 0.1][:n_labels]).astype(np.int64)
    return true, np.where(rng.random(true.shape) < 0.2, 1 - true, true)


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        (MICRO_F1, 2 * 3 / (5 + 4)),  # three labels are found, of five true and four predicted ones
        (MACRO_F1, (2 * 2 / 4 + 2 * 1 / 3 + 0) / 3),
        (SUBSET_ACCURACY, 1 / 4),  # the last row, which has none
    ],
)
def test_scores_are_those_computed_by_hand(metric, score):
    assert truth_of(metric).score(GIVEN) == pytest.approx(score)
    assert truth_of(metric).score(TRUE) == 1.0
    assert truth_of(metric).score(1 - TRUE) == 0.0


def test_scores_are_those_of_scikit_learn():
    true, given = some(200)
    assert truth_of(MICRO_F1, true).score(given) == pytest.approx(f1_score(true, given, average="micro"))
    assert truth_of(MACRO_F1, true).score(given) == pytest.approx(f1_score(true, given, average="macro"))
    assert truth_of(SUBSET_ACCURACY, true).score(given) == pytest.approx(accuracy_score(true, given))


def test_macro_f1_averages_over_labels_that_occur_and_no_labels_at_all_are_right():
    true = np.array([[1, 0, 0], [1, 0, 0]])
    given = np.array([[1, 1, 0], [0, 0, 0]])
    assert truth_of(MACRO_F1, true).score(given) == pytest.approx(2 / 3)
    assert truth_of(MICRO_F1, true).score(given) == pytest.approx(1 / 2)
    none = np.zeros((2, 3), dtype=int)
    for metric in (MICRO_F1, MACRO_F1):
        assert truth_of(metric, none).score(none) == 1.0
        assert truth_of(metric, none).score(given) == 0.0


@pytest.mark.parametrize("metric", TASK.metrics)
def test_draws_are_scores_of_drawn_rows(metric):
    true, given = some(40)
    n = len(true)
    drawn = np.random.default_rng(3).multinomial(n, np.full(n, 1 / n), size=1000)
    draws = truth_of(metric, true).draws(given, seed=3)
    for place in (0, 500, 999):
        rows = np.repeat(np.arange(n), drawn[place])
        assert draws[place] == pytest.approx(truth_of(metric, true[rows]).score(given[rows]))
    low, high = truth_of(metric, true).interval(given, seed=3)
    assert low < truth_of(metric, true).score(given) < high
    np.testing.assert_array_equal(draws, truth_of(metric, true).draws(given, seed=3))


def test_rows_of_a_group_are_drawn_together():
    true, given = some(40)
    groups = np.repeat(np.arange(4), 10)
    alone, together = (truth_of(MICRO_F1, true, groups=found) for found in (None, groups))
    assert together.n_units == 4
    assert len(np.unique(together.draws(given, seed=0).round(9))) < 40 < len(np.unique(alone.draws(given, seed=0)))
    assert together.take(np.array([0, 1, 39])).n_units == 2


def test_the_interval_of_all_right_is_that_of_the_share_of_rows():
    for metric in TASK.metrics:
        assert truth_of(metric).interval(TRUE, seed=0) == pytest.approx(wilson(1.0, 4))
    assert truth_of(SUBSET_ACCURACY).interval(GIVEN, seed=0) == pytest.approx(wilson(0.25, 4))


# -- what is decided --------------------------------------------------------------------------------------------------


def test_an_assessment_tells_every_label():
    found = truth_of(MICRO_F1).assess(np.where(GIVEN, 2.0, -2.0), temperature=1.0)
    assert found["metrics"][MACRO_F1]["score"] == pytest.approx((1 + 2 / 3) / 3)
    good, cat, red = found["by_class"]
    assert (good["name"], good["n"], good["n_predicted"], good["recall"], good["precision"]) == ("good", 2, 2, 1.0, 1.0)
    assert (cat["n"], cat["n_predicted"], cat["recall"], cat["precision"], cat["f1"]) == (2, 1, 0.5, 1.0, 2 / 3)
    assert (red["recall"], red["precision"], red["f1"]) == (0.0, 0.0, 0.0)
    assert cat["interval"] == pytest.approx(wilson(0.5, 2))
    calibration = found["calibration"]
    assert calibration["n"] == 12
    assert calibration["accuracy"] == pytest.approx(9 / 12)
    sure = 1 / (1 + np.exp(-2.0))
    assert calibration["confidence_after"] == pytest.approx(sure)
    assert calibration["ece_after"] == pytest.approx(sure - 9 / 12)
    assert json.loads(json.dumps(found)) == found


def test_the_temperature_is_that_of_all_decisions():
    logits = np.array([[4.0, -4.0]] * 5000)  # 98 % sure of two decisions, and right 7 times out of 10
    labels = np.array([[1, 0]] * 3500 + [[0, 1]] * 1500)
    found = TASK.fit_temperature(logits, labels)
    assert found.value == pytest.approx(4 / np.log(7 / 3), rel=0.01)
    assert found.n == 10_000
    assert "all 40 label decisions are right" in str(TASK.fit_temperature(logits[:20], labels[:20]).why)
    np.testing.assert_allclose(TASK.probabilities(np.array([[0.0, np.log(3.0)]])), [[0.5, 0.75]])


def test_calibration_of_groups_sums_what_is_drawn_together():
    """The interval is that of drawn rows written out, and chance is the same however much is drawn at once."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    units = np.repeat(np.arange(20), 3)
    assert calibration_interval(probabilities, labels) == calibration_interval(
        probabilities, labels, groups=np.arange(60)
    )
    grouped = calibration_interval(probabilities, labels, groups=units)
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=1000)[:, units]
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    gaps = [(drawn * (right - confidence) * (place == number)).sum(1) for number in range(15)]
    errors = np.abs(gaps).sum(0) / 60
    measured = sum(abs((right - confidence)[place == number].sum()) for number in range(15)) / 60
    assert grouped == pytest.approx(np.quantile(errors - errors.mean() + measured, [0.025, 0.975]))


def test_chance_is_the_same_however_much_is_drawn_at_once(monkeypatch):
    probabilities = np.tile([[0.8, 0.2], [0.6, 0.4]], (50, 1))
    whole = calibration_error_by_chance(probabilities)
    monkeypatch.setattr("tuner.tasks.calibration.MOST_DRAWN", 700)
    assert calibration_error_by_chance(probabilities) == pytest.approx(whole)


def shy(n, seed):
    """Logits that are too low by 1.5 of what would be right of labels with noise."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < 0.3).astype(np.int64)
    return 2.0 * (2 * labels - 1) - 1.5 + rng.normal(size=labels.shape), labels


@pytest.mark.parametrize("metric", TASK.metrics)
def test_the_threshold_is_chosen_on_validation_and_folded_into_the_bias(metric):
    logits, labels = shy(300, 0)
    truth = truth_of(metric, labels)
    decision = decide(logits, task=TASK, truth=truth, train_labels=labels, seed=0)
    assert decision.offsets is not None
    assert decision.offsets.helps
    assert decision.offsets.interval[0] > 0
    shift = decision.offsets.strength
    assert 1 <= shift <= 2
    assert decision.offsets.values == (shift,) * 3
    assert shift == choose_shift(logits, truth)
    best = max(truth.score((logits > -s).astype(int)) for s in np.linspace(-4, 4, 33))
    assert truth.score((logits + shift > 0).astype(int)) == best
    layer = torch.nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
        layer.bias.zero_()
    assert decision.temperature is not None
    temperature, offsets = TASK.folding(temperature=decision.temperature.value, offsets=decision.added)
    fold(layer, temperature=temperature, offsets=offsets)
    new_logits, new_labels = shy(300, 1)
    folded = layer(torch.from_numpy(new_logits).float()).detach()
    new = truth_of(metric, new_labels)
    assert new.score((folded.sigmoid() > 0.5).long().numpy()) > new.score(TASK.decode(new_logits)) + 0.03


def test_a_threshold_that_does_not_help_is_not_added():
    labels = some(200)[0]
    logits = 3.0 * (2 * labels - 1)
    offsets = TASK.choose_offsets(logits, truth_of(MICRO_F1, labels), trained_on=labels, seed=0)
    assert (offsets.strength, offsets.difference, offsets.helps) == (0.0, 0.0, False)


def test_the_difference_is_measured_on_rows_that_did_not_choose():
    logits, labels = np.random.default_rng(0).normal(size=(30, 3)), some(30)[0]
    truth = truth_of(MACRO_F1, labels)
    offsets = TASK.choose_offsets(logits, truth, trained_on=labels, seed=0)
    gain = truth.score(TASK.decode(logits + offsets.strength)) - truth.score(TASK.decode(logits))
    assert offsets.difference < gain
    one = truth_of(MACRO_F1, labels, groups=np.zeros(30, dtype=int))
    assert TASK.choose_offsets(logits, one, trained_on=labels, seed=0).difference == 0


# -- what is learned --------------------------------------------------------------------------------------------------


def test_the_head_is_a_logistic_regression_for_every_label():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 5)).astype(np.float32)
    labels = (features @ rng.normal(size=(5, 3)) + rng.normal(size=(120, 3)) > 0.5).astype(np.int64)
    head = TASK.fit_head([features], labels, l2=3.0)
    scaled = (features - features.mean(0)) / features.std(0)
    for place in range(3):
        one = LogisticRegression(C=1 / 3.0).fit(scaled, labels[:, place])
        np.testing.assert_allclose(head.logits([features])[:, place], one.decision_function(scaled), atol=0.05)
    chosen = TASK.cross_validate([features], labels, folds=np.arange(120) % 5)
    assert chosen.predictions.shape == (120, 3)
    assert truth_of(MICRO_F1, labels).score(chosen.predictions) > 0.7
    held_out = np.where(np.arange(120) < 20, -1, np.arange(120) % 5)
    assert (TASK.cross_validate([features], labels, folds=held_out).predictions[:20] == -1).all()


def test_the_loss_is_binary_cross_entropy_and_mixed_rows_are_mixed_targets():
    rng = np.random.default_rng(0)
    logits, targets = torch.from_numpy(rng.normal(size=(4, 3))).float(), torch.from_numpy(TRUE)
    ours = TASK.loss(logits, targets)
    torch.testing.assert_close(ours, torch.nn.BCEWithLogitsLoss()(logits, targets.float()))
    mixture = Mixture(other=torch.tensor([1, 2, 3, 0]), share=0.7)
    mixed = torch.nn.BCEWithLogitsLoss()(logits, mixture.states(targets.float()))
    torch.testing.assert_close(mixture.loss(TASK.loss, logits, targets), mixed)
    assert TASK.misfit("mixup") is None


def test_metrics_of_other_tasks_are_refused():
    assert check_metric(None, task=TASK) == MICRO_F1
    with pytest.raises(OptionError, match="--metric accuracy does not go with rows with several labels"):
        check_metric("accuracy", task=TASK)
    with pytest.raises(OptionError, match="--metric micro_f1 does not go with labelled rows") as refused:
        check_metric("micro_f1", task=Classes(names=("a", "b")))
    assert "it scores rows with several labels" in str(refused.value)


# -- from rows to a saved model ---------------------------------------------------------------------------------------


FILMS = TuningData(
    name="films", train=films(96, 0), validation=films(60, 1), test=films(40, 2), task=TASK, fingerprint="x",
)  # fmt: skip


def found_by(backbone, folder, data, **options):
    return search(
        backbone, data=data, space=default_space(4), recommended=candidate_at(2, 4), folder=folder, budget_s=None,
        n_trials=2, seed=0, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return found_by(load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu"), folder, FILMS), folder


def test_a_search_finds_saves_and_scores_a_model(tuned):
    result, folder = tuned
    test = result.winner["test"]
    assert result.metric == MICRO_F1
    assert test["score"] > 0.8
    assert set(test["metrics"]) == {MICRO_F1, MACRO_F1, SUBSET_ACCURACY}
    assert test["metrics"][MICRO_F1]["score"] == test["score"]
    assert [row["name"] for row in test["by_class"]] == list(NAMES)
    assert [row["n"] for row in test["by_class"]] == FILMS.test.labels.sum(0).tolist()
    assert result.calibration["unit"] == "label decision"
    assert result.calibration["n"] == 60 * 3
    assert result.calibration["n_test"] == 40 * 3
    assert [option for option in result.options if option["option"] == "decision_offsets"]
    assert not [option for option in result.options if option["option"] == "class_weights"]
    assert read_sealed(folder / "tuning.json", fix="")["winner"]["test"]["score"] == test["score"]


def test_the_saved_model_predicts_labels(tuned):
    result, folder = tuned
    model = TransferModel.from_pretrained(folder / "model")
    assert model.task == TASK
    predictions = model.predict(FILMS.test.rows)
    numbers = np.array([[name in row for name in NAMES] for row in predictions]).astype(int)
    assert truth_of(MICRO_F1, FILMS.test.labels).score(numbers) == result.winner["test"]["score"]
    probabilities = model.predict_proba(FILMS.test.rows)
    np.testing.assert_array_equal(probabilities > 0.5, numbers == 1)
    assert not np.allclose(probabilities.sum(1), 1)
    assert "any of 3 labels" in model.card
    assert "top_k=3" in model.card
    assert "- type: f1" in model.card
    assert "| cat |" in model.card


def test_the_saved_model_works_in_plain_transformers(tuned):
    _, folder = tuned
    rows = FILMS.test.rows[:8]
    ours = TransferModel.from_pretrained(folder / "model").predict_proba(rows)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    assert model.config.problem_type == "multi_label_classification"
    assert task_of_config(model.config) == TASK
    told = pipeline("text-classification", str(folder / "model"), device="cpu")(rows, top_k=3)
    for row, entries in zip(ours, told, strict=True):
        by_name = {entry["label"]: entry["score"] for entry in entries}
        np.testing.assert_allclose([by_name[name] for name in NAMES], row, atol=1e-4)


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_native_classifiers_train_by_binary_cross_entropy(kind, tmp_path):
    """A model of transformers' own class, saved and loaded by transformers alone: its own loss is ours."""
    model, reader = images() if kind == "images" else texts()
    backbone = load_backbone((model, reader), device="cpu")
    native = native_classifier(backbone, task=TASK, seed=0)
    assert not isinstance(native, str)
    save_native(native, tmp_path)
    auto = AutoModelForImageClassification if kind == "images" else AutoModelForSequenceClassification
    again = auto.from_pretrained(tmp_path)
    assert type(again).__module__.startswith("transformers.")
    rows = IMAGE_ROWS[:4] if kind == "images" else FILMS.test.rows[:4]
    inputs = backbone.collate(backbone.encode(rows), np.arange(4))
    with torch.no_grad():
        out = again(**inputs, labels=torch.from_numpy(TRUE).float())
    torch.testing.assert_close(out.loss, TASK.loss(out.logits, torch.from_numpy(TRUE)))


def test_images_have_labels_as_texts_have(tmp_path):
    task = Labels(names=("above", "below"))
    data = replace(
        FILMS, train=pictures(64, 0), validation=pictures(40, 1), test=pictures(40, 2), task=task,
    )  # fmt: skip
    result = found_by(load_backbone(images(), device="cpu"), tmp_path, data, metric=SUBSET_ACCURACY)
    assert result.winner["test"]["score"] > 0.6
    model = TransferModel.from_pretrained(tmp_path / "model")
    right = [task.told(data.test.labels[row : row + 1], [None])[0] for row in range(40)]
    told = model.predict(data.test.rows)
    assert np.mean([ours == theirs for ours, theirs in zip(told, right, strict=True)]) == result.winner["test"]["score"]


def test_a_search_goes_on_from_what_is_stored(tmp_path):
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    small = replace(FILMS, train=films(40, 0), validation=films(30, 1), test=films(20, 2))
    result = found_by(backbone, tmp_path, small)
    again = found_by(backbone, tmp_path, small, resume=True)
    assert again.winner["test"]["score"] == result.winner["test"]["score"]
