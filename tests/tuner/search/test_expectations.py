"""Expected scores before and after measuring: arms against entries, the noise of validation rows, and the update."""

import numpy as np
import pytest

from tuner.search.expectations import (
    DISTRUST,
    RECIPE_SD,
    UNKNOWN_SD,
    VARIANT_SD,
    Arm,
    Expectations,
    Measurement,
    cut_loss,
    noise_of,
    scores,
    unknown,
    update,
)
from tuner.search.space import Candidate, candidate_at, default_space

HEAD, ALL = candidate_at(4, 4), candidate_at(0, 4)
EXPECTED = Expectations(
    candidates=(HEAD, ALL, ALL),
    rates=(None, 1e-4, 1e-3),
    mean=(0.0, 1.0, 2.0),
    covariance=((1.0, 0.5, 0.5), (0.5, 1.0, 0.8), (0.5, 0.8, 1.0)),
    seeds=0.02,
    rows_seen=1000,
    why="a test",
)


def test_an_arm_at_an_entry_is_that_entry():
    mean, covariance = EXPECTED.of([Arm(candidate=HEAD), Arm(candidate=ALL, learning_rate=1e-3)])
    assert mean.tolist() == [0.0, 2.0]
    assert covariance.tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_an_arm_between_two_rates_lies_between_them_and_is_less_certain():
    mean, covariance = EXPECTED.of([Arm(candidate=ALL, learning_rate=10**-3.5)])
    assert mean == pytest.approx([1.5])
    assert covariance[0, 0] == pytest.approx((1 + 1 + 2 * 0.8) / 4 + RECIPE_SD**2)


def test_a_shorter_schedule_scores_less():
    (mean,), _ = EXPECTED.of([Arm(candidate=ALL, learning_rate=1e-3 / 0.5**0.5, share=0.5)])
    assert mean == pytest.approx(2.0 - cut_loss(0.5))


def test_a_rate_that_goes_as_far_in_fewer_steps_is_that_of_the_evidence():
    """Half of the evidence's schedule at the square root of two times its rate; a quarter at twice the rate."""
    arms = [
        Arm(candidate=ALL, learning_rate=1e-4),
        Arm(candidate=ALL, learning_rate=1e-4 * 2**0.5, schedule=0.5),
        Arm(candidate=ALL, learning_rate=2e-4, share=0.5, schedule=0.5),
    ]
    mean, covariance = EXPECTED.of(arms)
    assert mean == pytest.approx([1.0, 1.0, 1.0 - cut_loss(0.5)])
    assert covariance == pytest.approx(np.ones((3, 3)))


def test_variants_stand_beside_their_plain_candidate():
    native = Candidate(strategy="train_all", frozen_blocks=0, head="native")
    mean, covariance = EXPECTED.of([Arm(candidate=native, learning_rate=1e-3), Arm(candidate=ALL, learning_rate=1e-3)])
    assert mean.tolist() == [2.0, 2.0]
    assert covariance == pytest.approx(np.array([[1.0 + VARIANT_SD**2, 1.0], [1.0, 1.0]]))


def test_what_nothing_is_known_of_is_expected_to_be_as_its_like_are_on_average():
    block = Candidate(strategy="feature_based", frozen_blocks=None, features="block_2")
    scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
    mean, covariance = EXPECTED.of([Arm(candidate=block), Arm(candidate=scratch)])
    assert mean == pytest.approx([0.0, 1.5])  # a head as the head, what trains blocks as those at both rates
    assert np.diag(covariance) == pytest.approx([1.0 + UNKNOWN_SD**2, (1 + 1 + 2 * 0.8) / 4 + UNKNOWN_SD**2])


def test_a_measurement_moves_all_that_goes_with_it():
    """One of two values of variance 1 that correlate by a half is measured at 2, where 0 was expected, with noise of
    variance 1: half of that is believed, and half of it again of the other."""
    arms = [Arm(candidate=HEAD), Arm(candidate=ALL, learning_rate=1e-4)]
    measured = Measurement(values=np.array([2.0]), noise=np.array([[1.0]]))
    mean, covariance = update(EXPECTED, arms, measured=[0], measurement=measured)
    assert mean == pytest.approx([1.0, 1.5])
    assert covariance[1, 1] == pytest.approx(1 - 0.25 / 2)
    assert scores(np.array([0.0]), np.array([[0.0]])).tolist() == [0.5]


def test_rows_that_two_candidates_share_make_their_difference_more_certain():
    rng = np.random.default_rng(0)
    common = rng.normal(0.8, 0.03, 1000)
    draws = np.stack([common + rng.normal(0, 0.005, 1000), common + rng.normal(0, 0.005, 1000)])
    found = noise_of(draws, np.array([0.8, 0.8]), n=400, seeds=np.zeros(2))
    assert found.values == pytest.approx(np.log(4), abs=0.02)
    assert np.sqrt(found.noise[0, 0] / DISTRUST) == pytest.approx(0.03 / 0.16, rel=0.1)
    assert found.noise[0, 1] / found.noise[0, 0] == pytest.approx((400 * 0.973 + 60 * 0.6) / 460, abs=0.02)


def test_seeds_add_to_the_noise_of_those_that_have_them():
    draws = np.random.default_rng(0).normal(0.7, 0.05, (2, 500))
    plain, seeded = (noise_of(draws, np.array([0.7, 0.7]), n=80, seeds=np.array([0.0, s])) for s in (0.0, 0.04))
    assert np.diag(seeded.noise) - np.diag(plain.noise) == pytest.approx([0.0, DISTRUST * 0.04])


def test_rows_that_are_all_right_are_not_certain():
    found = noise_of(np.ones((2, 100)), np.ones(2), n=20, seeds=np.zeros(2))
    assert np.isfinite(found.values).all()
    assert found.values == pytest.approx([np.log(20.5 / 0.5)] * 2)
    assert (np.diag(found.noise) > 0.2).all()
    assert np.linalg.eigvalsh(found.noise).min() > 0


def test_without_evidence_all_are_expected_to_score_alike_and_neighbours_to_go_together():
    found = unknown(default_space(4), rows_seen=700)
    mean, covariance = found.of([Arm(candidate=candidate_at(d, 4), learning_rate=1e-4) for d in (0, 1, 3)])
    assert mean.tolist() == [0.0, 0.0, 0.0]
    assert covariance[0, 1] > covariance[0, 2]
    assert np.linalg.eigvalsh(np.array(found.covariance)).min() > 0
