import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from tuner.errors import OptionError
from tuner.tasks.metrics import bootstrap_scores, effective_rows, interval, score, wilson


@pytest.fixture
def predictions():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, size=200)
    return labels, np.where(generator.random(200) < 0.7, labels, generator.integers(0, 4, size=200))


def test_scores_agree_with_scikit_learn(predictions):
    labels, predicted = predictions
    assert score(labels, predicted, metric="macro_f1") == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert score(labels, predicted, metric="balanced_accuracy") == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )


def test_wilson_interval_of_eight_in_ten():
    # Wilson 1927; statsmodels.proportion_confint(8, 10, method="wilson") gives the same.
    assert wilson(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_wilson_interval_of_none_and_of_all_ends_exactly_there():
    for n in range(1, 200):
        assert (wilson(0.0, n)[0], wilson(1.0, n)[1]) == (0.0, 1.0)


def test_a_perfect_score_keeps_its_doubt():
    low, high = interval(np.zeros(20, int), np.zeros(20, int))
    assert low == pytest.approx(0.8389, abs=1e-4)
    assert high == 1.0


def test_bootstrap_spread_is_the_binomial_one(predictions):
    labels, predicted = predictions
    p = np.mean(labels == predicted)
    expected = np.sqrt(p * (1 - p) / len(labels))
    assert bootstrap_scores(labels, predicted, resamples=4000).std() == pytest.approx(expected, rel=0.1)


def test_equal_seeds_draw_equal_rows(predictions):
    labels, predicted = predictions
    difference = bootstrap_scores(labels, predicted, seed=5) - bootstrap_scores(labels, labels, seed=5)
    assert np.all(difference <= 0)


def test_groups_that_are_right_or_wrong_together_count_as_one_row():
    labels, groups = np.zeros(200, int), np.repeat(np.arange(20), 10)
    predicted = np.repeat(np.arange(20) % 2, 10)
    assert effective_rows(labels == predicted, groups=groups) == pytest.approx(20)
    assert interval(labels, predicted, groups=groups) == pytest.approx(wilson(0.5, 20))
    spread = bootstrap_scores(labels, predicted, groups=groups, resamples=4000).std()
    assert spread == pytest.approx(np.sqrt(0.25 / 20), rel=0.1)


def test_groups_of_independent_rows_cost_nothing(predictions):
    labels, predicted = predictions
    groups = np.random.default_rng(0).permutation(np.arange(200) // 2)
    assert effective_rows(labels == predicted, groups=groups) == pytest.approx(200, rel=0.15)
    assert effective_rows(labels == predicted, groups=np.arange(200)) == 200


def test_a_perfect_score_of_five_groups_keeps_the_doubt_of_five():
    groups = np.repeat(np.arange(5), 40)
    assert interval(np.zeros(200), np.zeros(200), groups=groups) == pytest.approx(wilson(1.0, 5))


def test_unknown_metric_is_said():
    with pytest.raises(OptionError, match="Did you mean 'accuracy'"):
        score(np.zeros(2), np.zeros(2), metric="acuracy")


def test_a_perfect_mean_over_classes_keeps_its_doubt():
    labels = np.repeat([0, 1], 20)
    expected = 1 - np.sqrt(2) * (1 - wilson(1.0, 20)[0]) / 2
    for metric in ("macro_f1", "balanced_accuracy"):
        assert interval(labels, labels, metric=metric) == (pytest.approx(expected), 1.0)
    few = interval(np.repeat([0, 1], [38, 2]), np.repeat([0, 1], [38, 2]), metric="balanced_accuracy")
    assert few[0] < 0.7
    groups = np.repeat(np.arange(8), 5)
    assert interval(labels, labels, metric="macro_f1", groups=groups)[0] == pytest.approx(
        1 - np.sqrt(2) * (1 - wilson(1.0, 4)[0]) / 2
    )
