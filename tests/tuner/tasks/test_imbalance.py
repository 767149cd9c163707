"""Rare classes under metrics that count all classes alike: weights in the loss, offsets on the logits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

import tuner.search.decision
import tuner.search.trainer
import tuner.tasks.heads
from advisor.report.wording import candidate_words, variant_sentence
from helpers import commands, searches, tiny
from tuner.errors import OptionError
from tuner.export import TransferModel
from tuner.inputs.mixing import Mixture
from tuner.model.assemble import load_backbone
from tuner.search.bench import open_bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.decision import decide
from tuner.search.rows import EncodedRows
from tuner.search.run_name import RunName
from tuner.search.search import search
from tuner.search.space import Candidate, candidate_at, default_space, restrict
from tuner.tasks.assessment import scores_by_class
from tuner.tasks.calibration import softmax
from tuner.tasks.classes import Classes, ClassTruth
from tuner.tasks.heads import cross_validate, fit_head
from tuner.tasks.imbalance import choose_offsets, choose_strength, class_weights, log_shares
from tuner.tasks.metrics import bootstrap_scores, check_metric, interval
from tuner.tasks.one_of import cross_entropy

# -- pure functions ---------------------------------------------------------------------------------------------------


def test_weights_are_those_of_scikit_learn():
    labels = np.array([0] * 70 + [1] * 25 + [2] * 5)
    weights = class_weights(labels, n_classes=3)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert weights[labels].mean() == pytest.approx(1)
    assert class_weights(labels, n_classes=4) == pytest.approx([*weights, 1])


def test_a_weighted_head_is_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(tuner.tasks.heads, "MAX_ITERATIONS", 500)
    monkeypatch.setattr(tuner.tasks.heads, "TOLERANCE", 1e-10)
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [150, 40, 10])
    x = (generator.normal(size=(200, 6)) + generator.normal(size=(3, 6))[labels]).astype(np.float32)
    weights = class_weights(labels, n_classes=3)
    ours = fit_head((x,), labels, n_classes=3, l2=2.0, class_weights=weights).logits((x,))
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.5, tol=1e-8, max_iter=1000, class_weight="balanced")
    )
    np.testing.assert_allclose(softmax(ours), reference.fit(x, labels).predict_proba(x), atol=2e-3)
    folds = np.arange(200) % 2
    fitted = cross_validate((x,), labels, n_classes=3, folds=folds, l2=(2.0,), class_weights=weights)
    truth = fitted.probabilities[np.arange(200), labels]
    assert fitted.log_loss_by_l2[0][1] == pytest.approx(np.average(-np.log(truth), weights=weights[labels]), rel=1e-4)


def test_the_weighted_loss_by_hand():
    logits = torch.log(torch.tensor([[0.8, 0.2], [0.6, 0.4]]))
    targets, weights = torch.tensor([0, 1]), torch.tensor([0.5, 3.0])
    expected = -(0.5 * np.log(0.8) + 3 * np.log(0.4)) / 2
    assert float(cross_entropy(logits, targets, weights)) == pytest.approx(expected)
    # a batch of common rows alone counts little
    assert float(cross_entropy(logits[:1], targets[:1], weights)) == pytest.approx(-0.5 * np.log(0.8))
    mixture = Mixture(other=torch.tensor([1, 0]), share=0.75)
    mixed = -(0.5 * (0.75 * np.log(0.8) + 0.25 * np.log(0.6)) + 3 * (0.75 * np.log(0.4) + 0.25 * np.log(0.2))) / 2
    assert float(mixture.loss(cross_entropy, logits, targets, weights)) == pytest.approx(mixed)


def test_logits_are_lowered_by_the_logarithm_of_shares():
    shares = log_shares(np.array([0] * 90 + [1] * 10), n_classes=2)
    np.testing.assert_allclose(shares[0] - shares[1], np.log(9))
    assert shares.sum() == pytest.approx(0)
    assert np.isfinite(log_shares(np.array([0, 0, 1]), n_classes=3)).all()


def imbalanced(n, *, seed, share=0.1):
    """Calibrated logits of two overlapping classes, one of them rare, and the labels."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < share).astype(int)
    x = generator.normal(size=n) + 2 * labels
    return np.stack([np.zeros(n), 2 * x - 2 + np.log(share / (1 - share))], axis=1), labels


def test_balanced_accuracy_takes_all_of_the_shares():
    """Logit adjustment is Bayes-optimal for it where the logits are calibrated (Menon et al. 2021)."""
    logits, labels = imbalanced(40_000, seed=0)
    shares = log_shares(labels, n_classes=2)
    assert choose_strength(logits, labels, shares=shares, metric="balanced_accuracy") == pytest.approx(1, abs=0.25)
    assert choose_strength(logits, labels, shares=shares, metric="accuracy") == 0


def test_offsets_are_judged_on_rows_that_did_not_choose_them():
    logits, labels = imbalanced(600, seed=1)
    shares = log_shares(labels, n_classes=2)
    truth = ClassTruth(labels=labels, metric="balanced_accuracy", names=("a", "b"))
    found = choose_offsets(logits, truth, shares=shares)
    assert found.helps
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.difference > 0.1
    assert found.values == pytest.approx(tuple(-found.strength * shares))
    # labels that no logit knows of: what a choice gains on its own rows is not counted
    generator = np.random.default_rng(0)
    gains = []
    for seed in range(30):
        noise, drawn = generator.normal(size=(60, 2)), generator.integers(0, 2, 60)
        truth = ClassTruth(labels=drawn, metric="macro_f1", names=("a", "b"))
        gains.append(choose_offsets(noise, truth, shares=np.array([0.6, -0.6]), seed=seed).difference)
    assert abs(np.mean(gains)) < 0.03


def test_offsets_that_change_nothing_are_none():
    logits = np.array([[9.0, 0.0], [0.0, 9.0]] * 10)
    truth = ClassTruth(labels=np.array([0, 1] * 10), metric="macro_f1", names=("a", "b"))
    found = choose_offsets(logits, truth, shares=np.array([0.3, -0.3]))
    assert (found.strength, found.difference, found.helps) == (0.0, 0.0, False)


def test_scores_by_class_by_hand_and_with_groups():
    labels, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    a, b, c = scores_by_class(labels, predicted, names=("a", "b", "c"))
    assert (a.recall, a.precision, a.f1, a.n, a.n_predicted) == (0.75, 0.75, 0.75, 4, 4)
    assert (b.recall, b.precision, b.f1) == (0.5, 0.5, 0.5)
    assert (c.recall, c.interval, c.precision, c.f1, c.n) == (None, None, None, None, 0)
    repeated = np.repeat(np.arange(6), 5)
    grouped = scores_by_class(labels[repeated], predicted[repeated], names=("a", "b", "c"), groups=repeated)[0]
    assert grouped.interval == pytest.approx(a.interval)


def test_intervals_of_drawn_pairs_are_those_of_drawn_rows():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 60, 15])
    predicted = np.where(generator.random(275) < 0.7, labels, generator.integers(0, 3, 275))
    for metric in ("macro_f1", "balanced_accuracy"):
        rows = np.quantile(bootstrap_scores(labels, predicted, metric=metric, resamples=4000), [0.025, 0.975])
        assert interval(labels, predicted, metric=metric) == pytest.approx(rows, abs=0.01)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("f1", "macro_f1"), ("F1", "macro_f1"), ("f1-macro", "macro_f1"), ("macro-f1", "macro_f1"),
        ("MacroF1", "macro_f1"), ("macro f1", "macro_f1"), ("f1_score", "macro_f1"), ("weighted_f1", "macro_f1"),
        ("balanced", "balanced_accuracy"), ("balanced-accuracy", "balanced_accuracy"), ("acc", "accuracy"),
        ("Accuracy", "accuracy"), ("entity-f1", "entity_f1"), ("seqeval", "entity_f1"),
    ],
)  # fmt: skip
def test_the_metric_that_was_meant_is_named(given, meant):
    with pytest.raises(OptionError, match=f"Did you mean '{meant}'"):
        check_metric(given)


# -- in a search ------------------------------------------------------------------------------------------------------


def rare(n, seed):
    """Reviews of which few are positive, and whose mood is not always that of the label."""
    rows = commands.reviews(2 * n, seed=seed)
    generator = np.random.default_rng(seed)
    kept = [row for row in rows if row["label"] == "neg" or generator.random() < 0.2][:n]
    labels = np.array([searches.NAMES.index(row["label"]) for row in kept])
    labels = np.where(generator.random(len(labels)) < 0.15, 0, labels)
    return LabelledRows(rows=[row["text"] for row in kept], labels=labels)


DATA = TuningData(
    name="rare", train=rare(120, 0), validation=rare(90, 1), test=rare(90, 2), task=Classes(names=("neg", "pos")),
    fingerprint="x",
)  # fmt: skip


@pytest.fixture
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


def run(backbone, folder, *, metric, first, **options):
    space = replace(default_space(4), first=first, controls=(), depths=(4, 4))
    return search(
        backbone, data=DATA, space=options.pop("space", space), recommended=first[0], folder=folder, budget_s=None,
        n_trials=len(first), metric=metric, **options,
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_weights_and_offsets_are_tried_and_what_they_gave_is_said(backbone, tmp_path, metric):
    first = (candidate_at(4, 4), candidate_at(2, 4))
    result = run(backbone, tmp_path, metric=metric, first=first)
    weighted, offsets = result.options
    assert (weighted["option"], offsets["option"]) == ("class_weights", "decision_offsets")
    scored = {(row["frozen_blocks"], row["option"]): row["mean"] for row in result.candidates if row["head"] == "own"}
    depth = weighted["candidate"]["frozen_blocks"]
    assert weighted["difference"] == pytest.approx(scored[depth, "class_weights"] - scored[depth, None])
    assert weighted["kept"] == (result.winner["candidate"]["option"] == "class_weights")
    assert offsets["kept"] == (offsets["difference"] > 0 and offsets["strength"] != 0)
    for found in result.options:
        said = variant_sentence(found, n_blocks=4)
        assert said.endswith("; kept" if found["kept"] else "; not kept")
    assert variant_sentence(weighted, n_blocks=4).startswith("class-weighted loss: ")
    again = run(backbone, tmp_path, metric=metric, first=first, resume=True)
    assert [row["difference"] for row in again.options] == [row["difference"] for row in result.options]


def test_accuracy_tries_neither(backbone, tmp_path):
    result = run(backbone, tmp_path, metric="accuracy", first=(candidate_at(4, 4),))
    assert result.options == ()
    assert {row["option"] for row in result.candidates} == {None}


def test_offsets_are_part_of_what_is_saved(backbone, tmp_path, monkeypatch):
    seen = []
    original = tuner.search.decision.fold

    def watched(linear, *, temperature, offsets=None):
        seen.append((temperature, offsets))
        original(linear, temperature=temperature, offsets=offsets)

    monkeypatch.setattr(tuner.search.decision, "fold", watched)
    monkeypatch.setattr(tuner.tasks.imbalance.Offsets, "helps", property(lambda _self: True))
    monkeypatch.setattr(tuner.tasks.imbalance, "STRENGTHS", (0.75,))
    monkeypatch.setattr(EncodedRows, "class_weights", np.ones(2))  # so that both heads are the same
    run(backbone, tmp_path / "moved", metric="macro_f1", first=(candidate_at(4, 4),))
    ((temperature, offsets),) = seen
    np.testing.assert_allclose(offsets, -0.75 * log_shares(DATA.train.labels, n_classes=2))
    monkeypatch.setattr(tuner.search.decision, "fold", lambda *_a, **_k: None)
    run(backbone, tmp_path / "plain", metric="macro_f1", first=(candidate_at(4, 4),))
    plain = TransferModel.from_pretrained(tmp_path / "plain" / "model", device="cpu").run(DATA.test.rows)[0]
    moved = TransferModel.from_pretrained(tmp_path / "moved" / "model", device="cpu").run(DATA.test.rows)[0]
    np.testing.assert_allclose(moved, (plain + offsets) / temperature, atol=1e-4)
    stored = json.loads((tmp_path / "moved" / "tuning.json").read_text())
    assert stored["options"][-1]["strength"] == 0.75
    assert stored["options"][-1]["kept"] is True


def test_class_weights_reach_heads_and_training(backbone, tmp_path, monkeypatch):
    bench = open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="macro_f1", seed=0)
    weights = class_weights(DATA.train.labels, n_classes=2)
    head = fit_head(
        bench.prefixes.train_features[-1:], DATA.train.labels, n_classes=2, class_weights=weights,
        l2=bench.trainer.heads.on("last", bench.prefixes.train_features, class_weighted=True).l2,
    )  # fmt: skip
    np.testing.assert_allclose(bench.trainer.head("last", class_weighted=True).weight, head.weight, atol=1e-5)
    assert not np.allclose(bench.trainer.head("last").weight, head.weight, atol=1e-3)
    recipes = []
    original = tuner.search.trainer.train
    monkeypatch.setattr(
        tuner.search.trainer,
        "train",
        lambda *a, recipe, **k: recipes.append(recipe) or original(*a, recipe=recipe, **k),
    )
    asked = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 4.0}
    for option in (None, "class_weights"):
        bench.run_trained(RunName(trial=len(recipes)), replace(candidate_at(2, 4), option=option), recipe=asked, seed=0)
    assert recipes[0].class_weights is None
    assert recipes[1].class_weights == pytest.approx(tuple(weights))


def test_a_layer_without_a_bias_takes_no_offsets_and_that_is_said(backbone, tmp_path):
    bench = open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="macro_f1", seed=0)
    trial = bench.run_head(RunName(trial=0), candidate_at(4, 4), seed=0)
    decision = decide(
        bench.validation_logits(trial),
        task=bench.rows.task,
        truth=bench.rows.truth,
        train_labels=DATA.train.labels,
        takes_offsets=False,
    )
    assert decision.added is None
    assert decision.option(trial.candidate) == (
        {
            "option": "decision_offsets",
            "difference": None,
            "why": "the architecture's own last layer has no bias to add them to",
        },
    )


@pytest.mark.parametrize("strategy", ["head_only", "feature_based", "train_all", "random_head"])
def test_limited_searches_too(backbone, tmp_path, strategy):
    space = replace(restrict(default_space(4), strategy=strategy, widths=[32] * 4), epochs=(1, 1))
    result = run(
        backbone, tmp_path, metric="macro_f1", first=(space.first or (candidate_at(0, 4),))[:1], space=space
    )  # fmt: skip
    tried = [found["option"] for found in result.options]
    # there is one slot for how blocks are trained, and it is taken
    assert tried == (["decision_offsets"] if strategy == "random_head" else ["class_weights", "decision_offsets"])
    assert (result.options[0]["difference"] is not None) or strategy == "random_head"


@pytest.mark.parametrize(
    ("candidate", "label"),
    [
        (replace(candidate_at(4, 4), option="class_weights"), "head only, class-weighted loss"),
        (replace(candidate_at(2, 4), option="class_weights"), "2 of 4 blocks frozen, class-weighted loss"),
        (
            Candidate(strategy="feature_based", frozen_blocks=None, features="block_1", option="class_weights"),
            "feature-based, block 1, class-weighted loss",
        ),
        (
            Candidate(strategy="train_all", start="scratch", frozen_blocks=0, option="class_weights"),
            "trained from scratch (control), class-weighted loss",
        ),
    ],
)
def test_weighted_candidates_are_told_from_plain_ones(candidate, label):
    assert candidate.label(4) == label
    assert candidate_words(candidate.to_json(), n_blocks=4).endswith(", class-weighted loss")
