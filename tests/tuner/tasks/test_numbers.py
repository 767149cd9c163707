"""The task "a number a row": its metrics, its linear head, what is folded into a saved model, and a whole search."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForSequenceClassification, pipeline

import tuner.model.native
from helpers import image_models, tiny
from helpers.conformance import TEXT_ROWS, texts
from helpers.numbered_rows import brightness, moods
from tuner.errors import DataError, OptionError
from tuner.export import TransferModel
from tuner.inputs.mixing import Mixture
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier, classify, final_linear
from tuner.model.native import native_classifier
from tuner.records import to_jsonable
from tuner.search.data import TuningData
from tuner.search.expectations import noise_of
from tuner.search.search import search
from tuner.search.space import candidate_at, default_space
from tuner.tasks.calibration import fold
from tuner.tasks.classes import Classes
from tuner.tasks.known import check_metric
from tuner.tasks.metrics import check_metric as check_known
from tuner.tasks.numbers import MEASURES, Numbers, NumberTruth, mean_absolute_error, r2, spearman

LABELS = np.array([3.0, 1.0, 2.0, 2.0, 5.0, 4.0])
PREDICTIONS = np.array([2.5, 1.0, 2.0, 3.0, 5.0, 2.0])
ONES = np.ones((1, 6))


def truth(metric="r2", **options):
    return NumberTruth(labels=LABELS, metric=metric, **options)


# --- metrics


def test_scores_are_those_of_others():
    assert r2(LABELS, PREDICTIONS, ONES)[0] == pytest.approx(r2_score(LABELS, PREDICTIONS))
    assert spearman(LABELS, PREDICTIONS, ONES)[0] == pytest.approx(spearmanr(LABELS, PREDICTIONS).statistic)
    assert mean_absolute_error(LABELS, PREDICTIONS, ONES)[0] == pytest.approx(3.5 / 6)
    assert truth().score(np.full(6, 100.0)) < -1000


@pytest.mark.parametrize("metric", list(MEASURES))
def test_a_row_drawn_several_times_counts_as_so_many_rows(metric):
    rng = np.random.default_rng(0)
    weights = rng.multinomial(6, np.full(6, 1 / 6), size=250)  # more than are ranked at once
    found = MEASURES[metric](LABELS, PREDICTIONS, weights)
    for row in (0, 1, 99, 100, 249):
        drawn = np.repeat(np.arange(6), weights[row])
        alone = MEASURES[metric](LABELS[drawn], PREDICTIONS[drawn], np.ones((1, 6)))[0]
        assert found[row] == pytest.approx(alone, abs=1e-12)


def test_r2_of_large_numbers_that_differ_little_is_exact():
    assert r2(LABELS + 1e9, PREDICTIONS + 1e9, ONES)[0] == pytest.approx(r2_score(LABELS, PREDICTIONS), abs=1e-6)


def test_what_does_not_vary_has_no_order_and_no_variance():
    same = np.full(6, 2.0)
    assert spearman(LABELS, same, ONES)[0] == spearman(same, LABELS, ONES)[0] == 0.0
    assert r2(same, LABELS, ONES)[0] == 0.0
    assert r2(same, same, ONES)[0] == 1.0
    assert r2(np.full(3, 0.1), np.full(3, 0.1), np.ones((1, 3)))[0] == 1.0


def test_intervals_hold_the_score_and_are_wider_over_groups():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 10)
    labels = rng.normal(size=200)
    predictions = labels + rng.normal(size=20)[group]
    for metric in MEASURES:
        alone = NumberTruth(labels=labels, metric=metric)
        together = NumberTruth(labels=labels, metric=metric, groups=group)
        (low, high), (lowest, highest) = (t.interval(predictions, seed=0) for t in (alone, together))
        assert low < alone.score(predictions) < high
        assert highest - lowest > 1.5 * (high - low)
    assert (alone.n_units, together.n_units) == (200, 20)


def test_rows_that_are_all_exact_leave_a_doubt():
    low, high = truth().interval(LABELS, seed=0)
    assert 0.5 < low < 0.7  # Wilson's interval of 6 of 6
    assert high == 1.0
    assert truth("spearman").interval(LABELS, seed=0) == (low, high)
    assert truth("mae").interval(LABELS, seed=0) == (0.0, pytest.approx((1 - low) * np.abs(LABELS - 17 / 6).mean()))
    groups = np.array([0, 0, 0, 1, 1, 1])
    assert truth(groups=groups).interval(LABELS, seed=0)[0] < low


def test_an_assessment_is_in_the_users_units_and_has_no_calibration():
    task = Numbers(mean=2.0, deviation=0.5)
    logits = ((PREDICTIONS - 2.0) / 0.5)[:, None].astype(np.float32)
    found = task.truth(LABELS, metric="r2").assess(logits, temperature=None)
    assert list(found) == ["metrics"]
    assert list(found["metrics"]) == ["r2", "spearman", "mae"]
    assert found["metrics"]["mae"]["score"] == pytest.approx(3.5 / 6, abs=1e-6)
    low, high = found["metrics"]["mae"]["interval"]
    assert low < 3.5 / 6 < high


def test_metrics_of_other_tasks_are_told_from_unknown_ones():
    assert check_metric(None, task=Numbers()) == "r2"
    with pytest.raises(OptionError, match="--metric accuracy does not go with numbers"):
        check_metric("accuracy", task=Numbers())
    with pytest.raises(OptionError, match="it scores numbers"):
        check_metric("spearman", task=Classes(names=("a", "b")))
    with pytest.raises(OptionError, match=r"unknown metric 'mae'(.|\n)*of numbers r2, spearman"):
        check_known("mae")


# --- what the search does with scores below 0


def test_a_score_below_nothing_counts_as_nothing_in_log_odds():
    draws = np.array([[-0.3, -0.2, 0.1], [0.0, 0.0, 0.1], [0.6, 0.5, 0.7]])
    found = noise_of(draws, np.array([-0.4, 0.0, 0.6]), n=50, seeds=np.zeros(3))
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.noise).all()
    assert found.values[0] == found.values[1] == pytest.approx(np.log(0.5 / 50.5))
    assert found.values[2] == pytest.approx(np.log(30.5 / 20.5))


# --- the task


def test_targets_are_standardised_by_the_training_labels():
    task = Numbers.of(np.array([10.0, 20.0, 30.0, 40.0]))
    assert (task.mean, task.deviation) == (25.0, pytest.approx(np.sqrt(125)))
    logits = torch.tensor([[0.0], [1.0]])
    loss = task.loss(logits, torch.tensor([25.0, 25.0], dtype=torch.float64))
    assert float(loss) == pytest.approx(0.5)
    assert float(task.loss(logits, torch.tensor([25, 25]))) == pytest.approx(0.5)
    assert task.decode(np.array([[1.0]], dtype=np.float32))[0] == pytest.approx(25 + np.sqrt(125))
    assert task.told(np.array([1.5, np.float32(2)]), ["a", "b"]) == [1.5, 2.0]
    assert not np.isnan(task.decode(np.full((2, 1), np.nan))).any()


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([2.0, 2.0, 2.0], r"all 3 training labels \(price\) are the same number, 2"),
        ([2.0, np.inf, 1.0], r"1 of 3 training labels \(price\) is missing or infinite"),
        ([2.0, np.nan, -np.inf], r"2 of 3 training labels \(price\) are missing or infinite"),
    ],
)
def test_labels_that_no_model_can_learn_are_refused(labels, what):
    with pytest.raises(DataError, match=what):
        Numbers.of(np.array(labels), name="price")


def test_mixing_two_rows_is_mixing_their_targets():
    """Squared errors against both targets, by their shares, have the gradient of the one against the mixed target."""
    task = Numbers(mean=1.0, deviation=2.0)
    logits = torch.tensor([[0.3], [-0.2], [1.5]], requires_grad=True)
    targets = torch.tensor([4.0, 0.0, -3.0])
    mixture = Mixture(other=torch.tensor([2, 0, 1]), share=0.7)
    mixed = 0.7 * targets + 0.3 * targets[mixture.other]
    (ours,) = torch.autograd.grad(mixture.loss(task.loss, logits, targets), [logits])
    (theirs,) = torch.autograd.grad(task.loss(logits, mixed), [logits])
    torch.testing.assert_close(ours, theirs)
    assert task.misfit("mixup") is None


@pytest.mark.parametrize("l2", [300.0, 3.0])
def test_the_linear_head_is_ridge_regression(l2):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(80, 10)) * rng.uniform(0.1, 9, size=10) + 3).astype(np.float32)
    labels = 1000 + 50 * (features @ rng.normal(size=10) / 9 + rng.normal(size=80))
    task = Numbers.of(labels)
    head = task.fit_head([features], labels, l2=l2)
    scaled = StandardScaler().fit_transform(features)
    expected = Ridge(alpha=l2).fit(scaled, labels).predict(scaled)
    assert np.abs(task.decode(head.logits([features])) - expected).max() < 0.02 * labels.std()


def test_the_penalty_is_chosen_by_squared_error_on_rows_left_out():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 40)).astype(np.float32)
    folds = np.arange(60) % 5
    noise, signal = 7 + rng.normal(size=60), features[:, 0] * 3.0
    assert Numbers.of(noise).cross_validate([features], noise, folds=folds).l2 == 3000.0
    found = Numbers.of(signal).cross_validate([features], signal, folds=folds)
    assert found.l2 < 30
    assert r2_score(signal, found.predictions) > 0.9
    other = rng.normal(size=(60, 40)).astype(np.float32)
    mixed = Numbers.of(signal).cross_validate([features, other], signal, folds=folds, weighted=True)
    assert r2_score(signal, mixed.predictions) > 0.8


# --- what is saved


def backbone():
    # Random networks magnify rounding, so all is in full precision here.
    return replace(load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu"), compute_dtype=torch.float32)


def test_a_configuration_of_regression_is_known_by_its_one_output():
    def found(problem_type, *names):
        return Numbers.of_config(SimpleNamespace(problem_type=problem_type, id2label=dict(enumerate(names))))

    assert found("regression", "price") == Numbers(name="price")
    assert found("regression", "a", "b") is None
    assert found(None, "price") is None


def test_a_head_whose_last_layer_has_no_bias_is_refused(monkeypatch):
    def without_bias(*args, **options):
        linear = final_linear(*args, **options)
        linear.register_parameter("bias", None)
        return linear

    monkeypatch.setattr(tuner.model.native, "final_linear", without_bias)
    of = load_backbone(texts(), device="cpu")
    assert "no bias" in native_classifier(of, task=Numbers(mean=2000.0, deviation=10.0), seed=0)
    assert not isinstance(native_classifier(of, task=Classes(names=("no", "yes")), seed=0), str)


def test_numbers_keep_their_digits_where_the_network_runs_in_half_precision():
    task = Numbers(mean=2000.0, deviation=10.0)
    outputs = {}
    for dtype in (torch.float32, torch.bfloat16):
        of = replace(backbone(), compute_dtype=dtype)
        torch.manual_seed(0)
        model = build_classifier(of.model, backbone=of, task=task, features="last", frozen_blocks=0)
        value, offsets = task.folding(temperature=1.0, offsets=None)
        fold(model.head.linear, temperature=value, offsets=offsets)
        outputs[dtype] = classify(model, backbone=of, encoded=of.encode(TEXT_ROWS))[0]
    assert np.abs(outputs[torch.float32] - 2000).max() > 0.5
    assert np.abs(outputs[torch.float32] - outputs[torch.bfloat16]).max() < 0.5  # bf16 knows 2000 and 2008


# --- a whole search


def searched(of, parts, folder, **options):
    train, validation, test = parts
    data = TuningData(
        name="numbers", train=train, validation=validation, test=test, fingerprint="x",
        task=Numbers.of(train.labels, name="mood"),
    )  # fmt: skip
    n = of.n_blocks
    space = replace(default_space(n), epochs=(3, 4))
    return search(
        of, data=data, space=space, recommended=candidate_at(n - 1, n), folder=folder, budget_s=None, n_trials=3,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def of_texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    return folder, searched(backbone(), (moods(120, 0), moods(60, 1), moods(40, 2)), folder)


def test_a_search_ends_with_a_model_that_predicts_the_number(of_texts):
    _, result = of_texts
    test = result.winner["test"]
    assert result.metric == "r2"
    assert test["score"] > 0.8
    assert test["interval"][0] < test["score"] < test["interval"][1]
    assert result.calibration is None
    assert result.options == ()
    assert {bool(candidate["frozen_blocks"] == 4) for candidate in result.candidates} == {True, False}
    assert np.isfinite([candidate["expected"] for candidate in result.candidates]).all()
    part = moods(40, 2)
    predicted = np.array(result.model.predict(part.rows))
    assert r2_score(part.labels, predicted) == pytest.approx(test["score"], abs=1e-4)
    assert np.abs(part.labels - predicted).mean() == pytest.approx(test["metrics"]["mae"]["score"], abs=1e-2)
    np.testing.assert_allclose(result.model.predict_proba(part.rows)[:, 0], predicted)
    assert result.model.class_names == ("mood",)


def test_it_goes_on_and_is_read_back(of_texts):
    folder, result = of_texts
    again = searched(backbone(), (moods(120, 0), moods(60, 1), moods(40, 2)), folder, resume=True)
    assert to_jsonable(again.winner) == to_jsonable(result.winner)


def test_its_card_speaks_of_a_number(of_texts):
    card = (of_texts[0] / "model" / "README.md").read_text()
    assert "a number as its only output (regression)" in card
    assert "Test R²: 0." in card
    assert "Spearman correlation 0." in card
    assert "mean absolute error" in card
    assert "r_squared" in card
    assert "in the units of the labels" in card
    assert "Probabilities" not in card


@pytest.mark.parametrize("head", ["own", "native"])
def test_plain_transformers_gives_the_number_in_the_users_units(head, of_texts, tmp_path):
    folder = of_texts[0] / "model"
    if head == "native":
        of = load_backbone(texts(), device="cpu")
        task = Numbers.of(moods(120, 0).labels, name="mood")
        model = native_classifier(of, task=task, seed=0)
        value, offsets = task.folding(temperature=1.0, offsets=None)
        fold(model.classifier, temperature=value, offsets=offsets)
        folder = tmp_path
        reader = of.inputs.saved_reader()
        saved = TransferModel.from_pretrained(of_texts[0] / "model", device="cpu")
        TransferModel(classifier=model, reader=reader, support=saved.support, card="# card").save_pretrained(folder)
    ours = TransferModel.from_pretrained(folder, device="cpu")
    rows = moods(10, 3).rows
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert plain.config.problem_type == "regression"
    assert plain.config.num_labels == 1
    with torch.no_grad():
        outputs = plain(**ours.reader(rows, padding=True, return_tensors="pt")).logits
    predicted = ours.predict(rows)
    np.testing.assert_allclose(outputs[:, 0], predicted, rtol=1e-5)
    piped = pipeline("text-classification", model=plain, tokenizer=ours.reader)(rows)
    assert [found["label"] for found in piped] == ["mood"] * 10
    np.testing.assert_allclose([found["score"] for found in piped], predicted, rtol=1e-5)
    if head == "own":
        assert 1900 < min(predicted) < 2000 < max(predicted) < 2100


def test_a_search_on_images(tmp_path):
    torch.manual_seed(0)
    base = image_models.resnet()
    with torch.no_grad():
        for _ in range(20):
            base.train()(torch.randn(16, 3, 32, 32))
    reader = image_models.processor(size={"shortest_edge": 32}, crop_size=32)
    of = load_backbone((base, reader), device="cpu")
    result = searched(of, (brightness(60, 0), brightness(40, 1), brightness(40, 2)), tmp_path, metric="spearman")
    part = brightness(40, 2)
    predicted = result.model.predict(part.rows)
    assert spearmanr(part.labels, predicted).statistic == pytest.approx(result.winner["test"]["score"], abs=1e-6)
    assert result.winner["test"]["score"] > 0.9
    assert np.abs(part.labels - predicted).mean() == pytest.approx(
        result.winner["test"]["metrics"]["mae"]["score"], abs=1e-6
    )
