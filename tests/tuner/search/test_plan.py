"""The budget as a plan: synthetic step times and gains against plans computed by hand."""

import math

import numpy as np
import pytest

from tuner.search.expectations import CUT_LOSS, Arm, cut_loss
from tuner.search.plan import (
    AVERAGE_GAIN,
    LEAST_SHARE,
    LEAST_WORTH,
    LONGEST,
    Offer,
    in_words,
    make_plan,
    share_of,
    speeds,
    validated,
)
from tuner.search.space import candidate_at


def offer(depth, run_s, final_s, *, rate=1e-4, n_blocks=4):
    trains = depth < n_blocks
    arm = Arm(candidate=candidate_at(depth, n_blocks), learning_rate=rate if trains else None)
    return Offer(arm=arm, run_s=run_s, final_s=final_s)


def plan(offers, means, sds, *, left, noise=0.01, **options):
    k = len(offers)
    covariance = np.diag(np.square(sds)).astype(float)
    return make_plan(
        offers, mean=np.array(means, float), covariance=covariance, noise=np.full(k, noise), left_s=left, **options
    )


def test_with_time_for_a_single_fit_the_highest_expectation_gets_it():
    offers = [offer(0, 100.0, 120.0), offer(2, 60.0, 75.0), offer(4, None, 0.0)]
    found = plan(offers, [1.0, 0.8, 0.5], [0.3, 0.3, 0.1], left=125.0, averages=False)
    assert (found.runs, found.final, found.share) == ((), offers[0], 1.0)
    assert found.seconds == pytest.approx(120.0)


@pytest.mark.parametrize(("left", "times"), [(125.0, 1.0), (189.0, 0.95 * 189 / 120), (1000.0, LONGEST)])
def test_time_that_is_left_prolongs_a_fit_that_nothing_was_measured_for(left, times):
    offers = [offer(0, math.inf, 120.0), offer(4, None, 0.0)]
    found = plan(offers, [1.0, 0.5], [0.3, 0.1], left=left, averages=False)
    assert (found.runs, found.final) == ((), offers[0])
    assert found.share == pytest.approx(times)
    assert found.seconds == pytest.approx(120.0 * times)
    text = in_words(found, n_blocks=4, rows=300, tail_s=8.0)
    assert ("times the schedule of a run" in text) == (times > 1)


def test_a_shorter_schedule_is_weighed_against_a_cheaper_candidate():
    """Half a schedule loses CUT_LOSS * ln 2 log odds: less than the cheaper candidate lacks, or more."""
    offers = [offer(0, 100.0, 120.0), offer(2, 50.0, 60.0)]
    lost = CUT_LOSS * math.log(2)
    much, little = ([1.0, 1.0 - lost - edge] for edge in (0.01, -0.01))
    assert plan(offers, much, [0.1, 0.1], left=60.0).final == offers[0]
    assert plan(offers, much, [0.1, 0.1], left=60.0).share == pytest.approx(0.5)
    assert plan(offers, little, [0.1, 0.1], left=60.0).final == offers[1]


def test_what_would_be_under_trained_is_fitted_only_where_nothing_else_is_there():
    deep, shallow = offer(3, 20.0, 30.0), offer(0, 900.0, 1000.0)
    left = 0.9 * LEAST_SHARE * 1000.0
    assert plan([shallow, deep], [2.0, 0.0], [0.1, 0.1], left=left).final == deep
    alone = plan([shallow], [2.0], [0.1], left=left)
    assert alone.final == shallow
    assert alone.under_trained
    assert alone.share == pytest.approx(0.9 * LEAST_SHARE)


def test_of_two_runs_that_tell_as_much_the_cheaper_is_bought_first():
    offers = [offer(0, 40.0, 50.0), offer(2, 20.0, 25.0), offer(4, None, 0.0)]
    found = plan(offers, [1.0, 1.0, 1.0], [0.5, 0.5, 0.01], left=500.0, averages=False)
    assert [run.arm.candidate.frozen_blocks for run in found.runs] == [2, 0]
    assert found.seconds == pytest.approx(40.0 + 20.0 + 50.0)  # the slower one may win


def test_what_is_known_well_is_not_measured():
    offers = [offer(0, 40.0, 50.0), offer(4, None, 0.0)]
    found = plan(offers, [1.5, 0.5], [0.01, 0.01], left=500.0, averages=False)
    assert found.runs == ()
    assert found.final == offers[0]


@pytest.mark.parametrize(("sd", "bought"), [(0.2, True), (0.02, False)])
def test_runs_that_gain_little_altogether_are_not_bought(sd, bought):
    """Of two that are expected to score alike, one is measured: the better of both is worth 0.4 standard deviations of
    it, a quarter of which is score at 0.5: two points, or a fifth of one."""
    offers = [offer(0, 10.0, 12.0), offer(4, None, 0.0)]
    found = plan(offers, [0.01, 0.0], [sd, 0.0], left=20.0, averages=False, noise=1e-6)
    assert bool(found.runs) == bought == (0.4 * sd / 4 > LEAST_WORTH)
    assert found.share == pytest.approx(10.0 / 12.0 if bought else 0.95 * 20 / 12)


@pytest.mark.parametrize(("left", "runs", "seeds"), [(21.0, 0, 1), (23.0, 1, 1), (65.0, 1, 1), (67.0, 1, 3)])
def test_what_is_fitted_is_validated_first_where_there_is_time_for_both(left, runs, seeds):
    """A run of 10 s and a fit of 12 s; three of each where seeds are averaged."""
    offers = [offer(0, 10.0, 12.0), offer(4, None, 0.0)]
    at_once = plan(offers, [1.0, 0.5], [0.02, 0.0], left=left, averages=False)
    assert at_once.runs == ()
    found = validated(at_once, offers, left_s=left)
    assert found.final.arm == offers[0].arm
    assert (len(found.runs), found.seeds) == (runs, seeds)
    if runs:
        assert (found.share, found.seconds) == (1.0, 22.0 * seeds)


def test_the_gain_of_a_run_is_that_of_the_better_of_two():
    """One candidate of known score, one that lies a standard deviation of 1 around it: measuring it exactly and taking
    the better of both gains the mean of the positive part of a normal variable, 0.399, in log odds; near one half a
    point of score is four hundredths of them."""
    offers = [offer(2, 10.0, 0.001), offer(4, None, 0.0)]
    found = plan(offers, [0.0, 0.0], [0.1, 1e-6], left=100.0, noise=1e-9, averages=False)
    assert found.expected == pytest.approx(0.5 + 0.1 * 0.3989 / 4, abs=3e-4)


def test_seeds_are_averaged_where_there_is_time_to_confirm_and_fit_them():
    """Three seeds take two confirmations and two more fits: 2 (40 + 50) s beside a run of 40 s and a fit of 50 s."""
    offers = [offer(2, 40.0, 50.0), offer(4, None, 0.0)]
    for left, seeds in ((40 + 50 + 180 + 1, 3), (40 + 50 + 180 - 1, 1)):
        found = plan(offers, [0.6, 0.5], [0.5, 0.01], left=left)
        assert len(found.runs) == 1
        assert found.seeds == seeds
    assert plan(offers, [0.6, 0.5], [0.5, 0.01], left=271.0).expected == pytest.approx(
        plan(offers, [0.6, 0.5], [0.5, 0.01], left=269.0).expected + AVERAGE_GAIN
    )


def test_a_linear_winner_is_not_averaged():
    offers = [offer(4, None, 0.5)]
    assert plan(offers, [0.6], [0.1], left=500.0).seeds == 1


def test_without_a_final_fit_only_what_was_measured_can_win():
    offers = [offer(0, 100.0, 0.0), offer(4, None, 0.0)]
    found = plan(offers, [2.0, 0.5], [0.1, 0.1], left=50.0, averages=False, only_measured=True)
    assert found.final == offers[1]
    found = plan(offers, [2.0, 0.5], [0.1, 0.1], left=150.0, averages=False, only_measured=True)
    assert [run.arm.candidate.frozen_blocks for run in found.runs] == [0]


def test_the_same_question_has_the_same_answer():
    offers = [offer(d, 10.0 * (4 - d), 12.0 * (4 - d)) for d in range(4)]
    found = [plan(offers, [1.0, 1.1, 0.9, 0.7], [0.3] * 4, left=200.0) for _ in range(2)]
    assert found[0] == found[1]


def test_plans_are_said_in_a_sentence():
    found = plan([offer(0, 100.0, 120.0)], [1.0], [0.1], left=12.0)
    text = in_words(found, n_blocks=4, rows=250, tail_s=8.0)
    assert text.startswith("no run on validation rows is worth its time: the final fit of ")
    assert text.endswith("everything trained on all 250 labelled rows, 10 % of its schedule; about 20 s")


def test_shares_losses_and_speeds():
    assert share_of(10.0, left=2.5) == 0.25
    assert share_of(10.0, left=-1.0) == 0.0
    assert cut_loss(0.5) == pytest.approx(CUT_LOSS * math.log(2))
    assert speeds({0: 3.0, 3: 1.0}, 4) == pytest.approx([3.0, 7 / 3, 5 / 3, 1.0])
