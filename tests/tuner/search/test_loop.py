"""The loop of a search under a budget: speeds that change, runs that end sooner, plans that are said again."""

import dataclasses

import numpy as np
import pytest

from helpers import tiny
from helpers.searches import DATA, kept, named, trials_of
from tuner.model.assemble import load_backbone
from tuner.search.bench import open_bench
from tuner.search.choice import arm_of
from tuner.search.clock import SAVING_S, Deadline
from tuner.search.expectations import SCHEDULE_SHARE, Arm
from tuner.search.plan import Offer, Plan
from tuner.search.planning import FINAL_SHARE
from tuner.search.space import candidate_at, default_space


@pytest.fixture
def bench(tmp_path):
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    made = open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="accuracy", seed=0)
    made.pace.step_seconds = {0: 1.0, 1: 0.8, 3: 0.4}
    made.pace.rows_seen = round(16 * 20 / SCHEDULE_SHARE)
    return made


def test_the_schedule_is_that_of_the_evidence(bench):
    assert bench.pace.schedule == 20
    assert bench.pace.check_every == 5


def test_a_change_of_speed_by_a_third_changes_it_at_every_depth(bench):
    bench.pace.note(1, 0.9)  # an eighth slower: this depth alone
    assert bench.pace.step_seconds == {0: 1.0, 1: 0.9, 3: 0.4}
    bench.pace.note(1, 1.8)
    assert bench.pace.step_seconds == pytest.approx({0: 2.0, 1: 1.8, 3: 0.8})


def test_a_plan_is_said_again_where_the_speed_changed_by_a_third(bench, tmp_path):
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    trials.planner.plan()
    bench.pace.step_seconds = {depth: 1.2 * seconds for depth, seconds in bench.pace.step_seconds.items()}
    trials.planner.plan()
    assert len(trials.planner.plans) == 1
    bench.pace.step_seconds = {depth: 1.2 * seconds for depth, seconds in bench.pace.step_seconds.items()}
    trials.planner.plan()
    assert len(trials.planner.plans) == 2
    assert trials.planner.plans[1]["why"] == "a step takes 1.4 s of training everything, not 1 s"


def test_a_run_on_a_slower_machine_leaves_time_for_the_final_fit(bench, tmp_path, monkeypatch):
    """Ten of twenty steps took a second each; the final fit of 0.6 * 20 * 156 / 96 steps is to have its time."""
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    final_s = FINAL_SHARE * 156 / 96 * 20
    for left, steps in (
        (final_s + bench.pace.check_steps + 11, None),
        (final_s + bench.pace.check_steps + 5.5, 15),
        (0.0, 10),
    ):
        monkeypatch.setattr(trials.clock, "left", lambda left=left: left)
        assert trials.tries.sooner(10, 20, per_step=1.0) == steps
    trials.clock.by_time = False
    assert trials.tries.sooner(10, 20, per_step=1.0) is None


def test_where_no_run_is_worth_its_time_what_is_expected_to_score_most_is_fitted_at_once(bench, tmp_path, monkeypatch):
    """Another run would not tell whether it is better, and would take its place, since it is measured."""
    kept(bench, "0", 4, 30)
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    trials.queue = []
    arm = Arm(candidate=candidate_at(0, 4), learning_rate=1e-4)
    final = Offer(arm=arm, run_s=20.0, final_s=30.0)
    at_once = Plan(runs=(), final=final, share=1.0, seeds=1, seconds=30.0, expected=0.8)
    monkeypatch.setattr(trials.planner, "plan", lambda: at_once)
    monkeypatch.setattr(trials.tries, "one", lambda *_args, **_options: pytest.fail("tried"))
    assert trials._by_plan() == "budget"
    kept(bench, "1", 3, 30)  # something that trains blocks is measured: what is left may go to further runs
    monkeypatch.setattr(trials.tries, "one", lambda *_args, **_options: None)
    assert trials._by_plan() is None


def test_a_head_that_was_measured_is_offered_as_it_was_measured(bench, tmp_path):
    """Of a block that the evidence does not know, too: the plan believes its score, not what it was expected to be."""
    kept(bench, "0", 4, 30)
    block = dataclasses.replace(candidate_at(4, 4), strategy="feature_based", frozen_blocks=None, features="block_2")
    bench.runs[named("1")] = dataclasses.replace(bench.runs[named("0")], name=named("1"), candidate=block)
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    offers, _ = trials.planner.offers(1.0)
    heads = [offer.arm for offer in offers if not offer.arm.candidate.trains_blocks]
    assert heads == [arm_of(run) for run in bench.leaders()]


@pytest.mark.parametrize(("seconds", "runs"), [(1000.0, 1), (25.0, 0)])
def test_what_is_fitted_is_run_first_where_there_is_time_for_both(bench, tmp_path, monkeypatch, seconds, runs):
    """A run of three of four blocks frozen takes 10 s, its fit 13 s, and saving 5 s."""
    monkeypatch.setattr("tuner.search.plan.LEAST_WORTH", 1.0)
    bench = dataclasses.replace(bench, space=dataclasses.replace(bench.space, depths=(0, 0)))
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(seconds))
    assert len(trials.planner.plan().runs) == runs


def test_a_run_may_end_before_its_first_check(bench, tmp_path, monkeypatch):
    kept(bench, "0", 4, 30)
    bench.pace.rows_seen = round(16 * 60 / SCHEDULE_SHARE)
    assert bench.pace.check_every == 15
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    monkeypatch.setattr(trials.tries, "sooner", lambda done, steps, per_step: 10)
    trials.tries.one(candidate_at(3, 4))
    assert trials.counts() == {"complete": 2, "pruned": 0, "failed": 0}
    assert max(bench.runs.values(), key=lambda run: run.name.trial).recipe["steps"] == 10


def test_what_comes_after_training_has_its_time(bench, tmp_path):
    bench.pace.row_seconds = 0.1
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(100.0), test_rows=40)
    assert trials.clock.tail_s() == pytest.approx(SAVING_S + 0.1 * (40 + 60 + 96))


def test_before_any_run_a_few_steps_are_timed_where_that_is_cheap(bench, tmp_path, monkeypatch):
    """The shallowest that may be trained is timed; the others train fewer blocks."""
    bench.pace.step_seconds, bench.pace.row_seconds = {}, 0.01
    bench = dataclasses.replace(bench, space=dataclasses.replace(bench.space, depths=(1, 3)))
    timed = []
    monkeypatch.setattr(bench.trainer, "time_steps", lambda depth: timed.append(depth) or 0.6)
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0))
    assert [trials.clock.step_s(depth) for depth in range(4)] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert timed == [1]


def test_before_any_run_the_pass_over_the_frozen_blocks_says_what_a_step_takes(bench, tmp_path, monkeypatch):
    """Where timing takes more than a tenth of what is left: 16 rows take 3 passes, half of it where half is frozen."""
    bench.pace.step_seconds, bench.pace.row_seconds = {}, 0.1
    monkeypatch.setattr(bench.trainer, "time_steps", lambda depth: pytest.fail("timed"))
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(100.0))
    assert trials.clock.step_s(0) == pytest.approx(3 * 16 * 0.1)
    assert trials.clock.step_s(2) == pytest.approx(3 * 16 * 0.1 / 2)


def test_steps_that_are_timed_take_time(bench):
    bench.pace.step_seconds = {}
    before = {name: tensor.clone() for name, tensor in bench.backbone.model.state_dict().items()}
    assert 0 < bench.trainer.time_steps(1) < 10
    assert all(bool((before[name] == tensor).all()) for name, tensor in bench.backbone.model.state_dict().items())


def test_a_head_is_what_is_left_where_there_is_no_time(bench, tmp_path, monkeypatch):
    kept(bench, "0", 4, 30)
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0), recommended=candidate_at(0, 4))
    monkeypatch.setattr(trials.clock, "left", lambda: -3.0)
    assert trials.planner.plan().final.arm.candidate == candidate_at(4, 4)


def test_a_shorter_schedule_takes_a_higher_rate_up_to_the_highest_that_was_measured(bench, tmp_path):
    known = tuple(range(len(bench.expectations.rates)))
    expected = dataclasses.replace(bench.expectations, rates=tuple(1e-4 if k else 4e-4 for k in known))
    trials = trials_of(dataclasses.replace(bench, expectations=expected), tmp_path / "study")
    assert trials.planner.at_share(1e-4, 1.0) == pytest.approx(1e-4 / SCHEDULE_SHARE**0.5)
    assert trials.planner.at_share(1e-4, 0.25) == pytest.approx(2e-4 / SCHEDULE_SHARE**0.5)
    assert trials.planner.at_share(4e-4, 0.25) == 4e-4
    assert trials.planner.at_share(None, 0.5) is None


def test_the_leader_of_the_evidence_is_tried_at_its_own_rate(bench, tmp_path):
    expected = bench.expectations
    trained = [place for place, candidate in enumerate(expected.candidates) if candidate == candidate_at(0, 4)]
    expected = dataclasses.replace(
        expected,
        candidates=(*expected.candidates, candidate_at(0, 4)),
        rates=(*expected.rates, 3e-4),
        mean=(*expected.mean, 1.0),
        covariance=(*tuple((*row, 0.0) for row in expected.covariance), (*(0.0 for _ in expected.candidates), 1.0)),
    )
    assert len(trained) == 1
    trials = trials_of(dataclasses.replace(bench, expectations=expected), tmp_path / "study")
    assert trials.planner.usual(candidate_at(0, 4))["learning_rate"] == pytest.approx(3e-4)
    assert trials.planner.usual(candidate_at(0, 4))["steps"] == 20


def test_the_fastest_within_a_point_wins_where_speed_is_preferred(bench):
    from tuner.search.choice import choose_winner

    bench = dataclasses.replace(bench, refits=False)
    kept(bench, "0", 0, 55)
    kept(bench, "1", 3, 54, also=(58,))
    kept(bench, "2", 4, 20)
    for name, seconds in (("0", 9.0), ("1", 3.0), ("2", 0.1)):
        bench.runs[named(name)] = dataclasses.replace(bench.runs[named(name)], seconds=seconds)
    best = choose_winner(bench.scored)[0].candidate.frozen_blocks
    fast = dataclasses.replace(bench.scored, prefer="speed")
    assert choose_winner(fast)[0].candidate == candidate_at(3, 4)
    assert best in (0, 3)


@pytest.mark.parametrize(("of_weighted", "wins"), [(53, None), (56, "class_weights")])
def test_of_two_that_are_as_fast_the_better_one_wins_where_speed_is_preferred(bench, of_weighted, wins):
    from tuner.search.choice import choose_winner

    bench = dataclasses.replace(bench, refits=False, prefer="speed")
    kept(bench, "0", 3, 55)
    kept(bench, "0-class_weights", 3, of_weighted)
    weighted = dataclasses.replace(candidate_at(3, 4), option="class_weights")
    changed = named("0-class_weights")
    bench.runs[changed] = dataclasses.replace(bench.runs[changed], candidate=weighted)
    for name, seconds in (("0", 3.1), ("0-class_weights", 3.0)):
        bench.runs[named(name)] = dataclasses.replace(bench.runs[named(name)], seconds=seconds)
    assert choose_winner(bench.scored)[0].candidate.option == wins


def test_what_is_advised_may_be_planned_outside_the_sampled_range(bench, tmp_path):
    space = dataclasses.replace(bench.space, depths=(2, 3), first=(candidate_at(0, 4),), controls=())
    bench = dataclasses.replace(bench, space=space)
    trials = trials_of(bench, tmp_path / "study", deadline=Deadline(1000.0), recommended=candidate_at(0, 4))
    offered = {offer.arm.candidate.frozen_blocks for offer in trials.planner.offers(1.0)[0]}
    assert offered == {0, 2, 3}


def test_a_first_batch_that_is_slow_does_not_make_a_row_slow(bench, tmp_path, monkeypatch):
    """The first batch of a process builds what later ones use again: the slowest is not counted."""
    import tuner.training.prefix

    assert 0 < bench.pace.row_seconds < bench.prefixes.pass_seconds / 100
    clock = iter([0.0, 100.0, *(100.0 + 0.5 * batch for batch in range(1, 200))])
    monkeypatch.setattr(tuner.training.prefix.time, "perf_counter", lambda: next(clock))
    cache = tuner.training.prefix.PrefixCache(tmp_path / "again", backbone=bench.backbone, encoded=bench.rows.train)
    monkeypatch.setattr(type(bench.backbone), "batches", lambda _self, encoded: iter(np.split(np.arange(96), 12)))
    cache.compute([1])
    assert cache.row_seconds == pytest.approx(0.5 / 8)
