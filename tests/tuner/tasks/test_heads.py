import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tuner.tasks.heads
from tuner.errors import OptionError
from tuner.tasks.heads import (
    Head,
    Standardised,
    cross_validate,
    feature_blocks,
    fit_head,
    is_weighted,
    select_features,
)


@pytest.fixture
def blobs():
    """(3 blocks, 300 rows, 8 features): block 1 tells the three classes apart best, block 0 is noise."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, size=300)
    centres = generator.normal(size=(3, 8))
    noise = generator.normal(size=(3, 300, 8))
    strength = np.array([0.0, 1.5, 0.5])
    features = noise + strength[:, None, None] * centres[labels]
    return (features * 5 + 2).astype(np.float32), labels


@pytest.fixture
def exact(monkeypatch):
    """Solve to the end: the shipped tolerance stops when predictions no longer change."""
    monkeypatch.setattr(tuner.tasks.heads, "MAX_ITERATIONS", 500)
    monkeypatch.setattr(tuner.tasks.heads, "TOLERANCE", 1e-10)


def test_fit_agrees_with_scikit_learn(blobs, exact):
    features, labels = blobs
    ours = fit_head(features[1:2], labels, n_classes=3, l2=2.0).logits(features[1:2])
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, tol=1e-8, max_iter=1000))
    theirs = reference.fit(features[1], labels).predict_proba(features[1])
    ours = np.exp(ours) / np.exp(ours).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_cross_validation_fits_each_fold_without_its_rows(blobs, exact):
    features, labels = blobs
    folds = np.arange(300) % 3
    together = cross_validate(features[1:2], labels, n_classes=3, folds=folds, l2=(30.0,))
    held_out = folds == 1
    mean, deviation = (
        features[1].mean(0),
        features[1].std(0),
    )  # all folds share one standardisation, which needs no labels
    x = (features[1] - mean) / deviation
    alone = LogisticRegression(C=1 / 30, tol=1e-8, max_iter=1000).fit(x[~held_out], labels[~held_out])
    np.testing.assert_allclose(together.probabilities[held_out], alone.predict_proba(x[held_out]), atol=2e-3)


def test_penalty_is_chosen_by_log_loss(blobs):
    features, labels = blobs
    fitted = cross_validate(features[1:2], labels, n_classes=3, folds=np.arange(300) % 5)
    assert fitted.l2 == min(fitted.log_loss_by_l2, key=lambda pair: pair[1])[0]
    assert (fitted.predictions == labels).mean() > 0.8


def test_a_random_label_scores_at_chance(blobs):
    features, _ = blobs
    labels = np.random.default_rng(9).integers(0, 3, size=300)
    fitted = cross_validate(features[1:2], labels, n_classes=3, folds=np.arange(300) % 5)
    assert (fitted.predictions == labels).mean() < 0.45


def test_a_learned_mix_leans_on_the_telling_block(blobs):
    features, labels = blobs
    head = fit_head(features, labels, n_classes=3, l2=3.0, weighted=True)
    assert head.mix.argmax() == 1
    assert head.mix.sum() == pytest.approx(1.0, abs=1e-5)
    assert (head.logits(features).argmax(1) == labels).mean() > 0.8


def test_constant_features_do_no_harm():
    features = np.zeros((1, 20, 2), dtype=np.float32)
    features[0, 10:, 0] = 1.0
    labels = np.arange(20) // 10
    head = fit_head(features, labels, n_classes=2, l2=0.1)
    assert np.isfinite(head.weight).all()
    assert (head.logits(features).argmax(1) == labels).all()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("embeddings", (0,)),
        ("second_to_last", (5,)),
        ("last", (6,)),
        ("weighted_last_four", (3, 4, 5, 6)),
        ("concat_last_four", (3, 4, 5, 6)),
        ("weighted_all", (0, 1, 2, 3, 4, 5, 6)),
        ("block_2", (2,)),
    ],
)
def test_variants_read_their_blocks(name, blocks):
    assert feature_blocks(name, n_blocks=7) == blocks
    features = np.arange(7)[:, None, None] * np.ones((7, 2, 3))
    assert select_features(features, name=name)[:, 0, 0].tolist() == list(blocks)


@pytest.mark.parametrize("name", ["lst", "block_7", "block_x"])
def test_unknown_features_are_said(name):
    with pytest.raises(OptionError, match="unknown features"):
        feature_blocks(name, n_blocks=7)


def test_the_torch_head_starts_from_the_probe(blobs):
    features, labels = blobs
    linear = fit_head(features[1:], labels, n_classes=3)
    head = Head(width=16, n_classes=3).eval()
    head.load_linear(linear)
    logits = head([torch.from_numpy(features[1]), torch.from_numpy(features[2])]).detach().numpy()
    np.testing.assert_allclose(logits, linear.logits(features[1:]), atol=1e-4)


def test_heads_are_fitted_on_one_thread_and_the_others_come_back(monkeypatch):
    seen, before = [], torch.get_num_threads()
    original = tuner.tasks.heads._Problem._logits

    def watched(self, *args):
        seen.append(torch.get_num_threads())
        return original(self, *args)

    monkeypatch.setattr(tuner.tasks.heads._Problem, "_logits", watched)
    torch.set_num_threads(2)
    try:
        fit_head((np.random.default_rng(0).normal(size=(20, 3)),), np.arange(20) % 2, n_classes=2)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_all_heads_on_some_features_share_what_is_standardised():
    generator = np.random.default_rng(0)
    blocks = [generator.normal(2, 3, size=(40, 5)).astype(np.float32) for _ in range(4)]
    labels, folds = np.arange(40) % 2, np.arange(40) % 5
    shared = Standardised(blocks)
    for name in ("block_0", "last", "weighted_all", "concat_last_four", "weighted_last_four"):
        options = {"n_classes": 2, "weighted": is_weighted(name)}
        found = cross_validate(select_features(shared, name=name), labels, folds=folds, **options)
        alone = cross_validate(select_features(blocks, name=name), labels, folds=folds, **options)
        np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-5)
        assert found.l2 == alone.l2
    made = [shared.of(block)[2] for block in range(4)]
    assert all(again.of(0)[2] is made[2] for again in (shared[2:3], shared[1:][1:]))
    np.testing.assert_allclose(made[1].numpy(), (blocks[1] - blocks[1].mean(0)) / blocks[1].std(0), atol=1e-5)


def test_only_neighbouring_blocks_are_taken_together():
    with pytest.raises(IndexError, match="neighbouring"):
        Standardised([np.zeros((2, 1))] * 3)[::2]
