"""The choice of a winner from arrays: no model, no search."""

import numpy as np
import pytest

from tuner.search.choice import Scored, choose_winner, difference
from tuner.search.expectations import unknown
from tuner.search.run_name import RunName
from tuner.search.space import candidate_at, default_space
from tuner.search.store import Run
from tuner.tasks.classes import ClassTruth

TRUTH = ClassTruth(labels=np.arange(60) % 2, metric="accuracy", names=("a", "b"))


def run(name, depth, right):
    """A run whose first `right` of 60 predictions are right."""
    predictions = np.where(np.arange(60) < right, TRUTH.labels, 1 - TRUTH.labels)
    parsed = RunName.parse(name)
    return Run(
        name=parsed, candidate=candidate_at(depth, 4), recipe={}, seed=parsed.repeat or 0, score=right / 60,
        seconds=1.0, predictions=predictions,
    )  # fmt: skip


def scored(*runs):
    return Scored(runs=runs, truth=TRUTH, expectations=unknown(default_space(4), rows_seen=1_000), n_blocks=4)


def test_the_highest_score_wins():
    assert choose_winner(scored(run("0000", 2, 40), run("0001", 0, 55)))[0].name == RunName(trial=1)


def test_repetitions_belong_to_the_run_whose_name_they_bear():
    runs = scored(run("0000", 2, 50), run("0000@1", 2, 40), run("0000-native@1", 2, 1), run("0001", 0, 30))
    first = runs.leaders()[0]
    assert [str(repeat.name) for repeat in runs.repeats(first)] == ["0000", "0000@1"]


def test_a_difference_is_taken_on_the_seeds_that_both_were_repeated_with():
    runs = scored(
        run("0000", 2, 50), run("0000@1", 2, 40), run("0000@2", 2, 42), run("0001", 3, 58), run("0001@2", 3, 36)
    )
    best = {leader.candidate.frozen_blocks: leader for leader in runs.leaders()}
    mean, _, n, over_seeds = difference(runs, best[2], best[3])
    assert mean == pytest.approx((42 - 36) / 60)
    assert (n, over_seeds) == (1, True)
