"""Options of training blocks: what the weights start from, and a search limited to one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import searches, tiny
from tuner.model.assemble import load_backbone
from tuner.names import OPTIONS
from tuner.search.bench import Bench, open_bench
from tuner.search.clock import Deadline
from tuner.search.loop import Trials
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, candidate_at, default_space, restrict


@pytest.fixture
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


def bench_of(backbone, folder):
    return open_bench(backbone, data=searches.DATA, space=default_space(4), work=folder, metric="accuracy", seed=0)


def test_only_the_last_block_is_fresh_and_heads_may_be_random(backbone, tmp_path):
    bench = bench_of(backbone, tmp_path)
    pretrained = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    probe = bench.trainer.head("last").weight
    for option in (None, *OPTIONS):
        candidate = Candidate(**candidate_at(2, 4).to_json() | {"option": option})
        with bench.trainer.built(candidate, seed=1) as built:
            stored = backbone.model.state_dict()
            changed = {n.split(".")[2] for n, t in stored.items() if not torch.equal(t, pretrained[n])}
            assert changed == ({"2"} if option == "fresh_top" else set()), option
            starts_from_probe = np.allclose(built.model.head.linear.weight.detach().numpy(), probe)
            assert starts_from_probe == (option not in ("fresh_top", "random_head")), option


@pytest.mark.parametrize("option", OPTIONS)
def test_a_search_may_be_limited_to_an_option(backbone, tmp_path, option):
    space = restrict(default_space(4), strategy=option, widths=[32] * 4)
    result = searches.run_search(backbone, tmp_path, space=space, n_trials=4)
    assert {row["option"] for row in result.candidates} == {option}
    assert OPTIONS[option] in Candidate(**result.winner["candidate"]).label(4)


def test_the_best_candidate_is_trained_with_every_option_and_the_difference_is_said(backbone, tmp_path):
    space = replace(
        default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2), options=("random_head", "fresh_top")
    )
    result = searches.run_search(backbone, tmp_path, space=space, n_trials=1)
    scored = {row["option"]: row for row in result.candidates if row["head"] == "own"}
    assert set(scored) == {None, "random_head", "fresh_top"}
    assert scored["random_head"]["recipe"] == scored[None]["recipe"]
    assert [found["option"] for found in result.options] == ["random_head", "fresh_top"]
    for found in result.options:
        assert found["difference"] == pytest.approx(scored[found["option"]]["mean"] - scored[None]["mean"])
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    again = searches.run_search(backbone, tmp_path, space=space, n_trials=1, resume=True)
    assert [row["difference"] for row in again.options] == [row["difference"] for row in result.options]


def test_augmentation_comes_before_options_and_is_compared_without_them(backbone, tmp_path, monkeypatch):
    right = {(None, None): 30, (None, "token_dropout"): 36, ("random_head", "token_dropout"): 45}
    keep = Bench.keep

    def fixed(self, name, finished):
        if finished.candidate.head == "own":
            predictions = searches.DATA.validation.labels.copy()
            wrong = slice(right[finished.candidate.option, finished.candidate.augmentation], None)
            predictions[wrong] = 1 - predictions[wrong]
            finished = replace(finished, predictions=predictions)
        return keep(self, name, finished)

    monkeypatch.setattr(Bench, "keep", fixed)
    space = replace(
        default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2), options=("random_head",),
        augmentation="token_dropout",
    )  # fmt: skip
    result = searches.run_search(backbone, tmp_path, space=space, n_trials=1)
    assert result.augmentation["difference"] == pytest.approx(6 / 60)
    assert result.options[0]["difference"] == pytest.approx(9 / 60)


def test_training_with_an_option_may_be_augmented(backbone, tmp_path):
    space = restrict(replace(default_space(4), augmentation="token_dropout"), strategy="fresh_top", widths=[32] * 4)
    result = searches.run_search(backbone, tmp_path, space=space, n_trials=1)
    assert {(row["option"], row["augmentation"]) for row in result.candidates} >= {
        ("fresh_top", None), ("fresh_top", "token_dropout"),
    }  # fmt: skip
    assert result.augmentation["difference"] is not None


def test_what_was_asked_for_goes_before_options(backbone, tmp_path, monkeypatch):
    bench = bench_of(backbone, tmp_path)
    recipe = {"learning_rate": 1e-2, "head_ratio": 1.0, "steps": 12.0}
    run = bench.run_trained(RunName(trial=0), candidate_at(2, 4), recipe=recipe, seed=0)
    bench.runs[run.name] = replace(run, seconds=10.0)
    bench = replace(bench, space=replace(bench.space, options=("random_head", "fresh_top")))
    trials = Trials(bench, study=None, deadline=Deadline(1000.0), recommended=candidate_at(2, 4), n_trials=None)
    options_s = trials._spare_s() - trials._spare_s(options=True)
    assert options_s == pytest.approx(30.0, abs=1.0)  # two options and the native head
    spare, asked = 25.0, candidate_at(3, 4)
    trials.queue = [asked]
    monkeypatch.setattr(trials.planner, "plan", lambda: None)
    monkeypatch.setattr(trials, "_spare_s", lambda options=False: spare - options_s * options)
    monkeypatch.setattr(trials.clock, "run_s", lambda _candidate: 20.0)
    tried = []
    monkeypatch.setattr(trials.tries, "one", lambda candidate, **_: tried.append(candidate))
    assert trials._by_plan() is None
    assert tried == [asked]
    assert trials._by_plan() == "budget"  # the options need what is left
    assert tried == [asked]


def test_an_option_that_was_not_tried_has_a_reason(backbone, tmp_path):
    space = replace(default_space(4), first=(candidate_at(4, 4),), controls=(), depths=(4, 4), options=("random_head",))
    result = searches.run_search(backbone, tmp_path, space=space, n_trials=1)
    assert result.options == (
        {
            "option": "random_head",
            "difference": None,
            "why": "no candidate that trains pretrained blocks came to a score",
        },
    )


@pytest.mark.parametrize(("option", "expected"), [("fresh_top", 0), ("head_only", 0), ("freeze_part", 2)])
def test_a_limited_search_tries_options_where_blocks_are_trained_the_plain_way(option, expected):
    space = replace(default_space(4), options=("random_head", "fresh_top"))
    restricted = restrict(space, strategy=option, widths=[32] * 4)
    if option == "head_only":  # nothing is trained that an option could change
        assert restricted.depths == (4, 4)
    else:
        assert len(restricted.options) == expected
