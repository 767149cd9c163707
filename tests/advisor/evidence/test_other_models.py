"""Evidence of a model beside those that the evidence is of: differences of pairs, by hand and in a known world."""

import json
from dataclasses import replace

import numpy as np
import pytest

from advisor.evidence.others import fit_other, gains_of, weights_of_item
from advisor.evidence.predictions import STRANGER, expect, for_model, is_stranger, predict_scores
from advisor.evidence.sharpening import unknown_of_mean
from advisor.evidence.table import FOLDER, load_evidence, read_evidence, trained
from helpers.evidence_world import fitted, probe, world
from tuner.errors import DataError
from tuner.search.gaussian import score_at


def other_of(tasks, *, gain=0.0, only=None, noise=0.0, seed=0):
    """The tasks under another model, whose gains are higher by so much."""
    rng = np.random.default_rng(seed)
    found = []
    for task in tasks:
        items = only or list(task.scores)
        odds = np.array([np.log(task.scores[item] / (1 - task.scores[item])) for item in items]) + gain
        odds = odds + rng.normal(0, noise, len(items))
        scores = dict(zip(items, score_at(odds).tolist(), strict=True))
        found.append(replace(task, model="another", scores=scores))
    return found


def test_gains_are_log_odds_over_the_probe():
    (task,) = world(1, sizes=(300,))
    task = replace(task, probe=0.5, scores={"last": 0.75, trained(0.5, "low"): 0.5})
    assert gains_of(task) == pytest.approx([np.log(3), 0.0])
    assert gains_of(task, ["last"]) == pytest.approx([np.log(3)])


def test_a_share_between_two_lies_between_them():
    evidence = load_evidence("text")
    found = weights_of_item(trained(0.5, "low"), evidence)
    named = {item: round(weight, 3) for item, weight in zip(evidence.items, found, strict=True) if weight}
    assert named == {trained(3 / 7, "low"): 0.5, trained(4 / 7, "low"): 0.5}


def test_one_pair_by_hand():
    """One item that differs by a half; prior and noise are known, and so is the mean between them."""
    tasks = world(6, sizes=(300,))
    evidence = fitted(tasks)
    (first,) = other_of(tasks[:1], gain=0.5, only=["last"])
    found = fit_other(evidence, [first], paired=tasks)
    place = evidence.items.index("last")
    prior = (STRANGER**2 - 1) * min(evidence.level)
    score = first.scores["last"]
    tested = 2 * (1 - 0.6) / (first.n_test * score * (1 - score))
    noise = (evidence.gains(300)[1] - np.array(evidence.between))[place, place] + tested
    assert found.shift == pytest.approx(prior / (prior + noise) * 0.5, abs=2e-6)
    assert found.learned == pytest.approx(prior**2 / (prior + noise), abs=2e-6)
    assert (found.model, found.datasets, found.rows) == ("another", ("set 0",), (300, 300))
    assert found.said == "1 with another, 300 rows"


def test_a_known_level_is_found_from_some_items_too():
    tasks = world(60)
    evidence = fitted(tasks)
    for only in (None, ["last", trained(0.0, "low")]):
        found = fit_other(evidence, other_of(tasks, gain=0.4, only=only, noise=0.1), paired=tasks)
        assert found.shift == pytest.approx(0.4, abs=0.03)
        assert found.learned == pytest.approx((STRANGER**2 - 1) * min(evidence.level), rel=0.1)


def test_a_dataset_measured_twice_counts_once():
    tasks = world(8, sizes=(300,))
    evidence = fitted(tasks)
    once = fit_other(evidence, other_of(tasks[:1], gain=0.3), paired=tasks)
    again = other_of(tasks[:1], gain=0.3)
    twice = fit_other(evidence, again * 2, paired=tasks)
    assert (twice.shift, twice.learned) == (once.shift, once.learned)


def test_a_task_without_a_pair_is_refused():
    tasks = world(3, sizes=(300,))
    with pytest.raises(ValueError, match="on the same rows"):
        fit_other(fitted(tasks), [replace(tasks[0], n=77)], paired=tasks)
    with pytest.raises(ValueError, match="on the same rows"):
        fit_other(fitted(tasks), [], paired=tasks)


def test_a_model_with_evidence_of_its_own_gets_its_own_level_and_others_the_nearest_mean():
    tasks = world(20)
    evidence = fitted(tasks)
    known = replace(evidence, others=(fit_other(evidence, other_of(tasks, gain=0.5), paired=tasks),))
    own, another, stranger = (for_model(known, model=name) for name in ("m", "org/another", "unheard-of"))
    assert own.gains(300)[0].tolist() == stranger.gains(300)[0].tolist() == evidence.gains(300)[0].tolist()
    difference = another.gains(300)[0] - own.gains(300)[0]
    assert difference == pytest.approx([known.others[0].shift] * 4)
    assert difference[0] > 0.3
    variances = [np.trace(some.gains(300)[1]) for some in (own, another, stranger)]
    assert variances[0] < variances[1] < variances[2]
    assert variances[2] == pytest.approx(STRANGER**2 * variances[0])
    assert [is_stranger(known, model=name, unlike=None) for name in ("m", "another", "unheard-of")] == [0, 0, 1]
    assert (
        for_model(known, model="another", unlike="pairs of texts").gains(300)[0].tolist() == own.gains(300)[0].tolist()
    )
    assert np.linalg.eigvalsh(unknown_of_mean(another)).min() > -1e-5
    probes = (probe("last", 0.7), probe("concat_last_four", 0.75))
    whys = [expect(known, probes, n=300, n_blocks=2, model=name).why for name in ("m", "another", "unheard-of")]
    assert whys[0].startswith("20 text sets, m, 100 to 1,000 rows; level")
    assert whys[1].startswith("20 text sets, m, 100 to 1,000 rows, and 20 with another, 100 to 1,000 rows; level")
    assert "none of it" not in whys[1]
    assert "none of it is of this model, so the interval is wider" in whys[2]


def test_a_hub_name_is_the_model():
    evidence = load_evidence("text")
    probes = (probe("last", 0.7), probe("concat_last_four", 0.75))
    both = [
        predict_scores(expect(evidence, probes, n=300, n_blocks=7, model=name), n_blocks=7)
        for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
    ]
    assert both[0] == both[1]


def test_damage_of_another_models_part_is_named(tmp_path):
    tasks = world(8)
    evidence = fitted(tasks)
    stored = replace(evidence, others=(fit_other(evidence, other_of(tasks), paired=tasks),)).to_json()
    path = tmp_path / "text.json"
    path.write_text(json.dumps(stored))
    assert read_evidence(path).others[0].model == "another"
    for damage in ({"shift": None}, {"learned": "much"}, {"model": ...}, {"shift": float("nan")}):
        other = {k: v for k, v in (stored["others"][0] | damage).items() if v is not ...}
        path.write_text(json.dumps(stored | {"others": [other]}))
        with pytest.raises(DataError, match=r"text\.json"):
            read_evidence(path)


def test_what_is_shipped_of_other_models_keeps_covariances_whole():
    for kind in ("text", "image"):
        evidence = load_evidence(kind)
        assert json.loads((FOLDER / f"{kind}.json").read_text())["others"] == [o.to_json() for o in evidence.others]
        for other in evidence.others:
            settled = for_model(evidence, model=other.model)
            assert np.linalg.eigvalsh(settled.gains(300)[1]).min() > -1e-5
            assert np.linalg.eigvalsh(unknown_of_mean(settled)).min() > -1e-5
