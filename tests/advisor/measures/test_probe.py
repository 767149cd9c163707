import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline

from advisor.measures.baselines import majority_baseline, tfidf_baseline
from advisor.measures.features import BlockFeatures, sample_rows
from advisor.measures.folds import assign_folds
from advisor.measures.probe import probe_blocks
from helpers.loading import load_target
from tuner.errors import DataError
from tuner.tasks.classes import Classes

CLASSES = Classes(names=("a", "b"))


def block_features(features, labels):
    n = len(labels)
    return BlockFeatures(
        rows=np.arange(n),
        texts=tuple("x" for _ in range(n)),
        features=features,
        labels=labels,
        groups=None,
        lengths=np.full(n, 10),
        truncated=0.0,
    )


@pytest.fixture
def telling_block_two():
    """Five blocks, of which block 2 alone separates two classes."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, size=200)
    features = generator.normal(size=(5, 200, 6)).astype(np.float32)
    features[2, :, 0] += 6 * labels
    return block_features(features, labels)


def test_the_telling_block_has_the_best_probe(telling_block_two):
    profile = probe_blocks(telling_block_two, task=CLASSES)
    blocks = {probe.block: probe.score for probe in profile.probes if probe.block is not None}
    assert sorted(blocks) == [0, 1, 2, 3, 4]
    assert max(blocks, key=blocks.get) == 2
    assert blocks[2] > 0.97
    assert blocks[0] < 0.65
    assert profile.head_only.block == 4
    assert profile.head_only.features == "last"
    assert {p.features for p in profile.probes if p.block is None} == {
        "weighted_last_four",
        "concat_last_four",
        "weighted_all",
    }
    assert all(p.interval[0] <= p.score <= p.interval[1] for p in profile.probes)


def test_the_learning_curve_rises_and_uses_nested_rows(telling_block_two):
    curve = probe_blocks(telling_block_two, task=CLASSES).learning_curve
    assert [point.n for point in curve] == [20, 40, 80, 160]
    assert curve[-1].score >= curve[0].score
    assert curve[0].gain is None
    for before, after in itertools.pairwise(curve):
        assert after.gain == pytest.approx(after.score - before.score)
        assert after.gain_interval[0] <= after.gain <= after.gain_interval[1]
        # Paired by rows: narrower than two independent intervals would make it.
        apart = np.hypot(*(point.interval[1] - point.interval[0] for point in (before, after)))
        assert after.gain_interval[1] - after.gain_interval[0] < apart


def test_folds_are_stratified_and_equal():
    labels = np.array([0] * 50 + [1] * 7)
    folds = assign_folds(labels, seed=1)
    assert np.bincount(folds).tolist() in ([12, 12, 11, 11, 11], [11, 12, 12, 11, 11], [11, 11, 11, 12, 12])
    assert {np.sum(folds[labels == 1] == fold) for fold in range(5)} <= {1, 2}


def test_a_group_stays_in_one_fold():
    groups = np.arange(60) // 3
    folds = assign_folds(np.arange(60) % 2, groups=groups, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(20))
    assert len(set(folds)) == 5


def test_equal_seeds_give_equal_folds():
    labels = np.arange(100) % 4
    assert (assign_folds(labels, seed=3) == assign_folds(labels, seed=3)).all()
    assert (assign_folds(labels, seed=3) != assign_folds(labels, seed=4)).any()


def test_samples_are_stratified_and_keep_rare_classes():
    labels = np.array([0] * 900 + [1] * 98 + [2] * 2)
    rows = sample_rows(labels, size=100, seed=0)
    assert len(rows) == len(set(rows)) == 100
    assert np.bincount(labels[rows]).tolist() in ([89, 9, 2], [88, 10, 2], [90, 8, 2])


def test_a_sample_larger_than_the_data_is_the_data():
    assert sorted(sample_rows(np.zeros(5, int), size=10, seed=0)) == [0, 1, 2, 3, 4]


def test_more_classes_than_rows_keeps_two_of_each():
    labels = np.repeat(np.arange(30), 10)
    assert np.bincount(labels[sample_rows(labels, size=20, seed=0)]).tolist() == [2] * 30


def test_majority_is_the_commonest_class():
    assert majority_baseline(np.array([1, 1, 1, 0])).score == 0.75


def test_words_that_tell_the_class_are_found():
    texts = ["good fine film", "bad dull film"] * 30
    labels = np.arange(60) % 2
    baseline = tfidf_baseline(texts, labels, folds=np.arange(60) // 2 % 5)
    assert baseline.score == 1.0


def test_the_bag_of_words_is_fitted_to_the_end():
    """Weak evidence spread over many words: stopping early would fall back on the commonest class."""
    generator = np.random.default_rng(0)
    labels = (generator.random(400) < 0.35).astype(int)
    words = [[f"w{generator.integers(0, 40) + 20 * label}" for _ in range(6)] for label in labels]
    texts = [" ".join(row) for row in words]
    folds = np.arange(400) % 5
    ours = tfidf_baseline(texts, labels, folds=folds).score
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=10.0, tol=1e-6, max_iter=1000))
    theirs = cross_val_predict(pipeline, texts, labels, cv=PredefinedSplit(folds))
    assert ours == pytest.approx((theirs == labels).mean(), abs=0.005)
    assert ours > majority_baseline(labels).score + 0.1


def test_strings_without_words_have_no_bag_of_words():
    assert tfidf_baseline(["?", "!"] * 10, np.arange(20) % 2, folds=np.arange(20) // 2 % 5) is None


def test_copies_of_a_text_share_a_fold(tmp_path):
    """Six copies each of texts with random labels: nothing can be learned, and no baseline may seem to."""
    generator = np.random.default_rng(0)
    lines = [f"{w} number{i},{'ab'[generator.integers(2)]}" for i, w in enumerate(["word"] * 120)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(lines * 6) + "\n")
    target = load_target(tmp_path / "a.csv")
    together = target.kept_together(target.train)
    folds = assign_folds(target.labels[target.train], groups=together, seed=0)
    texts = target.texts_at(target.train)
    assert all(len({f for f, t in zip(folds, texts, strict=True) if t == text}) == 1 for text in set(texts))
    baseline = tfidf_baseline(texts, target.labels[target.train], folds=folds)
    assert baseline.score < 0.7


def test_groups_that_leave_one_class_are_said():
    labels = np.array([0] * 10 + [1] * 10)
    with pytest.raises(DataError, match=r"form 2 groups .* too few to be cross-validated"):
        assign_folds(labels, groups=labels, seed=0)
    with pytest.raises(DataError, match="form 1 groups"):
        assign_folds(labels, groups=np.zeros(20, dtype=int), seed=0)


def test_small_classes_in_groups_get_fewer_folds():
    labels = np.repeat(np.arange(8), 3)
    folds = assign_folds(labels, groups=np.arange(24) // 2, seed=0)
    assert folds.max() == 2
