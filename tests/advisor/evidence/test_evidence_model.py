"""Evidence: the algebra against calculations by hand, a world whose means are known, and what advice makes of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from advisor.evidence.decision import check_preference, counterfactuals, decide, reasons
from advisor.evidence.predictions import STRANGER, cheapest_within, expect, predict_scores, rows_seen
from advisor.evidence.table import (
    FOLDER,
    LINEAR,
    Evidence,
    load_evidence,
    load_rule,
    read_evidence,
    trained,
)
from helpers import reading
from helpers.evidence_world import KNOTS, MINILM, PROBES, TRUE_GAINS, fitted, world
from tuner.errors import DataError, OptionError
from tuner.search.gaussian import condition, expected_score, logit, score_at
from tuner.search.space import candidate_at


def predicted(kind="text", *, probes=PROBES, n=300, n_blocks=7, model=MINILM, unlike=None, seconds=None):
    expectations = expect(load_evidence(kind), probes, n=n, n_blocks=n_blocks, model=model, unlike=unlike)
    found = predict_scores(expectations, n_blocks=n_blocks, seconds=seconds)
    return {p.candidate.label(n_blocks): p for p in found}


# -- the algebra -----------------------------------------------------------------------------------------------------


def test_a_measurement_moves_what_goes_with_it():
    """Two values of variance 4 that correlate by a half; the first is measured at 3 with noise of variance 4."""
    mean, covariance = condition(
        np.array([1.0, 1.0]), np.array([[4.0, 2.0], [2.0, 4.0]]), observed=np.array([3.0]), of=np.array([[1.0, 0.0]]),
        noise=np.array([[4.0]]),
    )  # fmt: skip
    assert mean == pytest.approx([2.0, 1.5])
    assert covariance == pytest.approx(np.array([[2.0, 1.0], [1.0, 3.5]]))


def test_a_difference_that_is_measured_leaves_the_sum_alone():
    mean, covariance = condition(
        np.zeros(2), np.eye(2), observed=np.array([2.0]), of=np.array([[1.0, -1.0]]), noise=np.array([[0.0]])
    )
    assert mean == pytest.approx([1.0, -1.0])
    assert covariance == pytest.approx(np.full((2, 2), 0.5))


def test_scores_and_log_odds():
    assert logit(0.75, n=1000) == pytest.approx(np.log(3))
    assert logit(1.0, n=10) == pytest.approx(np.log(19))
    assert score_at(np.array([np.log(3)])) == pytest.approx([0.75])
    draws = 1 / (1 + np.exp(-np.random.default_rng(0).normal(1.0, 0.7, 1_000_000)))
    assert expected_score(np.array([1.0]), np.array([0.7])) == pytest.approx([draws.mean()], abs=1e-3)


# -- a world whose means are known -----------------------------------------------------------------------------------


def test_the_means_of_a_known_world_are_found():
    evidence = fitted(world(400))
    assert evidence.mean == pytest.approx([*TRUE_GAINS.values()], abs=0.04)
    assert evidence.slope == pytest.approx([0.0] * 4, abs=0.04)
    assert fitted(world(400, slope=0.5)).slope == pytest.approx([0.5] * 4, abs=0.05)


def test_the_spread_between_datasets_is_told_from_that_within():
    evidence = fitted(world(400, spread=0.3, noise=0.1))
    centring = np.eye(4) - 0.25
    assert np.array(evidence.between) == pytest.approx(centring * (0.3**2 + 0.1**2 / 3), abs=0.012)
    assert np.array(evidence.within) == pytest.approx(centring * 0.1**2, abs=0.003)


def test_seeds_are_as_noisy_as_measured_between_the_numbers_of_rows_that_were():
    evidence = fitted(world(3))
    assert [evidence.seeds_at(n) for n in (100, 1000)] == pytest.approx([0.04, 0.01])
    assert 0.01 < evidence.seeds_at(300) < 0.04


def test_every_dataset_weighs_the_same_however_often_it_was_measured():
    once = world(2, sizes=(300,))
    changed = [replace(task, scores=dict.fromkeys(task.scores, 0.9)) for task in once if task.dataset == "set 1"]
    often = fitted([once[0], *changed * 9])
    assert often.mean == pytest.approx(fitted([once[0], *changed]).mean, abs=1e-6)


def test_what_is_left_out_changes_nothing():
    """A poisoned dataset is not seen by the fold that leaves it out."""
    tasks = world(6)
    poisoned = [replace(t, scores=dict.fromkeys(t.scores, 0.01)) if t.dataset == "set 3" else t for t in tasks]
    without = [[t for t in some if t.dataset != "set 3"] for some in (tasks, poisoned)]
    assert fitted(without[0]) == fitted(without[1])
    assert fitted(tasks) != fitted(poisoned)


def test_one_dataset_is_no_evidence():
    with pytest.raises(ValueError, match="two datasets"):
        fitted(world(1))


# -- what is shipped -------------------------------------------------------------------------------------------------


def test_every_candidate_of_the_built_in_model_has_a_score_and_an_interval():
    found = predicted()
    assert {f"{depth} of 7 blocks frozen" for depth in range(1, 7)} | {"everything trained", "head only"} <= set(found)
    for prediction in found.values():
        low, high = prediction.interval
        assert 0 < low < prediction.score < high < 1
        assert "16 text sets" in prediction.why
    scores = [p.score for p in found.values()]
    assert scores == sorted(scores, reverse=True)


def test_the_probe_sets_the_level():
    better = tuple(replace(p, score=p.score + 0.1) for p in PROBES)
    low, high = predicted(), predicted(probes=better)
    assert all(high[name].score > low[name].score + 0.05 for name in low)


def test_a_depth_is_a_share_of_the_blocks():
    seven, fourteen = predicted(), predicted(n_blocks=14)
    for depth in range(7):
        label = "everything trained" if depth == 0 else f"{depth} of 7 blocks frozen"
        twice = "everything trained" if depth == 0 else f"{2 * depth} of 14 blocks frozen"
        assert fourteen[twice].score == pytest.approx(seven[label].score, abs=1e-9)
    between = sorted(seven[f"{depth} of 7 blocks frozen"].score for depth in (2, 3))
    assert between[0] - 0.003 < fourteen["5 of 14 blocks frozen"].score < between[1] + 0.003


def test_a_model_without_evidence_has_wider_intervals_and_says_so():
    own, other = predicted()["everything trained"], predicted(model="another")["everything trained"]
    width = [np.diff(logit(np.array(p.interval), n=10**9)).item() for p in (own, other)]
    assert width[1] == pytest.approx(STRANGER * width[0])
    assert "none of it is of this model" in other.why
    assert "none of it is of pairs of texts" in predicted(unlike="pairs of texts")["head only"].why


def test_images_quote_images():
    found = predicted("image", model="cifar-resnet", n_blocks=10)
    assert all("3 image sets" in p.why and "text" not in p.why for p in found.values())


def test_a_head_that_does_badly_here_is_expected_to():
    worse = tuple(replace(p, score=0.55) if p.features == "last" else p for p in PROBES)
    assert predicted(probes=worse)["head only"].score < predicted()["head only"].score - 0.05
    assert predicted(probes=worse)["everything trained"] == predicted()["everything trained"]


def test_beyond_the_measured_sizes_the_nearest_speak():
    assert predicted(n=100)["everything trained"].score != predicted(n=1000)["everything trained"].score
    evidence = load_evidence("text")
    assert np.allclose(evidence.gains(1000)[0], evidence.gains(10**6)[0])


def test_what_ships_is_what_the_script_fits():
    for kind in ("text", "image"):
        evidence = load_evidence(kind)
        assert evidence.to_json() == json.loads((FOLDER / f"{kind}.json").read_text())
        assert set(evidence.items) == {item for item in evidence.items if item in LINEAR} | {
            trained(knot, rate) for knot in KNOTS for rate in ("low", "high")
        }
        for n in (50, 300, 10**5):
            assert np.linalg.eigvalsh(evidence.gains(n)[1]).min() > -1e-5


@pytest.mark.parametrize("kind", ["text", "image"])
def test_what_ships_is_read_back_as_it_was(kind):
    evidence = load_evidence(kind)
    assert reading.check_reading(Evidence, evidence) == evidence
    for record in (*evidence.others, *load_rule(kind).values()):
        assert reading.check_reading(type(record), record) == record


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', '{"version": 7}'])
def test_damaged_evidence_is_named(tmp_path, damage):
    (tmp_path / "text.json").write_text(damage)
    with pytest.raises(DataError, match=r"text\.json"):
        read_evidence(tmp_path / "text.json")
    stored = json.loads((FOLDER / "text.json").read_text())
    (tmp_path / "text.json").write_text(json.dumps(stored | {"mean": stored["mean"][1:]}))
    with pytest.raises(DataError, match="do not fit together"):
        read_evidence(tmp_path / "text.json")


# -- the decision ----------------------------------------------------------------------------------------------------


def test_score_takes_the_best_and_speed_the_cheapest_within_a_point():
    predictions = tuple(predicted().values())
    decision = decide(predictions, prefer="score")
    assert decision.chosen == decision.best == predictions[0]
    fast = decide(predictions, prefer="speed")
    assert fast.chosen == cheapest_within(predictions, points=1.0)
    assert fast.chosen.cost < decision.best.cost
    assert decision.best.score - fast.chosen.score <= 0.01
    said = reasons(decision, n_blocks=7)
    assert said[0].startswith(f"best: {decision.best.candidate.label(7)}, ")
    assert f"within one point at {100 * fast.chosen.cost:.0f} % of the time" in said[0]
    assert "16 text sets" in said[1]


def test_an_unknown_preference_is_said():
    with pytest.raises(OptionError, match="Did you mean 'speed'"):
        check_preference("sped")


def test_what_would_change_the_answer():
    predictions = tuple(predicted(n=100).values())
    decision = decide(predictions, prefer="score")

    def at(n):
        return tuple(predicted(n=n).values())

    rows, model, time = counterfactuals(decision, predictions, n=100, n_blocks=7, at_rows=at, most_rows=1000)
    assert rows.startswith("ten times the rows: ")
    assert "not known" in model
    assert time.startswith("half the time: ")
    rows, *_ = counterfactuals(decision, predictions, n=300, n_blocks=7, at_rows=at, most_rows=1000)
    assert "not known, since the evidence ends at 1,000 rows" in rows


def test_seconds_are_those_of_this_machine():
    found = predicted(seconds=100.0)
    assert found["everything trained"].seconds == pytest.approx(100.0)
    assert found["3 of 7 blocks frozen"].seconds == pytest.approx(400 / 7)
    assert (rows_seen(100), rows_seen(1000)) == (2000, 6400)
    assert found["everything trained"].candidate == candidate_at(0, 7)


def test_fresh_weights_are_predicted_where_they_were_measured():
    """On data as large as the sets on which they were."""
    few, many = (expect(load_evidence("text"), PROBES, n=n, n_blocks=7, model=MINILM) for n in (1_000, 10_000))
    scratch = [c for c in many.candidates if c.start == "scratch"]
    assert len(scratch) == 1
    assert not [c for c in few.candidates if c.start == "scratch"]
    place, trained_all = many.candidates.index(scratch[0]), many.candidates.index(candidate_at(0, 7))
    gain, sd, sets, rows = load_evidence("text").scratch
    assert (sets, rows) == (3, 10_000)
    assert many.mean[place] - many.mean[trained_all] == pytest.approx(gain, abs=1e-4)
    assert many.covariance[place][place] - many.covariance[trained_all][trained_all] == pytest.approx(sd**2, abs=1e-4)


def test_the_classic_rule_has_a_cost_by_situation():
    costs = load_rule("text")
    assert costs["3"].points == pytest.approx(2.0, abs=0.5)
    assert sum(cost.cells for cost in costs.values()) == 48
    assert sum(cost.cells for cost in load_rule("image").values()) == 18


def test_damaged_costs_of_the_rule_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("advisor.evidence.table.FOLDER", tmp_path)
    for content in ("{", "{}", '{"text": {"3": {"points": 1}}}', '{"text": 3}'):
        (tmp_path / "rule.json").write_text(content)
        with pytest.raises(DataError, match="cannot be read as costs of the classic rule"):
            load_rule("text")
