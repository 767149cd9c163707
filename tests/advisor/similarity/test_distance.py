import math

import numpy as np
import pytest

from advisor.similarity.distance import (
    excess_knn_surprisal,
    frechet_distance,
    frechet_infinity,
    inside_support,
    knn_distances,
    surprisal,
    trigram_counts,
    trigram_distance,
    unit_rows,
)

SOURCE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    ("row", "k", "expected"),
    [
        ([2.0, 0.0], 1, 0.0),  # the length of a row does not count
        ([2.0, 0.0], 2, 1.0),
        ([2.0, 0.0], 3, 2.0),
        ([1.0, 1.0], 1, 1 - math.sqrt(0.5)),
    ],
)
def test_knn_distance_is_the_cosine_distance_to_the_kth_nearest(row, k, expected):
    assert knn_distances(np.array([row]), SOURCE, k=k)[0] == pytest.approx(expected, abs=1e-6)


def test_unit_rows_are_not_scaled_again():
    # a projected row of length 0.5: its cosine in the full space is 0.5, not 1
    assert knn_distances(np.array([[0.5, 0.0]]), SOURCE, k=1, unit=True)[0] == pytest.approx(0.5)


def test_many_rows_agree_with_one_at_a_time():
    rng = np.random.default_rng(0)
    target, source = rng.normal(size=(4100, 3)), rng.normal(size=(20, 3))
    together = knn_distances(target, source, k=4)
    direct = np.sort(1 - unit_rows(target) @ unit_rows(source).T, axis=1)[:, 3]
    np.testing.assert_allclose(together, direct, atol=1e-6)


def test_too_few_source_rows_and_other_widths_are_refused():
    with pytest.raises(ValueError, match="3 source rows have no neighbour number 4"):
        knn_distances(SOURCE, SOURCE, k=4)
    with pytest.raises(ValueError, match="target rows have 1 values, source rows 2"):
        knn_distances(np.ones((1, 1)), SOURCE, k=1)


def test_excess_surprisal_of_twice_the_distance_is_log_two():
    assert excess_knn_surprisal(np.array([0.2, 0.4, 0.8]), np.array([0.1, 0.2, 0.4])) == pytest.approx(math.log(2))


def test_a_copy_of_a_source_row_has_a_finite_surprisal():
    assert surprisal(np.array([0.0]))[0] == pytest.approx(math.log(1e-3))


def test_inside_support_counts_rows_within_the_held_out_radius():
    held_out = np.linspace(0.0, 1.0, 101)
    assert inside_support(np.array([0.94, 0.96, 2.0, 0.1]), held_out, coverage=0.95).mean() == 0.5


def test_no_rows_are_refused():
    for measure in (excess_knn_surprisal, inside_support):
        with pytest.raises(ValueError, match="no rows"):
            measure(np.zeros(0), np.ones(3))


def test_frechet_distance_of_known_gaussians():
    rows = np.array([[-1.0, -2.0], [1.0, 2.0], [-1.0, 2.0], [1.0, -2.0]])
    shift = np.array([3.0, 4.0])
    assert frechet_distance(rows + shift, rows) == pytest.approx(25.0)
    # standard deviations s and 3 s in both directions: (3 - 1)^2 * (4 / 3 + 16 / 3)
    assert frechet_distance(3 * rows, rows) == pytest.approx(4 * (4 / 3 + 16 / 3))


def test_frechet_distance_agrees_with_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(60, 4)) + 1
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(first @ second))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_extrapolation_removes_the_bias_of_small_samples():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 16)), rng.normal(size=(300, 16)) + 0.5  # truly 16 * 0.25 = 4 apart
    assert abs(frechet_infinity(a, b) - 4.0) < 0.35
    assert frechet_distance(a[:40], b[:40]) > 5.0


def test_extrapolation_needs_more_rows_than_dimensions():
    with pytest.raises(ValueError, match="31 rows are fewer than the 32 that 16 dimensions need"):
        frechet_infinity(np.ones((31, 16)), np.ones((100, 16)))


def test_trigrams_of_a_word():
    assert trigram_counts(["ab\n ab"]) == {" ab": 2, "ab ": 1 + 1, "b a": 1}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"abc": 2, "bcd": 2}, {"abc": 7, "bcd": 7}, 0.0),
        ({"abc": 2}, {"xyz": 1}, 1.0),
        ({"abc": 1}, {"abc": 1, "xyz": 1}, 0.31127812),
    ],
)
def test_jensen_shannon_distance_in_bits(first, second, expected):
    assert trigram_distance(first, second) == pytest.approx(expected)
    assert trigram_distance(second, first) == pytest.approx(expected)


def test_no_trigrams_are_refused():
    with pytest.raises(ValueError, match="no trigrams"):
        trigram_distance({}, {"abc": 1})
